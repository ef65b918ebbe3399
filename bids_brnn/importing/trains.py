"""Pulse trains of other programs: tables, controls of hybrid-state trains, FISP lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.input.protocol import Said, Shared, named
from bids_brnn.bids.input.protocol import read_train as read_table
from bids_brnn.errors import BidsBrnnError, DataError, UsageError
from bids_brnn.importing.lists import read_numbers
from bids_brnn.importing.matlab import listed, open_mat
from bids_brnn.importing.pictures import read_variable
from bids_brnn.sequences.columns import LONGEST_INTERVAL, REPETITION
from bids_brnn.sequences.pulse_sequence import PulseSequence, Start
from bids_brnn.signals.registry import ModelEntry

AngleUnit = Literal["rad", "deg"]
TimeUnit = Literal["s", "ms"]
_TURN = 2 * math.pi
_SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3}
_MOST_PULSES = 200_000


def read_train(
    path: Path, entry: ModelEntry, metadata: Mapping[str, Any], notes: list[str]
) -> PulseSequence:
    """The train of an ``rfpulses.tsv``; ``metadata`` are keys of a sidecar.

    Raises
    ------
    ReadError, SequenceError, DataError
        Naming column and row.
    """
    try:
        return read_table(
            path, entry, Said(metadata, path.name, model_chosen=True), Shared(), notes
        )
    except BidsBrnnError as error:
        raise named(path, error) from None


def controls_of(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``alpha`` (rad) and ``TRF`` (s) of a ``.mat`` file, in the shape that they have there.

    Raises
    ------
    DataError
        If they are not there, or of different shape.
    """
    names = open_mat(path).names
    if not {"alpha", "TRF"} <= {*names}:
        raise DataError(
            f"{path.name} holds {listed(names)}; alpha (flip angles) and TRF (durations in s) of "
            "all pulses are needed"
        )
    flip, duration = (np.asarray(read_variable(path, (name,))) for name in ("alpha", "TRF"))
    if flip.shape != duration.shape or flip.ndim != 2 or np.iscomplexobj(flip):
        raise DataError(
            f"{path.name}: alpha is {_shape(flip)}, TRF is {_shape(duration)}; both need one "
            "real number for each pulse"
        )
    return flip.astype(np.float64), duration.astype(np.float64)


def of_controls(
    flip: NDArray[np.float64],
    duration: NDArray[np.float64],
    *,
    name: str,
    repetition_time: float,
    trains: int | None,
    unit: AngleUnit,
    start: Start,
) -> PulseSequence:
    """A hybrid-state train from its controls, as the authors of the method write them.

    Each train has one fixed repetition time and a sample in the middle of it; RF phases alternate.
    A first pulse of 180 degrees is an inversion between crushers.

    Parameters
    ----------
    flip, duration
        ``(pulses, trains)``, or one train after the other in a single column or row; s.
    trains
        How many trains a single column holds; None: as many as there are columns.
    unit
        Of the flip angles.

    Raises
    ------
    UsageError, DataError, SequenceError
        If numbers of trains and pulses do not fit, or values mean another unit.
    """
    check_time("--repetition-time", repetition_time, *REPETITION)
    if not flip.size:
        raise DataError(f"{name} holds no pulses: alpha and TRF are empty")
    if trains is not None and trains < 1:
        raise UsageError(f"--trains {trains}: a whole number from 1 on is needed")
    if 1 in flip.shape:
        count = trains or 1
        if flip.size % count:
            raise UsageError(f"--trains {count}: {flip.size} pulses of {name} do not divide so")
        flip, duration = (
            values.reshape(count, -1) for values in (flip.ravel("F"), duration.ravel("F"))
        )
    else:
        flip, duration = flip.T, duration.T
        if trains is not None and trains != len(flip):
            raise UsageError(f"--trains {trains}: {name} has {len(flip)} columns, one each")
    if flip.size > _MOST_PULSES:
        raise DataError(f"{name} has {flip.size} pulses, more than {_MOST_PULSES}")
    _check_finite(duration, name)
    flip = _radians(flip, unit, name)
    first = np.isclose(flip[:, 0], math.pi, atol=1e-3)
    table: dict[str, list[object]] = {key: [] for key in (
        "train", "onset", "flip_angle", "duration", "phase", "pulse_type", "gradient", "readout",
        "echo_time",
    )}  # fmt: skip
    for train, (angles, widths) in enumerate(zip(flip, duration, strict=True)):
        for pulse, (angle, width) in enumerate(zip(angles, widths, strict=True)):
            inverts = pulse == 0 and bool(first[train])
            row = (
                train + 1, f"{pulse * repetition_time:.12g}", f"{math.degrees(angle):.12g}",
                f"{width:.9g}", 180 * (pulse % 2), "inversion" if inverts else "excitation",
                "crusher" if inverts else "balanced", 1, f"{repetition_time / 2:.9g}",
            )  # fmt: skip
            for column, cell in zip(table.values(), row, strict=True):
                column.append(cell)
    return _sequence(table, start, name, repetition_time=repetition_time, needs_duration=True)


