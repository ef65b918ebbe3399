r"""Extended phase graph of a FISP train: the readable path, on any device.

Configurations of order ``k >= 0``: ``F+_k`` (dephasing), ``F-_k`` (rephasing) and ``Z_k``. In the
frame of the current RF pulse we write ``F+ = -i A`` and ``F- = i B``; a rotation by ``a`` is then

    d = A + B,  w = sin(a) Z - (1 - cos(a))/2 d,
    A <- A + w,  B <- B + w,  Z <- cos(a) Z - sin(a)/2 d,

which is real. A change of RF phase by ``t`` between pulses multiplies ``A`` by ``exp(-it)`` and
``B`` by ``exp(it)``, so that states are complex only where the phase really moves (by other than
multiples of pi). Weigel, 10.1002/jmri.24619, gives the usual form.

Derivatives are tangents carried through the same recursion: nothing is stored per pulse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bids_brnn.signals.one_pool.train import PulseTrain

R1, R2, B1 = 0, 1, 2
"""Columns of ``theta``; tangent ``p`` is row ``p + 1`` of the first axis of a state."""

_BLOCK_SAMPLES = 64
"""Samples that are collected before they are projected on a basis."""


class States(NamedTuple):
    """``A``, ``B``, ``Z`` of shape ``(1 or 1 + P, orders, rows)``; row 0 is the value."""

    a: Tensor
    b: Tensor
    z: Tensor


def simulate(
    trains: Sequence[PulseTrain],
    theta: Tensor,
    n_states: int,
    *,
    inversion_efficiency: float,
    basis: Tensor | None,
    derivatives: bool,
) -> Tensor:
    """All trains one after the other, projected in blocks so that N samples are never stored.

    Arguments as for :func:`samples`; ``basis`` is ``(N, R)``. Returns ``(1 or 4, rows, N or R)``.
    """
    options: dict[str, Any] = {
        "inversion_efficiency": inversion_efficiency,
        "derivatives": derivatives,
    }
    stream = (sample for train in trains for sample in samples(train, theta, n_states, **options))
    return collect(stream, basis)


def collect(stream: Iterator[Tensor], basis: Tensor | None) -> Tensor:
    """Samples ``(...)`` side by side, ``(..., N)``, or projected on ``basis`` block by block."""
    if basis is None:
        return torch.stack(list(stream), dim=-1)
    total: Tensor | None = None
    block: list[Tensor] = []
    start = 0
    for position, sample in enumerate(stream, start=1):
        block.append(sample)
        if len(block) == _BLOCK_SAMPLES or position == len(basis):
            stacked = torch.stack(block, dim=-1)
            part = stacked @ basis[start:position].conj().to(stacked.dtype)
            total = part if total is None else total + part
            start, block = position, []
    assert total is not None, "a sequence without samples is refused when it is built"
    return total


def samples(
    train: PulseTrain,
    theta: Tensor,
    n_states: int,
    *,
    inversion_efficiency: float,
    derivatives: bool,
) -> Iterator[Tensor]:
    """Signal at M0 = 1, one sample after the other.

    Parameters
    ----------
    train
        Pulses and samples.
    theta
        ``(rows, 3)``: R1, R2 (1/s), B1.
    n_states
        Orders that are kept.
    inversion_efficiency
        An inversion makes ``Z <- -inversion_efficiency Z`` and leaves nothing transverse.
    derivatives
        Whether to carry tangents.

    Yields
    ------
    Tensor
        ``(1, rows)`` or ``(1 + P, rows)`` complex: the signal and its derivatives.
    """
    rates = theta.T
    states = _equilibrium(rates, train, inversion_efficiency, derivatives)
    following = 0
    for pulse in range(train.flip_angle.size):
        duration = float(train.repetition_time[pulse])
        if train.inversion[pulse]:
            states = _invert(states, inversion_efficiency)
            states = _relax(states, rates, duration)
            continue
        states = _rotate(_turn(states, float(train.turn[pulse])), rates, train, pulse)
        while following < train.sample_time.size and train.sample_pulse[following] == pulse:
            yield _sample(states, rates, float(train.sample_time[following]))
            following += 1
        if following == train.sample_time.size:
            return
        n_orders = min(int(train.window[min(pulse + 1, train.window.size - 1)]), n_states)
        states = _dephase(_relax(states, rates, duration), n_orders)


def _equilibrium(
    rates: Tensor, train: PulseTrain, inversion_efficiency: float, derivatives: bool
) -> States:
    rows = 1 + len(rates) if derivatives else 1
    dtype = rates.dtype if train.is_real else rates.to(torch.complex64).dtype
    if not train.is_real and rates.dtype == torch.float64:
        dtype = torch.complex128
    zero = torch.zeros((rows, 1, rates.shape[1]), dtype=dtype, device=rates.device)
    z = zero.clone()
    z[0] = -inversion_efficiency if train.inverted_start else 1.0
    return States(zero, zero, z)


def _invert(states: States, efficiency: float) -> States:
    """Ideal crushing and an efficiency: an adiabatic pulse does not feel B1."""
    return States(torch.zeros_like(states.a), torch.zeros_like(states.b), -efficiency * states.z)


def _turn(states: States, angle: float) -> States:
    """Into the frame of the next pulse, whose phase is larger by ``angle``."""
    if abs(math.remainder(angle, 2 * math.pi)) < 1e-12:
        return states
    if not states.a.is_complex():
        return States(-states.a, -states.b, states.z)  # a step by pi
    factor = complex(math.cos(angle), -math.sin(angle))
    return States(factor * states.a, factor.conjugate() * states.b, states.z)


def _rotate(states: States, rates: Tensor, train: PulseTrain, pulse: int) -> States:
    nominal = float(train.flip_angle[pulse])
    if nominal == 0:
        return states
    angle = rates[B1] * nominal
    sine, cosine = torch.sin(angle), torch.cos(angle)
    less = torch.sin(angle / 2) ** 2  # (1 - cos)/2 without cancellation
    both = states.a + states.b
    gain = sine * states.z - less * both
    z = cosine * states.z - 0.5 * sine * both
    if len(states.z) > 1:
        # d/dB1 of the rotation matrix, applied to the value, enters the B1 tangent.
        slope = nominal * (cosine * states.z[0] - 0.5 * sine * both[0])
        z_slope = -nominal * (sine * states.z[0] + 0.5 * cosine * both[0])
        gain = add_row(gain, B1 + 1, slope)
        z = add_row(z, B1 + 1, z_slope)
    return States(states.a + gain, states.b + gain, z)


def _relax(states: States, rates: Tensor, duration: float) -> States:
    decay1, decay2 = torch.exp(-duration * rates[R1]), torch.exp(-duration * rates[R2])
    a, b, z = decay2 * states.a, decay2 * states.b, decay1 * states.z
    recovery = torch.zeros_like(z[:, :1])
    recovery[0, 0] = -torch.expm1(-duration * rates[R1])
    if len(z) > 1:
        z = add_row(z, R1 + 1, -duration * z[0])
        a = add_row(a, R2 + 1, -duration * a[0])
        b = add_row(b, R2 + 1, -duration * b[0])
        recovery[R1 + 1, 0] = duration * decay1
    z = torch.cat([z[:, :1] + recovery, z[:, 1:]], dim=1)  # order 0 alone recovers
    return States(a, b, z)


def _dephase(states: States, n_orders: int) -> States:
    """One gradient moment: ``F+`` climbs by an order, ``F-`` descends."""
    empty = torch.zeros_like(states.a[:, :1])
    rephased = torch.cat([states.b[:, 1:], empty, empty], dim=1)
    dephased = torch.cat([rephased[:, :1].conj(), states.a], dim=1)
    longitudinal = torch.cat([states.z, empty], dim=1)
    return States(dephased[:, :n_orders], rephased[:, :n_orders], longitudinal[:, :n_orders])


def _sample(states: States, rates: Tensor, echo_time: float) -> Tensor:
    """``F+_0 exp(-TE R2)`` seen by a receiver that follows the RF phase."""
    signal = torch.exp(-echo_time * rates[R2]) * states.a[:, 0]
    if len(signal) > 1:
        signal = add_row(signal, R2 + 1, -echo_time * signal[0])
    return -1j * signal


def add_row(values: Tensor, row: int, addition: Tensor) -> Tensor:
    """``values`` with ``addition`` added to one row of the first axis, out of place."""
    changed = values[row : row + 1] + addition[None]
    return torch.cat([values[:row], changed, values[row + 1 :]])
