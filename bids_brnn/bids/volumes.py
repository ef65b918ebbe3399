"""Images beside a series: one reader for maps, masks, labels and anatomy, always real and 3D."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, Volume, read_array, read_grid, same_grid
from bids_brnn.errors import DataError
from bids_brnn.voxels import times

_OVERSHOOT = 0.1
"""By how much interpolation with splines leaves the interval from 0 to 1 at edges."""
_MOST_SHOWN = 5


def check_volume(grid: Grid) -> None:
    """Refuse an image that is not one real volume, from its header alone.

    Raises
    ------
    DataError
        If it has several volumes, or complex voxels.
    """
    volumes = math.prod(grid.shape[3:])
    if volumes != 1:
        raise DataError(
            f"{grid.path.name} has {volumes} volumes ({times(grid.shape)}); one is needed: save "
            "the right one alone."
        )
    if grid.is_complex:
        raise DataError(
            f"{grid.path.name} holds complex voxels; a real image is needed, for example its "
            "magnitude."
        )


def read_volume(grid: Grid) -> NDArray[Any]:
    """Voxels of a real 3D image, ``(X, Y, Z)``; axes of length 1 behind these are dropped.

    Raises
    ------
    DataError
        See :func:`check_volume`.
    ReadError
        If the file is damaged.
    """
    check_volume(grid)
    return read_array(grid).reshape(grid.space)


def read_map(path: Path, like: Grid | Volume) -> NDArray[np.float64]:
    """A real 3D image on the grid of a series, shape (X, Y, Z).

    Raises
    ------
    DataError
        If it lies on another grid or has several volumes.
    """
    return np.asarray(_on_grid(path, like), dtype=np.float64)


def _on_grid(path: Path, like: Grid | Volume) -> NDArray[Any]:
    grid = read_grid(path)
    check_volume(grid)
    target = grid_like(path, like)
    if not same_grid(grid, target):
        raise DataError(
            f"{path.name} ({times(grid.space)}) does not lie on the grid of the series "
            f"({times(target.space)}); resample it to the series first."
        )
    return read_volume(grid)


def grid_like(path: Path, like: Grid | Volume) -> Grid:
    """The grid of a series that was read; ``path`` is for messages."""
    if isinstance(like, Grid):
        return like
    return Grid(path, like.data.shape, like.affine, like.data.dtype, like.header)


def read_mask(path: Path, like: Grid | Volume) -> NDArray[np.bool_]:
    """A mask on the grid of a series, see :func:`as_mask`.

    Raises
    ------
    DataError
        If it lies on another grid, selects nothing, or holds other values than a mask.
    """
    mask = as_mask(_on_grid(path, like), path.name)
    if not mask.any():
        raise DataError(f"{path.name} selects no voxel.")
    return mask


def as_mask(values: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """What values of a mask select: the one rule for all masks.

    Fractions from 0 to 1 count from one half on; of 0 and one other number that number counts.
    What is not finite is outside.

    Parameters
    ----------
    values
        Of any shape.
    name
        Of the file, for messages.

    Raises
    ------
    DataError
        If the values are neither.
    """
    finite = values if values.dtype.kind in "biu" else np.where(np.isfinite(values), values, 0)
    low, high = finite.min(initial=0), finite.max(initial=0)
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return np.asarray(finite >= 0.5, dtype=bool)
    found = np.unique(finite)
    if low >= 0 and np.count_nonzero(found) == 1:
        return np.asarray(finite > 0, dtype=bool)
    listed = ", ".join(f"{value:g}" for value in found[:_MOST_SHOWN])
    words = f"{listed} ..., {found[-1]:g}" if len(found) > _MOST_SHOWN else listed
    raise DataError(
        f"{name} is no mask, it holds {words}; a mask holds 0 and 1, or fractions from 0 to 1. Of "
        "labels or other values make one first."
    )
