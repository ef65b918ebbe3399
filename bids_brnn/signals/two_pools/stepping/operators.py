"""Two exchanging pools: precession, relaxation, exchange, and what an RF pulse does.

Functions act on a :class:`State`, whose components are tensors ``(..., k)``: ``k`` states side by
side. Applied to the five unit states they give the affine map of a whole step as a matrix
(:func:`unit_states`, :func:`affine_map`). Angles are rad, times s, rates 1/s, M0 = 1; parameters
broadcast against the leading axes and end in an axis of length 1. Everything is analytic in the
parameters, which may be complex: derivatives are taken by the complex step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """Magnetization of the free pool (f) and of the semi-solid pool (s)."""

    xf: Tensor
    yf: Tensor
    zf: Tensor
    xs: Tensor
    """Exists only during a pulse: it decays far faster than the waiting times."""
    zs: Tensor
    one: Tensor
    """1, or 0 for the difference of two states: scales what recovers from nothing."""


class TwoPools(NamedTuple):
    """Tissue parameters."""

    m0s: Tensor
    R1f: Tensor
    R2f: Tensor
    Rx: Tensor
    R1s: Tensor
    w0: Tensor

    @property
    def m0f(self) -> Tensor:
        """Fractional size of the free pool."""
        return 1 - self.m0s


def unit_states(like: Tensor) -> State:
    """The unit vectors of (xf, yf, zf, zs, 1) side by side, with xs = 0."""
    rows = torch.eye(5, dtype=like.dtype, device=like.device)
    return State(rows[0], rows[1], rows[2], torch.zeros_like(rows[0]), rows[3], rows[4])


def affine_map(state: State) -> Tensor:
    """Matrix ``(..., 5, 5)`` on (xf, yf, zf, zs, 1) from what became of the unit states."""
    kept = (state.xf, state.yf, state.zf, state.zs, state.one)
    return torch.stack(torch.broadcast_tensors(*kept), dim=-2)


def damped(square: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(exponent) cosh(r)`` and ``exp(exponent) sinh(r)/r`` with ``r^2 = square``.

    Smooth in ``square`` of either sign (cos and sin where it is negative). The exponent is
    included because cosh alone overflows for long pulses.
    """
    small, positive = square.real.abs() < 1e-2, square.real > 0
    size = torch.where(small, 1.0, torch.where(positive, square, -square)).sqrt()
    growth = torch.where(positive, size, 0.0)
    rise, fall = 0.5 * torch.exp(exponent + growth), 0.5 * torch.exp(exponent - growth)
    decay = torch.exp(exponent)
    even = torch.where(positive, rise + fall, decay * torch.cos(size))
    odd = torch.where(positive, rise - fall, decay * torch.sin(size)) / size
    return (
        torch.where(small, decay * _series(square, _EVEN), even),
        torch.where(small, decay * _series(square, _ODD), odd),
    )


_EVEN = tuple(1 / math.factorial(2 * n) for n in range(5))
_ODD = tuple(1 / math.factorial(2 * n + 1) for n in range(5))
"""Taylor coefficients of cosh(r) and sinh(r)/r in ``r^2``."""


