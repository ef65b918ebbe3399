"""Rows of an ``rfpulses.tsv``, cell by cell, to arrays of shape ``(trains, pulses)``.

Kept apart from ``pulse_sequence`` because it is about text: what a cell may hold, and
the sentence that names column, row and value where it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.columns import check_magnitudes
from bids_brnn.system.kinds import abridged, cell_number, point

_LARGEST = 2**31  # of whole numbers
_ROOM = 16  # places of the padded arrays for each row of the table
_LEAST_ROOM = 1_000_000


class Columns:
    """Text or number cells of a pulse table, with errors that name column, row and value."""

    def __init__(self, table: Mapping[str, Sequence[object]]) -> None:
        self.table = {str(key).strip(): list(cells) for key, cells in table.items()}
        lengths = {len(cells) for cells in self.table.values()}
        if len(lengths) > 1 or lengths == {0} or not lengths:
            raise SequenceError("the pulse table is empty or its columns differ in length")
        self.n_rows = lengths.pop()

    def require(self, column: str) -> None:
        """Refuse a table without ``column``."""
        if column not in self.table:
            raise SequenceError(
                f'the pulse table has no column "{column}"; it has {", ".join(self.table)}'
            )

    def text(self, column: str, default: str) -> list[str]:
        """Cells as stripped text; ``default`` where absent or n/a."""
        cells = self.table.get(column, [default] * self.n_rows)
        texts = [str(cell).strip() for cell in cells]
        return [default if text.lower() in ("n/a", "nan", "") else text for text in texts]

    def numbers(self, column: str, default: float | None = None) -> NDArray[np.float64]:
        """Cells as finite numbers; n/a is ``default``, or refused without one."""
        values = np.empty(self.n_rows)
        for row, text in enumerate(self.text(column, "n/a")):
            if text == "n/a" and default is not None:
                values[row] = default
                continue
            values[row] = self.number(column, row, text)
        return values

    def number(self, column: str, row: int, text: str) -> float:
        """One finite number, or a sentence that names column, row and text."""
        value = cell_number(text)
        if not math.isfinite(value):
            raise SequenceError(
                f"{column} = {abridged(text)} in row {row + 1}: a finite number is needed"
                f"{point(text)}"
            )
        return value

    def whole(self, column: str, default: float) -> NDArray[np.int64]:
        """Cells as whole numbers."""
        values = self.numbers(column, default)
        odd = (values != np.rint(values)) | (np.abs(values) > _LARGEST)
        if odd.any():
            row = int(np.argmax(odd))
            raise SequenceError(f"{column} = {values[row]:g} in row {row + 1}: use whole numbers")
        return values.astype(np.int64)

    def echo_times(self) -> list[list[float]]:
        """Echo times of each row, s; empty where ``readout`` is 0."""
        readout = self.whole("readout", 0.0)
        odd = (readout != 0) & (readout != 1)
        if odd.any():
            row = int(np.argmax(odd))
            raise SequenceError(f"readout = {readout[row]} in row {row + 1}: use 0 or 1")
        times: list[list[float]] = []
        for row, text in enumerate(self.text("echo_time", "n/a")):
            if not readout[row]:
                times.append([])
            elif text == "n/a":
                raise SequenceError(f"echo_time is n/a in row {row + 1}, where readout is 1")
            else:
                times.append([self.number("echo_time", row, cell) for cell in text.split(",")])
        return times


def pad_trains(
    columns: Columns, gradient: str, last_tr: float | None, needs_duration: bool
) -> dict[str, NDArray[Any]]:
    """Rows to ``(trains, pulses)``; shorter trains end in rows that last no time."""
    onset = columns.numbers("onset")
    flip = columns.numbers("flip_angle")
    duration = columns.numbers("duration", 0.0)
    degrees = columns.numbers("phase", 0.0)
    kinds = columns.text("pulse_type", "excitation")
    echoes = columns.echo_times()
    _check_rows(columns, flip, duration, kinds, needs_duration)
    train_of = columns.whole("train", 1.0)
    trains = list(dict.fromkeys(train_of.tolist()))
    rows_of = [np.flatnonzero(train_of == train) for train in trains]
    for train, rows in zip(trains, rows_of, strict=True):
        if np.any(np.diff(rows) != 1):
            raise SequenceError(f"rows of train {train} are not next to each other")
        steps = np.diff(onset[rows])
        if np.any(steps <= 0):
            row = rows[int(np.argmax(steps <= 0)) + 1]
            raise SequenceError(
                f"onset = {onset[row]:g} in row {row + 1} does not come after the row before"
            )
        if len(rows) == 1 and last_tr is None:
            raise SequenceError("a train of one pulse needs RepetitionTimeExcitation")
        if not (flip[rows] > 0).any():
            raise SequenceError(
                f"flip_angle is 0 in every row of train {train}, which then has no signal"
            )
    inverts = np.array([kind == "inversion" for kind in kinds])
    check_magnitudes([onset[rows] for rows in rows_of], flip, duration, degrees, echoes, inverts)
    phase = np.radians(degrees)
    shape = (len(trains), max(len(rows) for rows in rows_of))
    n_echoes = max(1, max(map(len, echoes)))
    # Trains and echoes are padded to the longest, which must not be worth more than the table.
    if math.prod(shape) * n_echoes > max(_LEAST_ROOM, _ROOM * len(flip)):
        raise SequenceError(
            f"{shape[0]} trains of up to {shape[1]} rows and {n_echoes} echo times differ too "
            "much in length to be stored side by side; give trains of very different length in "
            "tables of their own"
        )
    arrays = {
        "flip_angle": np.zeros(shape),
        "rf_duration": np.zeros(shape),
        "rf_phase": np.zeros(shape),
        "repetition_time": np.zeros(shape),
        "echo_time": np.full((*shape, n_echoes), np.nan),
        "gradient": np.full(shape, "balanced", dtype="<U9"),
        "inversion": np.zeros(shape, dtype=bool),
    }
    gradients = columns.text("gradient", gradient)
    _check_samples(gradients, echoes)
    for index, rows in enumerate(rows_of):
        n = len(rows)
        arrays["flip_angle"][index, :n] = np.radians(flip[rows])
        arrays["rf_duration"][index, :n] = duration[rows]
        arrays["rf_phase"][index] = phase[rows[-1]]
        arrays["rf_phase"][index, :n] = phase[rows]
        tr = np.diff(onset[rows])
        arrays["repetition_time"][index, :n] = [*tr, tr[-1] if last_tr is None else last_tr]
        for column, row in enumerate(rows):
            arrays["gradient"][index, column] = gradients[row]
            arrays["inversion"][index, column] = kinds[row] == "inversion"
            arrays["echo_time"][index, column, : len(echoes[row])] = echoes[row]
    return arrays


def _check_samples(gradients: list[str], echoes: list[list[float]]) -> None:
    for row, (gradient, times) in enumerate(zip(gradients, echoes, strict=True)):
        if gradient == "spoiler" and times:
            raise SequenceError(
                f"readout is 1 in row {row + 1}, whose gradient is spoiler: it destroys "
                "transverse magnetization before and after its pulse, so that nothing is left to "
                "sample, and no model spoils after the sample; set readout to 0, or use balanced, "
                "crusher or dephasing"
            )


def _check_rows(
    columns: Columns,
    flip: NDArray[np.float64],
    duration: NDArray[np.float64],
    kinds: list[str],
    needs_duration: bool,
) -> None:
    for row, (angle, seconds, kind) in enumerate(zip(flip, duration, kinds, strict=True)):
        if not 0 <= angle <= 360:
            raise SequenceError(
                f"flip_angle = {angle:g} in row {row + 1} is outside 0 ... 360 degrees"
            )
        if seconds < 0 or (needs_duration and seconds == 0 and angle > 0):
            raise SequenceError(
                f"duration = {seconds:g} in row {row + 1}: an RF pulse needs a duration above 0 s"
            )
        if kind not in ("inversion", "excitation"):
            raise SequenceError(
                f"pulse_type = {kind} in row {row + 1}: use inversion or excitation"
            )
    for row, shape in enumerate(columns.text("shape", "rect")):
        if shape != "rect" and needs_duration:
            raise SequenceError(
                f"shape = {shape} in row {row + 1}: the qMT model knows rectangular pulses only"
            )
