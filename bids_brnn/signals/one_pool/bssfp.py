"""MR fingerprinting with balanced SSFP: one pool, off-resonance, instantaneous pulses.

Bloch equations of one isochromat: a rotation per pulse, free precession and relaxation between
pulses. Positive ``w0`` advances the transverse magnetization ``Mx + i My`` counter-clockwise,
``exp(i w0 t)``. Ma 2013, 10.1038/nature11971; steady state: Freeman and Hill 1971,
10.1016/0022-2364(71)90007-4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import BALANCED, ParameterSet
from bids_brnn.sequences.pulse_sequence import PulseSequence, Start
from bids_brnn.signals.base import check_basis
from bids_brnn.signals.one_pool.recursion import add_row, collect
from bids_brnn.signals.one_pool.train import PulseTrain, cut_trains

R1_COLUMN, R2_COLUMN, W0_COLUMN, B1_COLUMN = range(4)


class Magnetization(NamedTuple):
    """States side by side, ``(1 + tangents, rows, states)``; ``xy`` in the frame of the pulse."""

    xy: Tensor
    z: Tensor
    one: Tensor
    """``(states,)``: 1, or 0 for the difference of two states; scales what recovers."""


@dataclass(frozen=True, eq=False)
class BalancedSsfp:
    """Balanced SSFP signal at M0 = 1 as a function of R1, R2, w0 and B1; a ``SignalModel``.

    Parameters
    ----------
    sequence
        ``gradient`` is ``balanced`` for every excitation. With a ``periodic`` or ``antiperiodic``
        start each train is in its own steady state; inversion pulses leave nothing transverse.
    inversion_efficiency
        ``Mz`` after over before an inversion pulse, times -1; B1 does not act on it.

    The phase of the receiver follows that of each RF pulse. Bounds of ``w0`` are +-pi over the
    longest repetition time, beyond which the signal repeats.
    """

    sequence: PulseSequence
    inversion_efficiency: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.inversion_efficiency <= 1:
            raise ParameterError(
                f"inversion_efficiency = {self.inversion_efficiency:g} is outside [0, 1]"
            )
        self._trains  # noqa: B018  # an unfit sequence is refused here, not at the first voxel

    @cached_property
    def parameters(self) -> ParameterSet:
        """R1, R2, w0 (a nuisance) and B1 (supplied)."""
        longest = max(
            float(train.repetition_time[~train.inversion].max(initial=1e-4))
            for train in self._trains
        )
        edge = math.pi / longest
        return BALANCED.replace("w0", lower=-edge, upper=edge)

    @property
    def n_samples(self) -> int:
        """Number of samples of all trains."""
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or, with ``basis``, coefficients ``(..., R)``."""
        return self._run(theta, basis, derivatives=False)[0]

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, 4)``; tangents of the same recursion."""
        result = self._run(theta, basis, derivatives=True)
        return result[0], torch.movedim(result[1:], 0, -1)

    def _run(self, theta: Tensor, basis: Tensor | None, *, derivatives: bool) -> Tensor:
        """``(1 or 5, ..., N or R)``."""
        check_basis(basis, self.n_samples)
        rates = theta.reshape(-1, theta.shape[-1]).T[..., None]
        n_tangents = len(rates) if derivatives else 0
        stream = (
            sample
            for train in self._trains
            for sample in _samples(
                train, rates, n_tangents, self.sequence.start, self.inversion_efficiency
            )
        )
        signal = collect(stream, basis)
        return signal.reshape(len(signal), *theta.shape[:-1], signal.shape[-1])

    @cached_property
    def _trains(self) -> tuple[PulseTrain, ...]:
        starts = get_args(Start)
        return cut_trains(self.sequence, model="balanced SSFP", gradient="balanced", starts=starts)


def _samples(
    train: PulseTrain, rates: Tensor, n_tangents: int, start: str, efficiency: float
) -> Iterator[Tensor]:
    """Samples ``(1 + n_tangents, rows)``, one after the other; ``rates`` is ``(4, rows, 1)``."""
    if start in ("periodic", "antiperiodic"):
        sign = -1.0 if start == "antiperiodic" else 1.0
        state = _steady_state(train, rates, n_tangents, efficiency, sign)
    else:
        z = -efficiency if train.inverted_start else 1.0
        state = _states(rates, n_tangents, [[0.0, 0.0, z, 1.0]])
    following = 0
    for pulse in range(train.flip_angle.size):
        state = _excite(state, rates, train, pulse, efficiency)
        while following < train.sample_time.size and train.sample_pulse[following] == pulse:
            echo = _precess(state, rates, float(train.sample_time[following]))
            yield echo.xy[..., 0]
            following += 1
        if following == train.sample_time.size:
            return
        state = _precess(state, rates, float(train.repetition_time[pulse]))


def _states(rates: Tensor, n_tangents: int, columns: list[list[float]]) -> Magnetization:
    """States (x, y, z, one) side by side, the same for all rows; tangents are zero."""
    x, y, z, one = rates.new_tensor(columns).T
    value = torch.zeros((1 + n_tangents, 1, 1), dtype=rates.dtype, device=rates.device)
    value[0] = 1
    rows = torch.ones_like(rates[0]) * value
    return Magnetization(torch.complex(rows * x, rows * y), rows * z, one)


def _excite(
    state: Magnetization, rates: Tensor, train: PulseTrain, pulse: int, efficiency: float
) -> Magnetization:
    """Rotate about the x axis of the frame of this pulse, or invert."""
    if train.inversion[pulse]:
        return state._replace(xy=torch.zeros_like(state.xy), z=-efficiency * state.z)
    turn, flip = float(train.turn[pulse]), float(train.flip_angle[pulse])
    xy = state.xy * complex(math.cos(turn), -math.sin(turn))
    angle = rates[B1_COLUMN] * flip
    sine, cosine = torch.sin(angle), torch.cos(angle)
    y, z = cosine * xy.imag - sine * state.z, sine * xy.imag + cosine * state.z
    if len(z) > 1:
        y, z = add_row(y, B1_COLUMN + 1, -flip * z[0]), add_row(z, B1_COLUMN + 1, flip * y[0])
    return state._replace(xy=torch.complex(xy.real, y), z=z)


def _precess(state: Magnetization, rates: Tensor, time: float) -> Magnetization:
    decay1, decay2 = (torch.exp(-time * rates[column]) for column in (R1_COLUMN, R2_COLUMN))
    angle = time * rates[W0_COLUMN]
    xy = torch.complex(decay2 * torch.cos(angle), decay2 * torch.sin(angle)) * state.xy
    z = decay1 * state.z
    recovered = z[0] - torch.expm1(-time * rates[R1_COLUMN]) * state.one
    if len(z) > 1:
        # Distance from equilibrium decays, so that its derivative needs no other exponential.
        z = add_row(z, R1_COLUMN + 1, -time * (recovered - state.one))
        xy = add_row(xy, R2_COLUMN + 1, -time * xy[0])
        xy = add_row(xy, W0_COLUMN + 1, 1j * time * xy[0])
    return state._replace(xy=xy, z=torch.cat([recovered[None], z[1:]]))


def _steady_state(
    train: PulseTrain, rates: Tensor, n_tangents: int, efficiency: float, sign: float
) -> Magnetization:
    """State before the first pulse that the train reproduces, ``xy`` times ``sign``.

    The train maps ``m`` to ``P m + q``; columns of ``P`` are what becomes of the unit states
    without recovery, ``q`` what recovers from nothing. Tangents follow from the same equation.
    """
    state = _states(
        rates, n_tangents, [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
    )
    for pulse in range(train.flip_angle.size):
        state = _excite(state, rates, train, pulse, efficiency)
        state = _precess(state, rates, float(train.repetition_time[pulse]))
    xy = state.xy * complex(math.cos(train.wrap), -math.sin(train.wrap))
    end = torch.stack([xy.real, xy.imag, state.z], dim=-2)
    matrix, recovered = end[..., :3], end[..., 3:]
    boundary = torch.diag(rates.new_tensor([sign, sign, 1.0])) - matrix[:1]
    start = torch.linalg.solve(boundary, recovered[:1])
    if n_tangents:
        change = torch.linalg.solve(boundary, recovered[1:] + matrix[1:] @ start)
        start = torch.cat([start, change])
    x, y, z = start.unbind(-2)
    return Magnetization(torch.complex(x, y), z, rates.new_ones(1))
