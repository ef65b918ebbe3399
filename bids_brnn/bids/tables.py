"""Tab-separated tables: read as text or numbers, written in one step, ``n/a`` for missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import check_content, unreadable
from bids_brnn.errors import DataError
from bids_brnn.files import decoded, write_text

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 256 * 2**20


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
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column name repeats.")
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return {name.strip(): list(cells) for name, cells in zip(header, columns, strict=True)}


def read_numbers(path: Path) -> NDArray[np.float64]:
    """A table of numbers, shape (rows, columns), such as a subspace basis.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    DataError
        If a cell is not a finite number.
    """
    table = _read(path)
    try:
        values = table.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path.name} holds cells that are not numbers: {error}.") from error
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        row, column = bad[0]
        raise DataError(
            f"{path.name}: row {row + 1}, column {table.columns[column]} is not a finite number."
        )
    return values


def read_table(path: Path) -> pd.DataFrame:
    """A table with numbers as numbers and ``n/a`` as missing; for region statistics."""
    return _read(path, na_values=["n/a"])


def _read(path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(io.StringIO(_text(path)), sep="\t", **options)
    except ValueError as error:  # also ParserError, EmptyDataError
        raise DataError(f"{path} is not a tab-separated table: {error}.") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"{path} is larger than {MAX_TABLE_BYTES >> 20} MB; is it a table?")
        content = path.read_bytes()
        check_content(path, content)
        return decoded(content)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{path} is not a tab-separated table: {error}.") from error


def write_table(path: Path, table: pd.DataFrame, *, float_format: str = "%.9g") -> Path:
    """Write a table atomically; missing values become ``n/a``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    stream = io.StringIO()
    table.to_csv(
        stream, sep="\t", index=False, na_rep="n/a", float_format=float_format, lineterminator="\n"
    )
    write_text(path, stream.getvalue())
    return path
