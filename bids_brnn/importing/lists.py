"""Lists and tables of numbers in text files."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import check_content, unreadable
from bids_brnn.bids.tables import MAX_TABLE_BYTES
from bids_brnn.errors import DataError
from bids_brnn.files import decoded
from bids_brnn.system.kinds import cell_number, shown
from bids_brnn.system.reading import read_bounded

_MOST = 2_000_000
_BETWEEN = re.compile(r"[\s,;]+")


def read_numbers(path: Path) -> NDArray[np.float64]:
    """Numbers ``(rows, columns)``, separated by white space, commas or semicolons.

    Lines that begin with ``#`` or ``%`` are remarks, and so is a first line of words.

    Raises
    ------
    ReadError
        If the file cannot be read.
    DataError
        If a cell is no finite number, or rows differ in length.
    """
    try:
        content = read_bounded(path, MAX_TABLE_BYTES)
        check_content(path, content)
        lines = [line.strip() for line in decoded(content).splitlines()]
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{path.name} is no table of numbers: {error}") from error
    kept = [(number, line) for number, line in enumerate(lines, 1) if line and line[0] not in "#%"]
    rows: list[list[float]] = []
    for number, line in kept:
        cells = [cell for cell in _BETWEEN.split(line) if cell]
        values = [cell_number(cell) for cell in cells]
        if number == kept[0][0] and all(map(math.isnan, values)):
            continue
        bad = [cell for cell, value in zip(cells, values, strict=True) if not math.isfinite(value)]
        if bad:
            raise DataError(
                f"{path.name}: line {number} holds {shown(bad[0])}, which is not a finite number"
            )
        rows.append(values)
        if len(values) != len(rows[0]):
            raise DataError(
                f"{path.name}: line {number} has {len(values)} numbers, the first {len(rows[0])}"
            )
        if len(rows) * len(values) > _MOST:
            raise DataError(f"{path.name} has more than {_MOST} numbers")
    if not rows:
        raise DataError(f"{path.name} holds no numbers")
    return np.array(rows)