def _series(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    result = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


def relax(state: State, pools: TwoPools, time: Tensor) -> State:
    """Relaxation of both pools and exchange between them, without precession.

    ``z' = K z + R1 e`` with ``K = [[-(R1f + Rx m0s), Rx m0f], [Rx m0s, -(R1s + Rx m0f)]]`` and
    equilibrium ``e = (m0f, m0s)``. Written with ``exp(K t) - 1``, so that the slow recovery over a
    short time keeps its digits in float32.
    """
    gain_f, gain_s = pools.Rx * pools.m0f, pools.Rx * pools.m0s
    loss_f, loss_s = pools.R1f + gain_s, pools.R1s + gain_f
    mean, half = -0.5 * (loss_f + loss_s), 0.5 * (loss_s - loss_f)
    square = half * half + gain_f * gain_s
    close = square.real < 1e-4 * mean.real**2  # eigenvalues mean +- root nearly coincide
    root = torch.where(close, -0.01 * mean, torch.where(close, 1.0, square).sqrt())
    # The slow eigenvalue from the determinant, in which nothing cancels.
    fast = mean - root
    slow = (pools.R1f * pools.R1s + pools.R1f * gain_f + pools.R1s * gain_s) / fast
    fast_change, slow_change = torch.expm1(fast * time), torch.expm1(slow * time)
    odd = (slow_change - fast_change) * (0.5 / root)
    even = 0.5 * (slow_change + fast_change)
    if bool(close.any()):  # rare, and not free
        x, decay = square * time**2, torch.exp(mean * time)
        odd = torch.where(close, time * decay * _series(x, _ODD), odd)
        rest = x * _series(x, _EVEN[1:])  # cosh - 1
        even = torch.where(close, torch.expm1(mean * time) + decay * rest, even)
    # Deviation from equilibrium; one = 0 for differences of states.
    zf, zs = state.zf - pools.m0f * state.one, state.zs - pools.m0s * state.one
    decay = torch.exp(-pools.R2f * time)
    return state._replace(
        xf=decay * state.xf,
        yf=decay * state.yf,
        zf=state.zf + (even + half * odd) * zf + gain_f * odd * zs,
        zs=state.zs + gain_s * odd * zf + (even - half * odd) * zs,
    )


def turn(state: State, angle: Tensor) -> State:
    """Rotate the free pool about z: ``x + iy`` times ``exp(i angle)``."""
    c, s = torch.cos(angle), torch.sin(angle)
    return state._replace(xf=c * state.xf - s * state.yf, yf=s * state.xf + c * state.yf)


def nutate(state: State, w1: Tensor, w0: Tensor, time: Tensor) -> State:
    """RF along y with amplitude ``w1`` (rad/s, +z to +x) and offset ``w0`` on the free pool.

    Rotation about the tilted axis (0, w1, w0); ``w1`` must not vanish.
    """
    rate = torch.sqrt(w1 * w1 + w0 * w0)
    c, s, u = torch.cos(rate * time), torch.sin(rate * time), 2 * torch.sin(0.5 * rate * time) ** 2
    n, k = w1 / rate, w0 / rate
    x, y, z = state.xf, state.yf, state.zf
    along = u * (n * y + k * z)
    return state._replace(
        xf=c * x + s * (n * z - k * y),
        yf=c * y + s * k * x + n * along,
        zf=c * z - s * n * x + k * along,
    )


def saturate(state: State, w1: Tensor, R2s: Tensor, rate: Tensor, time: Tensor) -> State:
    """RF on the semi-solid pool: Bloch equation with transverse rate ``R2s``, or a plain rate.

    ``xs' = -R2s xs + w1 zs``, ``zs' = -w1 xs - rate zs``; either ``rate`` or ``w1`` is 0.
    """
    a = 0.5 * R2s * time
    angle = w1 * time
    even, odd = damped(a * a - angle * angle, -a)
    coupling = angle * odd
    return state._replace(
        xs=(even - a * odd) * state.xs + coupling * state.zs,
        zs=torch.exp(-rate * time) * ((even + a * odd) * state.zs - coupling * state.xs),
    )


def crush(state: State, angle: Tensor, saturation: Tensor, echo: Tensor) -> State:
    """Hard pulse about y between crushers (``echo`` = 1) or spoilers (``echo`` = 0).

    Between equal crushers only the refocused pathway ``x + iy -> -sin^2(angle/2) (x - iy)``
    survives; transverse magnetization made by the pulse is lost. ``saturation``: fraction of zs
    that is left.
    """
    refocused = echo * torch.sin(angle / 2) ** 2
    return state._replace(
        xf=-refocused * state.xf,
        yf=refocused * state.yf,
        zf=torch.cos(angle) * state.zf,
        zs=saturation * state.zs,
    )


def pulse_generator(pools: TwoPools, w1: Tensor, R2s: Tensor, w1s: Tensor, rate: Tensor) -> Tensor:
    """Generator ``(..., 6, 6)`` of (xf, yf, zf, xs, zs, 1) during a pulse; inputs end in no axis.

    ``w1`` acts on the free pool; ``R2s``, ``w1s`` and ``rate`` on the semi-solid pool as in
    :func:`saturate`.
    """
    m0s, R1f, R2f, Rx, R1s, w0, w1, R2s, w1s, rate = torch.broadcast_tensors(
        *pools, w1, R2s, w1s, rate
    )
    o = torch.zeros_like(w1)
    gain_f, gain_s = Rx * (1 - m0s), Rx * m0s
    rows = (
        (-R2f, -w0, w1, o, o, o),
        (w0, -R2f, o, o, o, o),
        (-w1, o, -R1f - gain_s, o, gain_f, (1 - m0s) * R1f),
        (o, o, o, -R2s, w1s, o),
        (o, o, gain_s, -w1s, -R1s - gain_f - rate, m0s * R1s),
        (o, o, o, o, o, o),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