def fisp_of_lists(
    flip: NDArray[np.float64],
    repetition: NDArray[np.float64],
    *,
    name: str,
    angle_unit: AngleUnit,
    time_unit: TimeUnit,
    echo_time: float,
    inversion_time: float | None,
    phase: NDArray[np.float64] | None = None,
    start: Start = "thermal",
) -> PulseSequence:
    """A train of MR fingerprinting with one spoiling moment per repetition, from lists.

    Parameters
    ----------
    flip
        Nominal flip angles ``(N,)`` in ``angle_unit``.
    repetition
        From each pulse to the next, ``(N,)`` or one for all, in ``time_unit``.
    echo_time, inversion_time
        In ``time_unit``; from the centre of the inversion pulse to the first excitation, None
        where there is no inversion.
    phase
        RF phases in ``angle_unit``; None: all 0.

    Raises
    ------
    DataError, SequenceError
        If lengths differ or values mean another unit.
    """
    scale = _SECONDS[time_unit]
    count = flip.size
    if not 1 <= count <= _MOST_PULSES:
        raise DataError(f"{name} has {count} flip angles; 1 to {_MOST_PULSES} are possible")
    for words, values in (("repetition times", repetition), ("RF phases", phase)):
        if values is not None and values.size not in (1, count):
            raise DataError(f"there are {values.size} {words} and {count} flip angles in {name}")
    angles = np.degrees(_radians(flip, angle_unit, name))
    steps = np.broadcast_to(repetition * scale, count)
    turns = np.zeros(count) if phase is None else np.broadcast_to(phase, count)
    turns = np.degrees(turns) if angle_unit == "rad" else turns
    onsets = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    lead = 0 if inversion_time is None else 1
    if inversion_time is not None:
        check_time("--inversion-time", inversion_time * scale, 1e-3, LONGEST_INTERVAL)
        onsets = np.concatenate([[0.0], onsets + inversion_time * scale])
    text = [f"{value:.12g}" for value in onsets]
    table: dict[str, list[object]] = {
        "onset": list(text),
        "flip_angle": [*["180"] * lead, *(f"{angle:.12g}" for angle in angles)],
        "phase": [*["0"] * lead, *(f"{turn:.9g}" for turn in turns)],
        "pulse_type": [*["inversion"] * lead, *["excitation"] * count],
        "gradient": [*["spoiler"] * lead, *["dephasing"] * count],
        "readout": [*[0] * lead, *[1] * count],
        "echo_time": [*["n/a"] * lead, *[f"{echo_time * scale:.9g}"] * count],
    }
    return _sequence(
        table, start, name, repetition_time=float(steps[-1]), needs_duration=False
    )  # fmt: skip


def numbers_of(path: Path) -> NDArray[np.float64]:
    """A list of numbers ``(N,)`` of a text or ``.mat`` file.

    Raises
    ------
    ReadError, DataError
        If the file is no list.
    """
    values = read_variable(path) if path.suffix == ".mat" else read_numbers(path)
    if np.iscomplexobj(values) or sum(size > 1 for size in values.shape) > 1:
        raise DataError(f"{path.name} is {_shape(values)}; a list of real numbers is needed")
    found = np.asarray(values, np.float64).ravel()
    _check_finite(found, path.name)
    return found


def check_time(option: str, value: float, low: float, high: float) -> None:
    """Refuse times that no scanner plays.

    Raises
    ------
    UsageError
        Naming option and unit.
    """
    if not low <= value <= high:
        raise UsageError(f"{option} is {value:g} s; {low:g} to {high:g} s are possible")


def _check_finite(values: NDArray[np.float64], name: str) -> None:
    # A table would take what is no number as what is not said.
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds NaN or infinity; finite numbers are needed for all pulses")


def _radians(flip: NDArray[np.float64], unit: AngleUnit, name: str) -> NDArray[np.float64]:
    _check_finite(flip, name)
    if (flip < 0).any():
        raise DataError(
            f"{name}: a flip angle is {flip.min():g}; it is 0 or more, and signs are RF phases"
        )
    if unit == "rad" and flip.max() > _TURN + 1e-3:
        raise DataError(
            f"{name}: flip angles reach {flip.max():g}, no radians; if they are degrees, give "
            "--angle-unit deg"
        )
    if unit == "deg" and 0 < flip.max() <= math.pi + 1e-3:
        raise DataError(
            f"{name}: flip angles reach {flip.max():g} degrees only; if they are radians, give "
            "--angle-unit rad"
        )
    return flip if unit == "rad" else np.radians(flip)


def _sequence(
    table: Mapping[str, list[object]],
    start: Start,
    name: str,
    *,
    repetition_time: float,
    needs_duration: bool,
) -> PulseSequence:
    try:
        return PulseSequence.from_table(
            table,
            start=start,
            last_repetition_time=repetition_time,
            needs_duration=needs_duration,
            name=name,
        )
    except BidsBrnnError as error:
        raise named(Path(name), error) from None


def start_of(given: str | None, entry: ModelEntry, notes: list[str]) -> Start:
    """The boundary condition that is given, else that of the model, with a note."""
    if given is None:
        notes.append(f'no --boundary-condition: "{entry.start}", the usual one of {entry.name}')
    return cast("Start", given or entry.start)


def _shape(values: NDArray[Any]) -> str:
    return "x".join(map(str, values.shape))
