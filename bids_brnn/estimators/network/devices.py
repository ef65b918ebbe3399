"""Networks where the data are, and in arithmetic that is fast there."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import nn

from bids_brnn.estimators.network.forward import Precision
from bids_brnn.system.processor import has_bf16

_AMPERE = (8, 0)
"""Compute capability of the first NVIDIA devices with bfloat16."""
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


def precision_on(device: torch.device, allowed: Precision) -> Precision:
    """``bf16`` where it is allowed and the device has arithmetic for it, else ``float32``."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= _AMPERE
    else:
        fast = has_bf16()
    return allowed if fast else "float32"
