"""A FISP pulse train as the extended-phase-graph recursion walks through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences import PulseSequence

_INVERSION_SLACK = math.radians(1.0)


@dataclass(frozen=True, eq=False)
class FispTrain:
    """One train without padding rows; arrays are ``(pulses,)`` unless stated otherwise."""

    flip_angle: NDArray[np.float64]
    """Nominal flip angle, rad; 0 where the pulse is an inversion."""
    turn: NDArray[np.float64]
    """RF phase of this pulse minus that of the excitation before it, rad."""
    repetition_time: NDArray[np.float64]
    """Seconds to the next pulse."""
    inversion: NDArray[np.bool_]
    """Whether the pulse is an (adiabatic) inversion."""
    window: NDArray[np.int64]
    """Orders that are occupied *and* can still return to order 0 before the last sample."""
    sample_pulse: NDArray[np.int64]
    """``(samples,)``: the pulse each sample follows, increasing."""
    sample_time: NDArray[np.float64]
    """``(samples,)``: echo time, s."""
    inverted_start: bool
    """Whether the train starts from inverted instead of thermal equilibrium."""

    @property
    def is_real(self) -> bool:
        """Whether all phase steps are multiples of pi, so that real states suffice."""
        return bool(np.all(np.abs(np.sin(self.turn)) < 1e-12))

    @property
    def n_orders(self) -> int:
        """Orders that make the simulation exact."""
        return int(self.window.max())


def fisp_trains(sequence: PulseSequence) -> tuple[FispTrain, ...]:
    """Check that ``sequence`` is FISP and cut it into its trains.

    Raises
    ------
    SequenceError
        If an excitation is not followed by one fixed dephasing moment, an inversion pulse is not
        a 180 degree pulse or is sampled, or the start is a periodic one.
    """
    if sequence.start not in ("thermal", "inversion"):
        raise SequenceError(
            f'BoundaryCondition "{sequence.start}" is not known to the FISP model; '
            'use "thermal" or "inversion"'
        )
    return tuple(_train(sequence, index) for index in range(sequence.n_trains))


def _train(sequence: PulseSequence, index: int) -> FispTrain:
    flip = sequence.flip_angle[index]
    tr = sequence.repetition_time[index]
    echo = sequence.echo_time[index]
    inversion = sequence.inversion[index]
    sampled = np.isfinite(echo).any(-1)
    # Rows that last no time and do nothing pad shorter trains (PulseSequence.from_table).
    used = (tr > 0) | (flip > 0) | sampled
    _check(sequence, index, used, sampled)
    flip, tr, echo, inversion = flip[used], tr[used], echo[used], inversion[used]
    sample_pulse, column = np.nonzero(np.isfinite(echo))
    excites = ~inversion
    return FispTrain(
        flip_angle=np.where(inversion, 0.0, flip),
        turn=_phase_steps(sequence.rf_phase[index][used], excites),
        repetition_time=tr,
        inversion=inversion,
        window=_window(excites, sample_pulse),
        sample_pulse=sample_pulse.astype(np.int64),
        sample_time=echo[sample_pulse, column],
        inverted_start=sequence.start == "inversion",
    )


def _check(
    sequence: PulseSequence,
    index: int,
    used: NDArray[np.bool_],
    sampled: NDArray[np.bool_],
) -> None:
    inversion = sequence.inversion[index]
    gradient = sequence.gradient[index]
    flip = sequence.flip_angle[index]

    def where(bad: NDArray[np.bool_]) -> tuple[int, str]:
        row = int(np.argmax(bad))
        return row, f"train {index + 1}, pulse {row + 1}"

    bad = used & ~inversion & (gradient != "dephasing")
    if bad.any():
        row, place = where(bad)
        raise SequenceError(
            f'gradient = {gradient[row]} at {place}: the FISP model needs "dephasing" after every '
            "excitation (a balanced train is model bssfp)"
        )
    bad = used & inversion & (np.abs(flip - math.pi) > _INVERSION_SLACK)
    if bad.any():
        row, place = where(bad)
        raise SequenceError(
            f"flip_angle = {math.degrees(flip[row]):g} deg of the inversion pulse at {place}: "
            "give 180 deg and the inversion efficiency of the model instead"
        )
    bad = used & inversion & sampled
    if bad.any():
        raise SequenceError(
            f"readout is 1 at {where(bad)[1]}, an inversion pulse, after which nothing is "
            "transverse: set readout to 0 there"
        )


def _phase_steps(phase: NDArray[np.float64], excites: NDArray[np.bool_]) -> NDArray[np.float64]:
    steps = np.zeros_like(phase)
    excitations = np.flatnonzero(excites)
    steps[excitations[1:]] = np.diff(phase[excitations])
    return steps


def _window(excites: NDArray[np.bool_], sample_pulse: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order k exists after k excitations and needs k more repetitions to be seen again."""
    before = np.concatenate([[0], np.cumsum(excites)[:-1]])
    last = int(sample_pulse[-1]) if sample_pulse.size else 0
    after = before[last] - before
    window: NDArray[np.int64] = np.maximum(1, np.minimum(before, after) + 1).astype(np.int64)
    return window
