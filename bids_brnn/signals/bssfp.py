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
from functools import cached_property, partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.parameters import RELAXATION, W0, Parameter, ParameterSet
from bids_brnn.sequences import PulseSequence, Start
from bids_brnn.signals.base import forward_derivatives
from bids_brnn.signals.epg_recursion import collect
from bids_brnn.signals.epg_train import PulseTrain, cut_trains

R1_COLUMN, R2_COLUMN, W0_COLUMN, B1_COLUMN = range(4)


class Magnetization(NamedTuple):
    """Side by side in the last axis, ``(rows, states)``; ``xy`` in the frame of the pulse."""

    xy: Tensor
    z: Tensor
    one: Tensor
    """1, or 0 for the difference of two states: scales what recovers from nothing."""


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
        r1, r2, b1 = RELAXATION
        return ParameterSet((r1, r2, Parameter(W0, -edge, edge, 0.0, "nuisance"), b1))

    @property
    def n_samples(self) -> int:
        """Number of samples of all trains."""
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or, with ``basis``, coefficients ``(..., R)``."""
        rows = theta.reshape(-1, theta.shape[-1])
        stream = (
            sample
            for train in self._trains
            for sample in _samples(train, rows, self.sequence.start, self.inversion_efficiency)
        )
        signal = collect(stream, basis)
        return signal.reshape(*theta.shape[:-1], signal.shape[-1])

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, 4)``, by forward mode."""
        return forward_derivatives(partial(self.__call__, basis=basis), theta)

    @cached_property
    def _trains(self) -> tuple[PulseTrain, ...]:
        starts = get_args(Start)
        return cut_trains(self.sequence, model="balanced SSFP", gradient="balanced", starts=starts)


def _samples(train: PulseTrain, theta: Tensor, start: str, efficiency: float) -> Iterator[Tensor]:
    """Samples ``(rows,)``, one after the other."""
    if start in ("periodic", "antiperiodic"):
        state = _steady_state(train, theta, efficiency, -1.0 if start == "antiperiodic" else 1.0)
    else:
        state = _states(theta, [[0.0, 0.0, -efficiency if train.inverted_start else 1.0]])
    following = 0
    for pulse in range(train.flip_angle.size):
        state = _excite(state, theta, train, pulse, efficiency)
        while following < train.sample_time.size and train.sample_pulse[following] == pulse:
            echo = _precess(state, theta, float(train.sample_time[following]))
            yield echo.xy[:, 0]
            following += 1
        if following == train.sample_time.size:
            return
        state = _precess(state, theta, float(train.repetition_time[pulse]))


def _states(theta: Tensor, columns: list[list[float]], one: float = 1.0) -> Magnetization:
    x, y, z = theta.new_tensor(columns).T.unbind(0)
    rows = torch.ones_like(theta[:, :1])
    return Magnetization(rows * torch.complex(x, y), rows * z, rows * torch.full_like(z, one))


def _excite(
    state: Magnetization, theta: Tensor, train: PulseTrain, pulse: int, efficiency: float
) -> Magnetization:
    """Rotate about the x axis of the frame of this pulse, or invert."""
    if train.inversion[pulse]:
        return state._replace(xy=torch.zeros_like(state.xy), z=-efficiency * state.z)
    turn = float(train.turn[pulse])
    xy = state.xy * complex(math.cos(turn), -math.sin(turn))
    angle = theta[:, B1_COLUMN, None] * float(train.flip_angle[pulse])
    sine, cosine = torch.sin(angle), torch.cos(angle)
    y = cosine * xy.imag - sine * state.z
    return state._replace(xy=torch.complex(xy.real, y), z=sine * xy.imag + cosine * state.z)


def _precess(state: Magnetization, theta: Tensor, time: float) -> Magnetization:
    r1, r2, w0 = (theta[:, column, None] for column in (R1_COLUMN, R2_COLUMN, W0_COLUMN))
    decay = torch.exp(-time * r2)
    factor = torch.complex(decay * torch.cos(time * w0), decay * torch.sin(time * w0))
    z = torch.exp(-time * r1) * state.z - torch.expm1(-time * r1) * state.one
    return state._replace(xy=factor * state.xy, z=z)


def _steady_state(
    train: PulseTrain, theta: Tensor, efficiency: float, sign: float
) -> Magnetization:
    """State before the first pulse that the train reproduces, ``xy`` times ``sign``."""
    unit = _states(theta, [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]])
    recovers = unit.one.clone()
    recovers[:, :3] = 0
    state = unit._replace(one=recovers)
    for pulse in range(train.flip_angle.size):
        state = _excite(state, theta, train, pulse, efficiency)
        state = _precess(state, theta, float(train.repetition_time[pulse]))
    xy = state.xy * complex(math.cos(train.wrap), -math.sin(train.wrap))
    end = torch.stack([xy.real, xy.imag, state.z], dim=-2)
    boundary = torch.diag(theta.new_tensor([sign, sign, 1.0]))
    start = torch.linalg.solve(boundary - end[..., :3], end[..., 3:])
    return Magnetization(
        torch.complex(start[:, 0], start[:, 1]), start[:, 2], torch.ones_like(start[:, 0])
    )
