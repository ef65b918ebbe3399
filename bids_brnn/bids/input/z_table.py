"""Rows of a Z-spectrum from a table, or from lists in a sidecar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bids_brnn.bids.input.z_constants import LABELS, Table
from bids_brnn.bids.input.z_rows import ANGLES, OFFSETS, Row, state_of
from bids_brnn.bids.input.z_series import Measurement
from bids_brnn.errors import DataError
from bids_brnn.system.kinds import point, shown

HOLDS = frozenset((*ANGLES, *OFFSETS))
"""Keys of a sidecar that tell a measurement."""
_MISSING = ("", "n/a")


def rows_of(table: Table, about: Mapping[str, Any], where: str, name: str = "") -> list[Row]:
    """The rows of a table; a column that is missing may be one number of the sidecar.

    Parameters
    ----------
    table, where
        Columns, and what messages call the table.
    about, name
        The sidecar of the series, and what messages call that.

    Raises
    ------
    DataError
        If a cell is no number, a state neither ``on`` nor ``off``, or the sidecar says else.
    """
    n = len(next(iter(table.values())))
    angles = _cells(table, "mt_flip_angle", about, ANGLES, n, where)
    offsets = _cells(table, "offset", about, OFFSETS, n, where)
    states = _states(table, angles, where)
    for keys, values in ((ANGLES, angles), (OFFSETS, offsets), (("MTState",), states)):
        for key in keys:
            if not _agrees(about.get(key), values, states):
                raise DataError(
                    f"{name}: {key} of its sidecar is {shown(about[key])}, which is not what "
                    f"{where} says of the images; correct one of them, or remove the key."
                )
    return [
        Row(f"row {row} of {where}", on, angle if on else None, offset if on else None)
        for row, (on, angle, offset) in enumerate(zip(states, angles, offsets, strict=True), 1)
    ]


def _states(table: Table, angles: Sequence[float | None], where: str) -> list[bool]:
    if "mt_state" not in table:
        return [angle != 0 for angle in angles]
    texts = [text.strip().lower() for text in table["mt_state"]]
    for row, text in enumerate(texts, 1):
        if text not in ("on", "off"):
            raise DataError(f'{where}: mt_state is "{text}" in row {row}; it is on or off.')
    states = [text == "on" for text in texts]
    for row, (on, angle) in enumerate(zip(states, angles, strict=True), 1):
        if on and angle == 0:
            raise DataError(
                f"{where}: mt_state is on in row {row}, but mt_flip_angle is 0; write off if "
                "there was no MT pulse."
            )
    return states


def _agrees(said: object, values: Sequence[float | None], states: Sequence[bool]) -> bool:
    """Whether a sidecar of all images says of them what the table does; one value: of some."""
    if isinstance(said, list):
        return len(said) == len(values) and all(
            _is_same(one, value)
            for one, value, on in zip(said, values, states, strict=True)
            if on or isinstance(value, bool)
        )
    # That of an image without MT pulse tells none: its offset and angle are 0, or any.
    told = [
        value if on or isinstance(value, bool) else 0.0
        for value, on in zip(values, states, strict=True)
    ]
    return said is None or not any(states) or any(_is_same(said, value) for value in told)


def _is_same(said: object, value: float | bool | None) -> bool:
    if value is None or isinstance(value, bool):
        return value is None or state_of(said) is value
    try:
        return math.isclose(float(said), value, rel_tol=1e-6)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _cells(
    table: Table, column: str, about: Mapping[str, Any], keys: Sequence[str], n: int, where: str
) -> list[float | None]:
    if column not in table:
        single = [about[key] for key in keys if about.get(key) is not None]
        value = next((item for item in single if not isinstance(item, list)), None)
        return [None if value is None else _number(value, keys[0], 0, where)] * n
    return [_number(cell, column, row, where) for row, cell in enumerate(table[column], 1)]


def _number(cell: object, column: str, row: int, where: str) -> float | None:
    if isinstance(cell, str) and cell.strip().lower() in _MISSING:
        return None
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        place = f" in row {row}" if row else ""
        raise DataError(
            f"{where}: {column} is {cell!r}{place}; a finite number is needed{point(cell)}."
        )
    return value


def listed_table(about: Mapping[str, Any], name: str) -> Table | None:
    """A table from lists in the sidecar of an image of all volumes, or None.

    Raises
    ------
    DataError
        If lists differ in length.
    """
    columns = {"mt_flip_angle": ANGLES, "offset": OFFSETS, "mt_state": ("MTState",)}
    found: dict[str, list[str]] = {}
    for column, keys in columns.items():
        value = next((about[key] for key in keys if isinstance(about.get(key), list)), None)
        if value is not None:
            words = {True: "on", False: "off", None: "n/a"}
            found[column] = [
                words[cell] if cell is None or isinstance(cell, bool) else str(cell)
                for cell in value
            ]
    if len({len(cells) for cells in found.values()}) > 1:
        sizes = ", ".join(f"{column} {len(cells)}" for column, cells in found.items())
        raise DataError(f"the sidecar of {name} holds lists of different lengths: {sizes}.")
    return found or None


def with_table(
    rows: Sequence[Row],
    found: Sequence[Measurement],
    table: Table,
    where: str,
    notes: list[str],
) -> list[Row]:
    """Rows of volumes, completed by a table whose columns ``flip`` and ``mt`` name the files.

    Raises
    ------
    DataError
        If the table contradicts the sidecars, lacks a file, or cannot be told to files.
    """
    if not set(LABELS) & table.keys():
        if all(not row.on or (row.angle is not None and row.offset is not None) for row in rows):
            notes.append(
                f"{where} has no columns flip and mt; the sidecars tell all, it is not used."
            )
            return list(rows)
        raise DataError(
            f"{where} cannot be told to files: add columns flip and mt with the labels of the "
            "file names, n/a where there is none."
        )
    own = rows_of({key: cells for key, cells in table.items() if key not in LABELS}, {}, where)
    labels = [table.get(key, ["n/a"] * len(own)) for key in LABELS]
    named = {
        tuple("" if cell.strip().lower() in _MISSING else cell.strip() for cell in pair): row
        for pair, row in zip(zip(*labels, strict=True), own, strict=True)
    }
    completed = []
    for row, item in zip(rows, found, strict=True):
        told = named.get(item.labels)
        if told is None:
            raise DataError(f"{where} has no row for {row.file}.")
        for word, first, second in (
            ("mt_flip_angle", row.angle, told.angle), ("offset", row.offset, told.offset),
        ):  # fmt: skip
            if first is not None and second is not None and first != second:
                raise DataError(
                    f"{row.file}: {word} is {first:g} in its sidecar, {second:g} in {where}; "
                    "correct one of them."
                )
        known = row.angle is not None or row.offset is not None
        if row.on != told.on and (known or not row.on):
            raise DataError(
                f"{row.file}: there is {'an' if row.on else 'no'} MT pulse by its sidecar or "
                f"name, but mt_state is {'on' if told.on else 'off'} in {where}; correct one."
            )
        completed.append(
            Row(
                row.file,
                told.on,
                told.angle if row.angle is None else row.angle,
                told.offset if row.offset is None else row.offset,
            )
        )
    return completed
