"""Where a train ends in a file that plays it several times, or several trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError

_STEPS = (1e-5, 1e-8, 1e-8, 1e-8)
"""Differences of flip angle (rad), duration, echo time and repetition time (s) that count."""
_TURN = 2e-3  # rad, of a phase


@dataclass(frozen=True)
class Row:
    """One RF pulse as a table has it, in SI units."""

    flip: float
    phase: float
    duration: float
    inverts: bool
    rectangular: bool
    echo: float | None
    """s from the centre of the pulse."""
    repetition: float
    """s to the next pulse; of the last one to the first of the file played again."""


def cut(rows: Sequence[Row], trains: int) -> tuple[list[range], int, bool]:
    """Trains, how often each is played, and whether RF phases turn by pi from one to the next.

    Parameters
    ----------
    rows
        Of the whole file.
    trains
        Number of different trains, of equal length.

    Raises
    ------
    SequenceError
        If the pulses cannot be divided so.
    """
    numbers, phases = _columns(rows)
    whole, _ = _period(numbers, phases)
    if trains < 1 or whole % trains:
        raise SequenceError(
            f"the file plays {whole} RF pulses before it repeats itself, which cannot be cut into "
            f"{trains} trains of equal length (--trains)"
        )
    length = whole // trains
    parts, copies, shifts = [], [], []
    for train in range(trains):
        part = slice(train * length, (train + 1) * length)
        if trains == 1:
            part = slice(0, len(rows))
        period, shifted = _period(numbers[part], phases[part])
        parts.append(range(part.start, part.start + period))
        copies.append((part.stop - part.start) // period)
        shifts.append(shifted)
    if len(set(copies)) > 1 or len(set(shifts)) > 1:
        raise SequenceError(
            "the trains of the file are not repeated equally often and with equal RF phases; "
            "export each as a file of its own"
        )
    return parts, copies[0], shifts[0]


def is_shifted(shifted: bool) -> str:
    """How a repetition is called in ``BoundaryCondition``."""
    return "antiperiodic" if shifted else "periodic"


def _columns(rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    values = np.array(
        [[row.flip, row.duration, -1.0 if row.echo is None else row.echo, row.repetition]
         for row in rows]
    )  # fmt: skip
    numbers = np.rint(values / _STEPS).astype(np.int64)
    flags = np.array([[row.inverts, row.rectangular] for row in rows], dtype=np.int64)
    return np.concatenate([numbers, flags], axis=1), np.array([row.phase for row in rows])


def _period(numbers: NDArray[np.int64], phases: NDArray[np.float64]) -> tuple[int, bool]:
    """Pulses after which all repeats itself, and whether phases then turn by pi.

    A train has more than one pulse: equal pulses in a row are not taken as repetitions of one
    unless they have an inversion.
    """
    total = len(numbers)
    for period in range(2, total // 2 + 1):
        if total % period:
            continue
        now, then = numbers[:-period].copy(), numbers[period:].copy()
        then[-1, 3] = now[-1, 3]  # a file need not hold the pause after its end
        if np.abs(now - then).max() > 1:
            continue
        if not _is_train(numbers[:period]):
            continue
        turn = phases[period:] - phases[:-period]
        for shift in (0.0, math.pi):
            off = np.abs((turn - shift + math.pi) % (2 * math.pi) - math.pi)
            if off.max() < _TURN and not (shift and period % 2):
                return period, bool(shift)
    return total, False


def _is_train(numbers: NDArray[np.int64]) -> bool:
    """Whether pulses are a train: with an inversion, or with flip angles that vary."""
    return bool(numbers[:, 4].any() or np.ptp(numbers[:, 0]) > 0)
