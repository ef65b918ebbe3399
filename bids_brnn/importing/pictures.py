"""Images of NIfTI, ``.mat`` and BART files, and where they lie.

Only NIfTI says voxel size and orientation. For the others both are said by the user, or taken
from a NIfTI image on the same grid; nothing is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import IMAGE_EXTENSIONS
from bids_brnn.bids.images import read_array, read_grid
from bids_brnn.bids.volumes import check_volume, read_volume
from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing.bart import images_of, read_cfl
from bids_brnn.importing.matlab import listed, open_mat
from bids_brnn.voxels import times

READABLE = (*IMAGE_EXTENSIONS, ".mat", ".cfl", ".hdr")
"""Endings of files that hold images."""
UNKNOWN = "unknown"
"""Of ``--orientation``: nobody knows, and the header says so."""
_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_VOXEL = (0.01, 100.0)  # mm


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, and where it lies if its file says so."""

    values: NDArray[Any]
    """``(X, Y, Z, N)`` of a series, ``(X, Y, Z)`` of a map."""
    name: str
    """Of the file, for messages."""
    affine: NDArray[np.float64] | None = None
    has_position: bool = False


@dataclass(frozen=True, eq=False)
class Place:
    """Position of a grid."""

    affine: NDArray[np.float64]
    is_known: bool
    """Whether headers may say that this is where the image lies."""


