"""Networks where the data are."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import nn

T = TypeVar("T")


def on_device(part: T, device: torch.device) -> T:
    """A network, or a dataclass made of networks, with its weights on ``device``.

    A copy where they are elsewhere: another thread may use the one that is given. Anything that
    holds no weights is returned as it is.
    """
    held: Any = part
    if isinstance(held, nn.Module):
        weights = [*held.parameters(), *held.buffers()]
        there = all(weight.device == device for weight in weights)
        return part if there else cast("T", copy.deepcopy(held).to(device))
    if not is_dataclass(held) or isinstance(held, type):
        return part
    values = {field.name: getattr(held, field.name) for field in fields(held)}
    moved = {
        name: on_device(value, device)
        for name, value in values.items()
        if isinstance(value, nn.Module)
    }
    changed = {name: value for name, value in moved.items() if value is not values[name]}
    return cast("T", replace(held, **changed)) if changed else part
