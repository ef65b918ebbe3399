"""A pulse train as a flat list of steps from sample to sample, for the generalized Bloch model.

Every implementation of the model (matrix exponentials, operator splitting, compiled kernel) reads
the same :class:`TrainPlan`, so that gradients, phases, echo times, padding and the start of a
train are interpreted in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.pulse_sequence import PulseSequence, Start

WAIT, ROTATE, CRUSH, SPOIL = 0, 1, 2, 3
"""Kinds of step. WAIT: no RF. ROTATE: pulse of finite duration. CRUSH and SPOIL: the pulse acts
on the free pool in an instant at its centre; of the transverse part CRUSH keeps the spin-echo
pathway, SPOIL nothing."""


@dataclass(frozen=True, eq=False)
class TrainPlan:
    """Steps of all trains, arrays ``(trains, steps)``.

    One step: precess freely for ``before``, change the frame by ``increment``, play the pulse,
    precess freely for ``after``, take sample ``sample`` (if it is not negative). ``before`` and
    ``after`` count from and to the *centre* of the pulse; a pulse of finite duration takes
    ``half`` of its duration away from each. With several samples after one pulse, further steps of
    kind WAIT follow it.

    The state lives in the frame of the last pulse: the transverse part ``x + iy`` is multiplied
    by ``exp(-i increment)`` and a pulse then rotates about y, taking +z to +x.
    """

    kind: NDArray[np.int8]
    flip: NDArray[np.float64]
    """Nominal flip angle, rad; 0 for WAIT."""
    duration: NDArray[np.float64]
    """Of the RF pulse, s; 0 for WAIT."""
    half: NDArray[np.float64]
    """``duration / 2`` for ROTATE, else 0."""
    increment: NDArray[np.float64]
    """Phase of this pulse minus that of the one before, rad. At the first step of a train that
    repeats, minus that of the last pulse (plus pi if antiperiodic); otherwise 0."""
    before: NDArray[np.float64]
    """s. At the first step of a train that repeats: from its last sample to its first pulse;
    otherwise ``half``: the train starts with the pulse."""
    after: NDArray[np.float64]
    """s."""
    sample: NDArray[np.int64]
    """Row of the signal that is taken after the step, or -1."""
    pulse: NDArray[np.int64]
    """Column of the pulse in the sequence."""
    start: Start
    """``periodic`` and ``antiperiodic``: the state before the first step reproduces itself over
    all steps (the sign is part of ``increment``)."""

    @property
    def repeats(self) -> bool:
        """Whether each train starts from its own steady state."""
        return self.start in ("periodic", "antiperiodic")

    @property
    def n_trains(self) -> int:
        """Number of trains."""
        return int(self.kind.shape[0])

    @property
    def n_steps(self) -> int:
        """Steps per train."""
        return int(self.kind.shape[1])

    @classmethod
    def from_sequence(cls, sequence: PulseSequence) -> TrainPlan:
        """Flatten a sequence.

        Raises
        ------
        SequenceError
            For gradients that dephase by a fixed moment, which need configuration states, and for
            pulses without duration, on which the saturation of the semi-solid pool depends.
        """
        _refuse(
            sequence.gradient == "dephasing",
            "has the gradient dephasing, which the "
            "generalized Bloch model does not know; use balanced, crusher or spoiler",
        )
        instant = (sequence.rf_duration == 0) & (sequence.flip_angle > 0)
        _refuse(
            instant,
            "has a duration of 0 s; the generalized Bloch model needs "
            "the true duration of each RF pulse",
        )
        trains = [_steps(sequence, train) for train in range(sequence.n_trains)]
        columns = {key: np.array([train[key] for train in trains]) for key in trains[0]}
        sampled = columns.pop("sampled")
        sample = np.where(sampled, np.cumsum(sampled.ravel()).reshape(sampled.shape) - 1, -1)
        kind = columns.pop("kind").astype(np.int8)
        plan = cls(kind=kind, sample=sample, start=sequence.start, **columns)
        for array in vars(plan).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        return plan


def _refuse(bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        train, pulse = np.argwhere(bad)[0]
        raise SequenceError(f"RF pulse {pulse + 1} of train {train + 1} {why}")


def _kind(sequence: PulseSequence, train: int, pulse: int) -> int:
    gradient = sequence.gradient[train, pulse]
    if gradient == "crusher":
        return CRUSH
    if gradient == "spoiler":
        return SPOIL
    return ROTATE if sequence.flip_angle[train, pulse] > 0 else WAIT


def _steps(sequence: PulseSequence, train: int) -> dict[str, list[float]]:
    steps: dict[str, list[float]] = {
        key: []
        for key in (
            "kind", "flip", "duration", "half", "increment", "before", "after", "sampled", "pulse",
        )
    }  # fmt: skip
    rest = 0.0  # time since the last step
    phase = sequence.rf_phase[train, 0]
    for pulse in range(sequence.n_pulses):
        kind = _kind(sequence, train, pulse)
        duration = sequence.rf_duration[train, pulse] if kind != WAIT else 0.0
        half = duration / 2 if kind == ROTATE else 0.0
        times = sequence.echo_time[train, pulse]
        now = half  # where the step of a pulse without sample ends
        padding = sequence.padding[train, pulse]
        for echo, time in enumerate(times):
            sampled = bool(np.isfinite(time))
            last, now = (0.0 if echo == 0 else now), (float(time) if sampled else now)
            new = {
                "kind": kind if echo == 0 else WAIT,
                "flip": sequence.flip_angle[train, pulse] if echo == 0 else 0.0,
                "duration": duration if echo == 0 else 0.0,
                "half": half if echo == 0 else 0.0,
                "increment": sequence.rf_phase[train, pulse] - phase,
                # Padding hands the waiting time on to the pulse that follows it.
                "before": rest if echo == 0 and not padding else 0.0,
                "after": now - last,
                "sampled": sampled,
                "pulse": pulse,
            }
            for key, value in new.items():
                steps[key].append(value)
            phase = sequence.rf_phase[train, pulse]
        if not padding:
            rest = sequence.repetition_time[train, pulse] - now
    if sequence.start in ("periodic", "antiperiodic"):
        turn = math.pi if sequence.start == "antiperiodic" else 0.0
        steps["increment"][0] = sequence.rf_phase[train, 0] - phase + turn
        steps["before"][0] = rest
    else:
        steps["before"][0] = steps["half"][0]
    return steps