@dataclass(frozen=True)
class Geometry:
    """What the user says of arrays whose files say nothing."""

    voxel_size: Sequence[float] | None = None
    """mm."""
    orientation: str | None = None
    """Whither each axis points, such as ``LPS``."""
    like: Path | None = None
    """NIfTI image on the same grid."""

    @property
    def words(self) -> list[str]:
        """Options that are given."""
        given = {
            "--voxel-size": self.voxel_size, "--orientation": self.orientation,
            "--like": self.like,
        }  # fmt: skip
        return [name for name, value in given.items() if value is not None]


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI image."""
    return path.name.lower().endswith(IMAGE_EXTENSIONS)


def read_series(path: Path, names: Sequence[str] = ()) -> tuple[Picture, bool | None]:
    """Images ``(X, Y, Z, N)``; and whether a BART file says that they are coefficients.

    Parameters
    ----------
    path
        Ends as one of :data:`READABLE`.
    names
        Of the variable of a ``.mat`` file; else there must be one array of numbers only.

    Raises
    ------
    ReadError, DataError
        If it cannot be read or is no series.
    UsageError
        If the ending is unknown.
    """
    if is_nifti(path):
        grid = read_grid(path)
        extra = grid.shape[3:]
        if sum(size > 1 for size in extra) > 1:
            raise DataError(f"{path.name} is {times(grid.shape)}; four axes are needed")
        values = read_array(grid).reshape(*grid.space, math.prod(extra))
        return Picture(values, path.name, grid.affine, grid.has_position), None
    if path.suffix in (".cfl", ".hdr"):
        values, is_coefficients = images_of(read_cfl(path), path.name)
        return Picture(values, path.name), is_coefficients
    values = _of_mat(path, names)
    if values.ndim == 3:
        values = values[:, :, None]
    if values.ndim != 4:
        raise DataError(
            f"{path.name}: the array is {times(values.shape)}; the axes x, y, z, volume are "
            "needed, or x, y, volume of one slice"
        )
    return Picture(values, path.name), None


def read_map(path: Path, names: Sequence[str] = ()) -> Picture:
    """A real image ``(X, Y, Z)``; parameters and errors as of :func:`read_series`."""
    if is_nifti(path):
        grid = read_grid(path)
        check_volume(grid)
        return Picture(read_volume(grid), path.name, grid.affine, grid.has_position)
    if path.suffix in (".cfl", ".hdr"):
        values: NDArray[Any] = read_cfl(path)
        if any(size > 1 for size in values.shape[3:]):
            raise DataError(f"{path.name} is no map: it has more axes than three")
        values = values.reshape(values.shape[:3])
        if np.any(values.imag != 0):
            raise DataError(f"{path.name} holds complex numbers; a map is real")
        return Picture(values.real, path.name)
    values = _of_mat(path, names)
    if np.iscomplexobj(values):
        raise DataError(f"{path.name} holds complex numbers; a map is real")
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise DataError(f"{path.name}: the array is {times(values.shape)}; a map has three axes")
    return Picture(values, path.name)


def _of_mat(path: Path, names: Sequence[str]) -> NDArray[Any]:
    if path.suffix != ".mat":
        raise UsageError(
            f"{path.name}: images are read from files that end in {', '.join(READABLE)}"
        )
    values = read_variable(path, names)
    if not values.size:
        raise DataError(f"{path.name}: the array is {times(values.shape)}, it holds no voxel")
    return values


def read_variable(path: Path, names: Sequence[str] = ()) -> NDArray[Any]:
    """An array of numbers of a ``.mat`` file: the first that is called so, else the only one.

    Raises
    ------
    DataError
        If there is none, or several and none is called so.
    """
    file = open_mat(path)
    lower = [name.lower() for name in names]
    found = sorted(
        (name for name in file.names if name.lower() in lower),
        key=lambda name: lower.index(name.lower()),
    )
    for name in found[:1] or file.names:
        values = file[name]
        if isinstance(values, np.ndarray) and (found or len(file.names) == 1):
            return values
    asked = f"{' or '.join(names)} is" if names else "just one array is"
    raise DataError(f"{path.name} holds {listed(file.names)}; {asked} needed, an array of numbers")


def place_of(picture: Picture, geometry: Geometry, notes: list[str]) -> Place:
    """Where a series lies.

    Raises
    ------
    UsageError
        If nothing says it, or the header and options do.
    DataError
        If ``--like`` has another matrix.
    """
    space = picture.values.shape[:3]
    if picture.affine is not None:
        if geometry.words:
            raise UsageError(
                f"{picture.name} says where it lies in its header; leave out "
                f"{' and '.join(geometry.words)}"
            )
        return Place(picture.affine, picture.has_position)
    if geometry.like is not None:
        if len(geometry.words) > 1:
            raise UsageError(f"{' and '.join(geometry.words)}: give --like or the others")
        grid = read_grid(geometry.like)
        if grid.space != space:
            raise DataError(
                f"{picture.name} has the matrix {times(space)}, {geometry.like.name} "
                f"{times(grid.space)}; --like needs an image on the same grid"
            )
        return Place(grid.affine, grid.has_position)
    if geometry.voxel_size is None or geometry.orientation is None:
        missing = [
            name for name in ("--voxel-size", "--orientation") if name not in geometry.words
        ]
        raise UsageError(
            f"{picture.name} says neither voxel size nor orientation: give "
            f"{' and '.join(missing)} (mm along each axis; whither each axis points, such as RAS "
            f"or LPS, or {UNKNOWN}), or --like with a NIfTI image on the same grid"
        )
    return _stated(space, geometry, notes)


def _stated(space: tuple[int, ...], geometry: Geometry, notes: list[str]) -> Place:
    sizes = np.asarray(geometry.voxel_size, dtype=np.float64)
    if not ((sizes >= _VOXEL[0]) & (sizes <= _VOXEL[1])).all():
        shown = " ".join(f"{size:g}" for size in sizes)
        raise UsageError(f"--voxel-size {shown}: three sizes in mm are needed, 0.01 to 100")
    text = str(geometry.orientation)
    codes = "RAS" if text == UNKNOWN else text.upper()
    axes = [_AXES[letter][0] for letter in codes if letter in _AXES]
    if len(codes) != 3 or sorted(axes) != [0, 1, 2]:
        raise UsageError(
            f"--orientation {text}: three letters are needed, one of R L, one of A P and one of "
            f"S I, in the order of the axes (x grows to the right: R), or {UNKNOWN}"
        )
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, letter in enumerate(codes):
        row, sign = _AXES[letter]
        affine[row, column] = sign * sizes[column]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(space) - 1) / 2)
    if text == UNKNOWN:
        notes.append(
            "the orientation is unknown, and headers say so (codes 0): images of another grid, "
            "such as a T1w image, cannot be combined with the series"
        )
    else:
        notes.append("the position is unknown: the centre of the image is put at the origin")
    return Place(affine, text != UNKNOWN)
