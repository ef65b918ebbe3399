"""Absorption lines of the semi-solid pool, in tensors, with derivatives.

``G(f, T2s)`` in s, normalised such that the saturation rate is ``pi w1^2 G``. The super-Lorentzian
average over orientations ``u = cos(theta)`` (Morrison and Henkelman, MRM 1995;33:475),

    G = sqrt(2/pi) T2s int_0^1 exp(-2 (x/v)^2) / |v| du,   v = 3 u^2 - 1,   x = 2 pi f T2s,

has a ridge at the magic angle. With ``v = exp(s)`` above it and ``v = -exp(-y^2)`` below, both
parts are smooth, and 48 Gauss-Legendre points each are exact to 1e-10 for 1e-4 < x < 10. Models
take it from a table of these values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bids_brnn.signals.two_pools.pulses.quadrature import gauss

NEAR = 1500.0
"""Hz: below it the super-Lorentzian is taken at another offset, as it diverges on resonance."""
_POINTS = 48
_NEGLIGIBLE = 40.0  # exp(-40) = 4e-18
_TABLE = (1e-4, 40.0, 6000)
"""Least and largest x, and nodes (even in log x): cubic pieces between them err by 1e-11."""


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


@cache
def _nodes() -> tuple[Tensor, Tensor]:
    """Super-Lorentzian at the nodes of the table, and how much it rises over a step there."""
    low, high, n = _TABLE
    with torch.enable_grad():
        log = torch.linspace(math.log(low), math.log(high), n, dtype=torch.float64)
        log.requires_grad_()
        value = super_lorentzian(torch.exp(log))
        (slope,) = torch.autograd.grad(value.sum(), log)
    return value.detach(), slope * math.log(high / low) / (n - 1)


def tabulated(x: Tensor) -> Tensor:
    """:func:`super_lorentzian` by cubic Hermite pieces over log x, with first derivatives.

    Beyond the table it is that at its lower end, and 0 (below 1e-300) at its upper one.
    """
    from bids_brnn.signals.two_pools.z_spectrum.line_kernel import hermite

    values, rises = (part.numpy() for part in _nodes())
    at = x.detach().to("cpu", torch.float64).contiguous().numpy()
    found = np.empty((2, at.size))
    low, high, _ = _TABLE
    hermite(at.reshape(-1), values, rises, low, high, found)
    value, slope = (torch.from_numpy(part.reshape(at.shape)).to(x) for part in found)
    return value + slope * (x - x.detach())


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


def absorption(offset: Tensor, T2s: Tensor, line: str) -> Tensor:
    """``G`` (s) at an offset (Hz), broadcast against ``T2s`` (s), of a line of :data:`LINES`."""
    f = offset.abs()
    if line == "super-lorentzian":
        # The line diverges on resonance and is never seen there; this rule is in common use.
        f = torch.where(f <= NEAR, 1140.0 + 1.6e-4 * f**2, f)
    shape = tabulated if line == "super-lorentzian" else LINES[line]
    return T2s * shape(2 * math.pi * f * T2s)
