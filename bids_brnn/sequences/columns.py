"""What the columns of an ``rfpulses.tsv`` are called, their units, and what no scanner plays.

Units are fixed. Values that are only plausible in another unit contradict the table and are
refused; nothing is converted. This is the one place that knows such limits; they are wide:
a train that can be played is not refused because it is unusual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError, unknown_names


@dataclass(frozen=True)
class Column:
    """What a column holds, for readers, templates and documentation."""

    unit: str
    """Empty where it has none."""
    needed: str
    """Whether a table must have it, and what is taken where it has not."""
    meaning: str


COLUMNS: Mapping[str, Column] = {
    "train": Column("", "no (1)", "number of the train; each has its own steady state"),
    "onset": Column("s", "yes", "centre of the pulse after the start of its train; increasing"),
    "flip_angle": Column("deg", "yes", "nominal, 0 ... 360"),
    "duration": Column("s", "qMT", "of the RF pulse"),
    "phase": Column("deg", "no (0)", "RF phase; qMT trains alternate 0 and 180"),
    "shape": Column("", "no (`rect`)", "qMT: `rect` only"),
    "pulse_type": Column("", "yes", "`inversion` or `excitation`"),
    "gradient": Column(
        "", "no",
        "`balanced`, `crusher`, `spoiler`, `dephasing`; default `balanced` for qMT, `dephasing` "
        "for MRF",
    ),
    "readout": Column(
        "", "yes",
        "1 where a sample follows, else 0; rows with 1, in order, are the frames or the rows of "
        "the basis",
    ),
    "echo_time": Column(
        "s", "where `readout` is 1",
        "pulse centre to sample; several samples separated by commas; n/a where `readout` is 0",
    ),
}  # fmt: skip
"""Every column that is read."""
UNITS: Mapping[str, str] = {name: column.unit for name, column in COLUMNS.items()}
"""Unit of each column that is read, empty where it has none."""
REMARKS = ("comment", "comments", "note", "notes")
"""Columns that may stand in the table and are not read."""
_NAMES = {
    "s": ("s", "sec", "second", "seconds"),
    "deg": ("deg", "degree", "degrees", "\N{DEGREE SIGN}"),
    "Hz": ("hz", "hertz"),
}
_WORDS = {"s": "seconds", "deg": "degrees", "Hz": "hertz"}
_OFF_RESONANCE = ("offset", "frequency", "detuning", "offres", "off_res", "hz", "ppm")

REPETITION = (1e-4, 1.0)
"""s: the shortest interval of a table lies in between. Single delays may be longer."""
LONGEST_INTERVAL = 100.0
"""s."""
DURATION = (2e-6, 0.05)
"""s, of RF pulses that have one."""
LONGEST_ECHO = 0.5
"""s."""
LARGEST_PHASE = 1e10
"""deg: quadratic phases of long trains reach 1e9; beyond, the turns swamp the angle."""
SMALLEST_PEAK = 2.0
"""deg: the largest flip angle of a train whose signal is worth a measurement."""
_TURN = 2 * math.pi + 1e-3
"""A turn in radians, with the slack of rounded text."""

Array = NDArray[np.float64]


def described() -> dict[str, dict[str, str]]:
    """The JSON file beside a table: description and unit by column."""
    return {
        name: {"Description": column.meaning.replace("`", "")}
        | ({"Units": column.unit} if column.unit else {})
        for name, column in COLUMNS.items()
    }


def check_names(names: Iterable[str]) -> None:
    """Refuse columns that are neither read nor remarks.

    Raises
    ------
    SequenceError
        Naming them, and what may have been meant.
    """
    unknown = [name for name in names if name not in UNITS and name not in REMARKS]
    if not unknown:
        return
    text = unknown_names("", "column", unknown, UNITS)
    if any(word in name.lower() for name in unknown for word in _OFF_RESONANCE):
        text += "; the signal models know RF pulses on resonance only"
    raise SequenceError(f"{text} (remarks may stand in a column called comment)")


def check_units(
    declared: Mapping[str, object], where: str, units: Mapping[str, str] = UNITS
) -> None:
    """Refuse units of columns that are not those of the table.

    Parameters
    ----------
    declared
        The JSON file beside the table: an object by column, with ``Units`` where it has some.
    where
        Name of the file.
    units
        By column: those of the table.

    Raises
    ------
    SequenceError
        Naming column and unit.
    """
    for column, unit in units.items():
        about = declared.get(column)
        said = about.get("Units") if isinstance(about, Mapping) else None
        if said is None or not unit:
            continue
        if not isinstance(said, str) or said.strip().lower() not in _NAMES[unit]:
            raise SequenceError(
                f'Units of {column} in {where} is "{said}"; {column} must be in {_WORDS[unit]} '
                f'("{unit}"): convert the column'
            )


def check_magnitudes(
    onsets: Sequence[Array],
    flip: Array,
    duration: Array,
    phase: Array,
    echoes: Sequence[Sequence[float]],
    inversion: NDArray[np.bool_],
) -> None:
    """Refuse values that are plausible in another unit only.

    Parameters
    ----------
    onsets
        Of the rows of each train, s.
    flip, duration, phase, echoes, inversion
        Of all rows: deg, s, deg, s, and whether the pulse inverts.

    Raises
    ------
    SequenceError
        Naming column, value and unit.
    """
    _check_intervals(np.concatenate([np.diff(times) for times in onsets]))
    played = np.where(flip > 0, duration, 0.0)
    _refuse((played > DURATION[1]) | ((played > 0) & (played < DURATION[0])), "duration", played)
    longest = np.array([max(times, default=0.0) for times in echoes])
    _refuse(longest > LONGEST_ECHO, "echo_time", longest)
    _check_flips(flip, inversion)
    turned = np.abs(phase)
    if turned.max() > LARGEST_PHASE:
        row = int(turned.argmax())
        raise SequenceError(f"phase = {phase[row]:g} degrees in row {row + 1} is no angle")
    if 1e-3 < turned.max() <= _TURN:  # less is the rounding of a phase of zero
        row = int(turned.argmax())
        raise SequenceError(
            f"phase = {phase[row]:g} degrees in row {row + 1}, and none is larger? phase must be "
            "in degrees, not in radians or turns"
        )


def _check_intervals(intervals: Array) -> None:
    intervals = intervals[intervals > 0]
    if not intervals.size:
        return
    low, high = float(intervals.min()), float(intervals.max())
    possible = REPETITION[0] <= low < REPETITION[1]
    if not possible or high > LONGEST_INTERVAL:
        shown, which = (high, "longest") if possible else (low, "shortest")
        raise SequenceError(
            f"repetition time of {shown:g} s, the {which} difference of onsets? onset must be in "
            "seconds"
        )


def _check_flips(flip: Array, inversion: NDArray[np.bool_]) -> None:
    # Whoever writes an inversion as 180 may have computed the other angles in radians.
    peak = float(flip.max(where=~inversion, initial=0.0))
    small, why = inversion & (flip > 0) & (flip <= _TURN), "an inversion"
    if not small.any() and peak <= _TURN:
        small, why = np.abs(flip - math.pi) < 1e-3, "which is pi"
    if not small.any() and 0 < peak < SMALLEST_PEAK:
        small, why = (flip == peak) & ~inversion, "the largest of an excitation"
    if small.any():
        row = int(np.argmax(small))
        raise SequenceError(
            f"flip_angle = {flip[row]:g} degrees in row {row + 1}, {why}? flip_angle must be in "
            "degrees, not in radians"
        )


def _refuse(bad: NDArray[np.bool_], column: str, values: Array) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise SequenceError(
            f"{column} = {values[row]:g} s in row {row + 1}? {column} must be in seconds"
        )
