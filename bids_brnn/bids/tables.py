"""Tab-separated tables: read as text or numbers, written in one step, ``n/a`` for missing."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import check_content, unreadable
from bids_brnn.errors import DataError
from bids_brnn.files import decoded, write_bytes, write_text
from bids_brnn.system.kinds import cell_number, is_text, point, shown
from bids_brnn.system.reading import read_bounded

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 64 * 2**20
_MISSING = ("n/a", "")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MOST_CELLS = 8_000_000  # a basis of 200,000 rows and 40 columns; 1 GB as text


def read_columns(path: Path, *, may_be_empty: bool = False) -> dict[str, list[str]]:
    """All columns of a table as text; none of an empty file, if that ``may_be_empty``.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    DataError
        If it is no table.
    """
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if not lines and may_be_empty:
        return {}
    if not lines:
        raise DataError(f"{path} is an empty table.")
    header, *rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, the header has {len(header)}."
            )
    header = [name.strip() for name in header]
    if not may_be_empty:  # else it is a table of others, whose reader makes the best of it
        _check_header(path, header)
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column name repeats.")
    if not all(map(is_text, header)):
        raise DataError(f"{path}: the header holds control characters or a name of 1024 letters.")
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return {name: list(cells) for name, cells in zip(header, columns, strict=True)}


def _check_header(path: Path, header: list[str]) -> None:
    """Refuse what is told apart by something else than tabs, as it would be one odd column."""
    only = header[0]
    mark = next((mark for mark in (";", ",", " ") if mark in only), "")
    if len(header) == 1 and mark:
        told = {";": "semicolons", ",": "commas", " ": "spaces"}[mark]
        raise DataError(
            f"{path}: its columns are told apart by {told}, not by tabs; save it as "
            "tab-separated text."
        )
    if "" in header:
        place = header.index("") + 1
        raise DataError(
            f"{path}: column {place} of the header has no name; remove the column, or the tab "
            "that makes it (at the end of each line, perhaps)."
        )
    if any(name[0] in "\"'" for name in header):
        raise DataError(f"{path}: names stand in quotation marks ({only}); save it without them.")


def read_numbers(path: Path) -> NDArray[np.float64]:
    """A table of numbers, shape (rows, columns); errors as of :func:`read_matrix`."""
    return read_matrix(path)[1]


def read_matrix(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the columns and numbers (rows, columns) of a table, such as a subspace basis.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    DataError
        If a cell is not a finite number.
    """
    columns = read_columns(path)
    values = np.empty((len(next(iter(columns.values()))), len(columns)))
    for place, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            values[row, place] = number = cell_number(cell)
            if not math.isfinite(number):
                raise DataError(
                    f"{path.name}: row {row + 1}, column {name} holds {shown(cell)}, which is not "
                    f"a finite number{point(cell)}."
                )
    if not values.size:
        raise DataError(f"{path} has a header and no rows.")
    return list(columns), values


def read_table(path: Path) -> pd.DataFrame:
    """A table with numbers as numbers and ``n/a`` as missing; for many region tables.

    Nothing else is missing: a region may be called ``NA`` or ``None``.
    """
    return _read(path, na_values=list(_MISSING), keep_default_na=False)


def read_records(path: Path) -> list[dict[str, object]]:
    """Rows of a table without the cells that hold nothing, as :func:`write_records` leaves it.

    A column of numbers holds numbers, any other one text. Needs no pandas, which takes a third of
    a second to load.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    DataError
        If a row has more or fewer cells than the header.
    """
    try:
        lines = csv.reader(io.StringIO(_text(path)), delimiter="\t", strict=True)
        header, *rows = (cells for cells in lines if cells)
        columns = [_column(cells) for cells in zip(*rows, strict=True)] if rows else []
        named = list(zip(header, columns, strict=True)) if rows else []
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a tab-separated table: {error}.") from error
    return [
        {name: cells[row] for name, cells in named if cells[row] is not None}
        for row in range(len(rows))
    ]


def _column(cells: Sequence[str]) -> list[object]:
    told = [cell for cell in cells if cell not in _MISSING]
    kind: Callable[[str], object] = str
    if all(_WHOLE.fullmatch(cell) for cell in told):
        kind = int
    elif all(math.isfinite(cell_number(cell)) for cell in told):
        kind = float
    return [None if cell in _MISSING else kind(cell) for cell in cells]


def _read(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(io.StringIO(_text(path)), sep="\t", **options)
    except (ValueError, OverflowError) as error:  # also ParserError, EmptyDataError
        raise DataError(f"{path} is not a tab-separated table: {error}.") from error


def _text(path: Path) -> str:
    try:
        content = read_bounded(path, MAX_TABLE_BYTES)
        check_content(path, content)
        cells = content.count(b"\t") + content.count(b"\n")
        if cells > _MOST_CELLS:
            raise ValueError(f"it has {cells} cells, more than {_MOST_CELLS}")
        return decoded(content)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{path} is not a tab-separated table: {error}.") from error


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table atomically; missing values become ``n/a``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    stream = io.StringIO()
    table.to_csv(
        stream, sep="\t", index=False, na_rep="n/a", float_format="%.9g", lineterminator="\n"
    )
    write_text(path, stream.getvalue())
    return path


def write_records(
    path: Path, records: Iterable[Mapping[str, object]], columns: Iterable[str]
) -> Path:
    """Write rows atomically, the same bytes as :func:`write_table` with six digits.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    names = list(columns)
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(record.get(name)) for name in names] for record in records)
    write_text(path, stream.getvalue())
    return path


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING[0]
    return f"{value:.6g}" if isinstance(value, float) else value


def write_parquet(path: Path, table: pd.DataFrame) -> bool:
    """Write a table as Parquet (Zstandard) atomically; False where pyarrow is not installed.

    The same columns as :func:`write_table`, with numbers in full; missing values are null, and
    numbers that stand among texts (names of regions without a lookup table) are texts.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if find_spec("pyarrow") is None:
        return False
    from pandas.api.types import infer_dtype

    mixed = [name for name in table if infer_dtype(table[name]) in ("mixed", "mixed-integer")]
    table = table.copy()
    for name in mixed:
        table[name] = table[name].map(str, na_action="ignore")
    stream = io.BytesIO()
    table.to_parquet(stream, engine="pyarrow", compression="zstd", index=False)
    write_bytes(path, stream.getvalue())
    return True
