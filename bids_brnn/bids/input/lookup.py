"""Names of the regions of a label image, from the table beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import DataError
from bids_brnn.system.kinds import abridged, cell_number

_INSTEAD = ("label", "region", "abbreviation")
"""Columns that hold the names where there is no ``name``, as some atlases have it."""
_MISSING = ("", "n/a")
_SHOWN = 5
_LARGEST_INDEX = 2**53


@dataclass(frozen=True)
class Lookup:
    """What a table tells of the numbers in a label image."""

    names: Mapping[int, str] = field(default_factory=dict)
    """Names by label; labels without one are called by their number."""
    others: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Further columns by their name: cells by label."""
    notes: tuple[str, ...] = ()
    """What could not be used as it stands."""

    def text(self, labels: Sequence[int] = ()) -> str:
        """A ``dseg.tsv`` of the table, with rows for ``labels`` that it lacks."""
        rows = ["\t".join(["index", "name", *self.others])]
        for index in [*self.names, *(one for one in labels if one not in self.names)]:
            cells = [column.get(index, "n/a") for column in self.others.values()]
            rows.append("\t".join([str(index), self.names.get(index, str(index)), *cells]))
        return "\n".join(rows) + "\n"


def read_lookup(path: Path) -> Lookup:
    """Read the table of a label image; what it does not tell is noted, and numbers are names.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    DataError
        If it is no table, an index is no whole number, or one index has two names.
    """
    columns = read_columns(path, may_be_empty=True)
    spelt = {name.lower(): name for name in columns}
    if "index" not in spelt:
        has = f"its columns are {', '.join(columns)}" if columns else "it is empty"
        note = f"has no column index ({has}): regions are called by their numbers"
        return Lookup(notes=(f"{path} {note}.",))
    numbers = [_whole(cell, path, row) for row, cell in enumerate(columns[spelt["index"]], 1)]
    source = _name_column(columns, spelt)
    names = _names(path, numbers, columns[source]) if source else {}
    used = {spelt["index"], source}
    return Lookup(
        {index: names.get(index, str(index)) for index in numbers if index is not None},
        {name: _by(numbers, cells) for name, cells in columns.items() if name not in used},
        tuple(_remarks(path, columns, numbers, source, names)),
    )


def _names(path: Path, numbers: Sequence[int | None], cells: Sequence[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, cell in zip(numbers, cells, strict=True):
        name = cell.strip()
        if index is None or name.lower() in _MISSING:
            continue
        if names.setdefault(index, name) != name:
            raise DataError(
                f'{path}: index {index} has two names, "{names[index]}" and "{name}"; '
                "each region needs a number of its own."
            )
    return names


def _remarks(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    numbers: Sequence[int | None],
    source: str | None,
    names: Mapping[int, str],
) -> Iterator[str]:
    if None in numbers:
        yield f"{path}: {numbers.count(None)} rows have no index and are left aside."
    if source is None:
        has = f"its columns are {', '.join(columns)}"
        yield f"{path} has no column name ({has}): regions are called by their numbers."
        return
    if source.lower() != "name":
        yield f"{path} has no column name: the names are those of its column {source}."
    if nameless := {index for index in numbers if index is not None} - set(names):
        yield f"{path}: {_listed(nameless)} without a name: called by the numbers."


def _by(numbers: Sequence[int | None], cells: Sequence[str]) -> dict[int, str]:
    pairs = zip(numbers, cells, strict=True)
    return {index: cell for index, cell in pairs if index is not None}


def missing_names(lookup: Lookup, path: Path, labels: Sequence[int]) -> list[str]:
    """What to note of a table beside the ``labels`` that its image holds."""
    absent = [label for label in labels if label not in lookup.names]
    if not lookup.names or not absent:
        return []
    if len(absent) == len(labels):
        return [f"{path} names no label of its image ({_listed(absent)}); is it another's table?"]
    return [f"{path} does not name {_listed(absent)} of its image: called by the numbers."]


def _name_column(columns: Mapping[str, Sequence[str]], spelt: Mapping[str, str]) -> str | None:
    if "name" in spelt:
        return spelt["name"]
    for name in _INSTEAD:
        if name in spelt and not all(map(_is_number, columns[spelt[name]])):
            return spelt[name]
    return None


def _whole(cell: str, path: Path, row: int) -> int | None:
    """The index of a row; None where there is none."""
    text = cell.strip()
    if text.lower() in _MISSING:
        return None
    number = cell_number(text)
    if not (number.is_integer() and abs(number) <= _LARGEST_INDEX):
        raise DataError(f'{path}: index must be a whole number, row {row} has "{abridged(text)}".')
    return int(number)


def _is_number(text: str) -> bool:
    return math.isfinite(cell_number(text))


def _listed(labels: Sequence[int] | set[int]) -> str:
    some = sorted(labels)
    words = ", ".join(map(str, some[:_SHOWN])) + (", ..." if len(some) > _SHOWN else "")
    return f"label {words}" if len(some) == 1 else f"{len(some)} labels ({words})"
