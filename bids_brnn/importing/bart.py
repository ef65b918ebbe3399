"""Arrays of BART: a text header (``.hdr``) with dimensions, complex single precision (``.cfl``).

https://bart-doc.readthedocs.io/en/latest/data.html: column-major, little-endian; axes 0 to 2 are
space, 3 receive channels, 4 sensitivity maps, 5 echo or contrast, 6 coefficients, 10 time and 13
slices.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import unreadable
from bids_brnn.errors import DataError, ReadError
from bids_brnn.system.kinds import abridged
from bids_brnn.system.memory import memory_limit
from bids_brnn.system.reading import open_regular, read_text

AXES = (
    "readout", "phase encoding 1", "phase encoding 2", "receive channels", "sensitivity maps",
    "contrast", "coefficients", "second coefficients", "iterations", "chemical shift", "time",
    "second time", "levels", "slices", "averages", "batches",
)  # fmt: skip
"""What each axis of an array is."""
CONTRAST, COEFFICIENTS, TIME, SLICES = 5, 6, 10, 13
_BYTES = 8  # of a complex number
_LARGEST = 2**31


def read_cfl(path: Path) -> NDArray[np.complex64]:
    """An array with all 16 axes, Fortran order.

    Parameters
    ----------
    path
        With the ending ``.cfl`` or ``.hdr``, or with none.

    Raises
    ------
    ReadError
        If a file is missing or has another size than the header says.
    DataError
        If the header has no dimensions.
    """
    stem = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    header, data = (stem.with_name(stem.name + ending) for ending in (".hdr", ".cfl"))
    shape = _dimensions(header)
    needed = math.prod(shape) * _BYTES
    limit, words = memory_limit()
    if needed > limit:
        raise DataError(f"{header.name} says {needed / 1e9:.1f} GB, more than {words}")
    try:
        with open_regular(data) as stream:
            size = os.fstat(stream.fileno()).st_size
            content = stream.read(needed) if size == needed else b""  # no memory for a claim
    except OSError as error:
        raise unreadable(data, error) from error
    if len(content) != needed:
        compared = "more" if size > needed else "fewer"
        raise ReadError(
            f"{data.name} has {compared} bytes than the {needed} of its header "
            f"({'x'.join(map(str, _short(shape)))} complex numbers); copy both files again"
        )
    return np.frombuffer(content, "<c8").reshape(shape, order="F")


def _dimensions(header: Path) -> tuple[int, ...]:
    try:
        lines = read_text(header).splitlines()
    except OSError as error:
        raise unreadable(header, error) from error
    except ValueError as error:
        raise ReadError(f"{header.name} is no header of BART: {error}") from error
    marks = [place for place, line in enumerate(lines) if line.strip() == "# Dimensions"]
    cells = lines[marks[0] + 1].split() if marks and marks[0] + 1 < len(lines) else []
    if not 1 <= len(cells) <= len(AXES) or not all(
        cell.isascii() and cell.isdigit() and 0 < int(cell[:12]) < _LARGEST for cell in cells
    ):
        shown = abridged(" ".join(cells)) or "nothing"
        raise DataError(
            f"{header.name}: below the line '# Dimensions' stand up to 16 whole numbers above 0; "
            f"there is {shown}"
        )
    return (*map(int, cells), *[1] * (len(AXES) - len(cells)))


def _short(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without ones at the end."""
    last = max([place for place, size in enumerate(shape) if size > 1], default=0)
    return shape[: last + 1]


def images_of(values: NDArray[Any], name: str) -> tuple[NDArray[Any], bool]:
    """Images ``(X, Y, Z, N)`` of an array with all axes, and whether they are coefficients.

    Raises
    ------
    DataError
        If other axes than space, slices and one of coefficients, contrast and time are used.
    """
    shape = values.shape
    across = [axis for axis in (COEFFICIENTS, CONTRAST, TIME) if shape[axis] > 1]
    if len(across) != 1:
        raise DataError(
            f"{name} is {_words(shape)}; of coefficients (axis 6), contrast (axis 5) and time "
            "(axis 10) just one may have more than one entry"
        )
    depth = SLICES if shape[2] == 1 else 2
    used = {0, 1, depth, across[0]}
    other = [axis for axis, size in enumerate(shape) if size > 1 and axis not in used]
    if other:
        raise DataError(
            f"{name} has {shape[other[0]]} {AXES[other[0]]} (axis {other[0]}), where one is "
            "needed; combine or choose them first (bart rss, bart slice)"
        )
    order = [0, 1, depth, across[0]]
    rest = [axis for axis in range(len(shape)) if axis not in order]
    found = values.transpose(*order, *rest).reshape(*(shape[axis] for axis in order))
    return found, across[0] == COEFFICIENTS


def basis_of(values: NDArray[Any], name: str) -> NDArray[Any]:
    """A basis ``(samples, coefficients)``: axes 5 and 6 of an array, all others of length 1.

    Raises
    ------
    DataError
        If it has other axes.
    """
    shape = values.shape
    if any(size > 1 for axis, size in enumerate(shape) if axis not in (CONTRAST, COEFFICIENTS)):
        raise DataError(
            f"{name} is {_words(shape)}; a basis has samples along axis 5 and coefficients along "
            "axis 6"
        )
    return values.reshape(shape[CONTRAST], shape[COEFFICIENTS])


def _words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, _short(shape)))
