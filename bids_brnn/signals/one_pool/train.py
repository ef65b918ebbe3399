"""Trains of instantaneous pulses, as the recursions of FISP and balanced SSFP walk them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.pulse_sequence import Gradient, PulseSequence, Start

_INVERSION_SLACK = math.radians(1.0)


@dataclass(frozen=True, eq=False)
class PulseTrain:
    """One train without padding rows; arrays are ``(pulses,)`` unless stated otherwise."""

    flip_angle: NDArray[np.float64]
    """Nominal flip angle, rad; 0 where the pulse is an inversion."""
    turn: NDArray[np.float64]
    """RF phase of this pulse minus that of the excitation before it, rad; 0 for the first."""
    wrap: float
    """RF phase of the first excitation minus that of the last, rad."""
    repetition_time: NDArray[np.float64]
    """Seconds to the next pulse."""
    inversion: NDArray[np.bool_]
    """Whether the pulse is an (adiabatic) inversion."""
    window: NDArray[np.int64]
    """Orders of a dephasing train that are occupied *and* can still return before its end."""
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


def cut_trains(
    sequence: PulseSequence, *, model: str, gradient: Gradient, starts: Sequence[Start]
) -> tuple[PulseTrain, ...]:
    """Check that ``sequence`` fits a model and cut it into its trains.

    Parameters
    ----------
    sequence
        Any.
    model
        Name of the model, for messages.
    gradient
        What must follow every excitation. Inversion pulses are crushed, whatever they say.
    starts
        Start states the model knows.

    Raises
    ------
    SequenceError
        If the sequence has another gradient or start, or if an inversion pulse is not a 180
        degree pulse or is sampled.
    """
    if sequence.start not in starts:
        raise SequenceError(
            f'BoundaryCondition "{sequence.start}" is not known to the {model} model; '
            f"use {' or '.join(starts)}"
        )
    return tuple(_train(sequence, index, model, gradient) for index in range(sequence.n_trains))


def _train(sequence: PulseSequence, index: int, model: str, gradient: Gradient) -> PulseTrain:
    flip = sequence.flip_angle[index]
    tr = sequence.repetition_time[index]
    echo = sequence.echo_time[index]
    inversion = sequence.inversion[index]
    sampled = np.isfinite(echo).any(-1)
    # Rows that last no time and do nothing pad shorter trains (PulseSequence.from_table).
    used = (tr > 0) | (flip > 0) | sampled
    place = f"train {index + 1}, pulse "
    _refuse(
        used & ~inversion & (sequence.gradient[index] != gradient),
        lambda row: (
            f"gradient = {sequence.gradient[index, row]} at {place}{row + 1}: "
            f'the {model} model needs "{gradient}" at every excitation'
        ),
    )
    _refuse(
        used & inversion & (np.abs(flip - math.pi) > _INVERSION_SLACK),
        lambda row: (
            f"flip_angle = {math.degrees(flip[row]):g} deg of the inversion pulse at "
            f"{place}{row + 1}: give 180 deg and the inversion efficiency of the model instead"
        ),
    )
    _refuse(
        used & inversion & sampled,
        lambda row: (
            f"readout is 1 at {place}{row + 1}, an inversion pulse, after which nothing "
            "is transverse: set readout to 0 there"
        ),
    )
    flip, tr, echo, inversion = flip[used], tr[used], echo[used], inversion[used]
    sample_pulse, column = np.nonzero(np.isfinite(echo))
    steps, wrap = _phase_steps(sequence.rf_phase[index][used], ~inversion)
    return PulseTrain(
        flip_angle=np.where(inversion, 0.0, flip),
        turn=steps,
        wrap=wrap,
        repetition_time=tr,
        inversion=inversion,
        window=_window(~inversion, sample_pulse),
        sample_pulse=sample_pulse.astype(np.int64),
        sample_time=echo[sample_pulse, column],
        inverted_start=sequence.start == "inversion",
    )


def _refuse(bad: NDArray[np.bool_], sentence: Callable[[int], str]) -> None:
    if bad.any():
        raise SequenceError(sentence(int(np.argmax(bad))))


def _phase_steps(
    phase: NDArray[np.float64], excites: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    steps = np.zeros_like(phase)
    excitations = np.flatnonzero(excites)
    if not excitations.size:
        return steps, 0.0
    steps[excitations[1:]] = np.diff(phase[excitations])
    return steps, float(phase[excitations[0]] - phase[excitations[-1]])


def _window(excites: NDArray[np.bool_], sample_pulse: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order k exists after k excitations and needs k more repetitions to be seen again."""
    before = np.concatenate([[0], np.cumsum(excites)[:-1]])
    last = int(sample_pulse[-1]) if sample_pulse.size else 0
    after = before[last] - before
    window: NDArray[np.int64] = np.maximum(1, np.minimum(before, after) + 1).astype(np.int64)
    return window
