"""What a network and its surrogate find of voxels, before it is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of ``v`` voxels once they are estimated; data have unit norm."""

    coefficients: Tensor
    """``(v, R)`` complex, in the basis of training."""
    theta: Tensor
    """``(v, P)``."""
    m0: Tensor
    """``(v,)`` complex."""
    rest: Tensor
    """``(v,)``: norm of what the surrogate leaves of the data."""
    sigma: Tensor
    """``(v,)``: noise per channel; 0 where it is not known."""
    inputs: Tensor
    """``(v, I)``: of the network."""
    features: Tensor
    """``(v, F)``: of the error network."""
    free: tuple[int, ...]
    """Columns of ``theta`` that are not known."""


def joined(parts: Sequence[Findings]) -> Findings:
    """The voxels of ``parts``, one after the other; all have the same columns free."""
    if len(parts) == 1:
        return parts[0]
    names = [item.name for item in fields(Findings) if item.name != "free"]
    together = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Findings(**together, free=parts[0].free)
