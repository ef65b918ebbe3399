"""Absorption lines of the semi-solid pool.

``G(f, T2s)`` in s, normalised such that the saturation rate is ``pi w1^2 G``. The super-Lorentzian
average over orientations ``u = cos(theta)`` (Morrison and Henkelman, MRM 1995;33:475),

    G = sqrt(2/pi) T2s int_0^1 exp(-2 (x/v)^2) / |v| du,   v = 3 u^2 - 1,   x = 2 pi f T2s,

has a ridge at the magic angle. With ``v = exp(s)`` above it and ``v = -exp(-y^2)`` below, both
parts are smooth, and 48 Gauss-Legendre points each are exact to 1e-10 for 1e-4 < x < 10. Models
take lines from tables of these values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.signals.two_pools.pulses.quadrature import gauss

NEAR = 1500.0
"""Hz: below it the super-Lorentzian is taken at another offset, as it diverges on resonance."""
_POINTS = 48
_NEGLIGIBLE = 40.0  # exp(-40) = 4e-18
_LOW, _NODES = 1e-4, 6000
"""Least x of tables, and nodes (even in log x): cubic pieces between them err by 1e-11."""


def super_lorentzian(x: Tensor) -> Tensor:
    """``G / T2s`` at ``x = 2 pi |f| T2s`` > 0, elementwise."""
    unit, weight = (x.new_tensor(values) for values in gauss(_POINTS))
    wide = x[..., None]
    # Limits depend on x, but what lies beyond is negligible: they need no derivative.
    fixed = wide.detach()
    low = torch.log(fixed * math.sqrt(2 / _NEGLIGIBLE)).clamp(max=math.log(2.0) - 1e-3)
    span = math.log(2.0) - low
    s = low + span * unit
    above = (
        torch.exp(-2 * (wide * torch.exp(-s)) ** 2) * math.sqrt(3) / torch.sqrt(1 + torch.exp(s))
    )
    most = torch.sqrt(0.5 * torch.log1p(_NEGLIGIBLE / (2 * fixed**2)))
    y = most * unit
    below = torch.exp(-2 * (wide * torch.exp(y**2)) ** 2)
    below = below * 2 * math.sqrt(3) * y / torch.sqrt(-torch.expm1(-(y**2)))
    total = (above * span + below * most) @ weight
    result: Tensor = math.sqrt(2 / math.pi) / 6 * total
    return result


def lorentzian(x: Tensor) -> Tensor:
    """``G / T2s`` of a Lorentzian line."""
    return 1 / (math.pi * (1 + x**2))


def gaussian(x: Tensor) -> Tensor:
    """``G / T2s`` of a Gaussian line."""
    return torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


LINES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "super-lorentzian": super_lorentzian,
    "lorentzian": lorentzian,
    "gaussian": gaussian,
}


@dataclass(frozen=True)
class LineTable:
    """A line ``G / T2s`` at nodes that are even in log x, see :func:`..line_kernel.piece`."""

    low: float
    """x of the first node: below it the line is as there."""
    high: float
    """x of the last node: above it the line is 0."""
    values: NDArray[np.float64]
    rises: NDArray[np.float64]
    """By how much the tangent rises from node to node."""

    @property
    def per(self) -> float:
        """Nodes per unit of log x."""
        return (len(self.values) - 1) / math.log(self.high / self.low)


@cache
def line_table(line: str) -> LineTable:
    """The table of a line of :data:`LINES`."""
    high = 1e4 if line == "lorentzian" else 40.0  # others are below 1e-300 there
    with torch.enable_grad():
        log = torch.linspace(math.log(_LOW), math.log(high), _NODES, dtype=torch.float64)
        log.requires_grad_()
        value = LINES[line](torch.exp(log))
        (slope,) = torch.autograd.grad(value.sum(), log)
    rises = slope * math.log(high / _LOW) / (_NODES - 1)
    return LineTable(_LOW, high, value.detach().numpy(), rises.numpy())
