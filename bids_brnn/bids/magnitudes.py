"""Magnitudes of a Z-spectrum from its files: repeats averaged, one value per measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import (
    Grid,
    Volume,
    count_invalid,
    read_array,
    read_grid,
    same_grid,
)
from bids_brnn.bids.input.acquisition import Measurements, Part
from bids_brnn.errors import DataError
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import times

_NOISE = 0.01
"""Of the largest value: negative values up to here are ringing of an interpolation."""
_FEW = 1e-3
"""Share of voxels that may be more negative than that."""


def read_magnitudes(volumes: Measurements, threads: int = 1) -> Volume:
    """Stack the measurements of a series; repeats are averaged.

    Parameters
    ----------
    volumes
        For each measurement the files by part of each repeat; one with a single item whose image
        has four axes is a series in one file.

    threads
        Files that are read at a time.

    Returns
    -------
    Volume
        ``(X, Y, Z, N)`` complex64 with zero imaginary part.

    Raises
    ------
    ReadError
        If a file is damaged.
    DataError
        If a magnitude is negative, or the volumes differ in matrix or affine.
    """
    first: Grid | None = None
    files = [parts for repeats in volumes for parts in repeats]
    within = threads if len(files) == 1 else 1
    found = in_threads(partial(_magnitude, threads=within), files, threads)
    columns = []
    for repeats in volumes:
        total: NDArray[Any] | None = None
        for grid, values in islice(found, len(repeats)):
            first = first or grid
            if not same_grid(grid, first):
                raise DataError(
                    f"{first.path.name} ({times(first.space)}) and {grid.path.name} "
                    f"({times(grid.space)}) do not lie on one grid; all volumes of a Z-spectrum "
                    "need one matrix and affine."
                )
            total = values if total is None else np.add(total, values, dtype=np.float64)
        assert total is not None, "a measurement has files"
        columns.append(_mean(total, len(repeats), within))
    assert first is not None, "a series has measurements"
    n = sum(column.shape[3] for column in columns)
    data = np.empty((*first.space, n), np.complex64, order="F")
    columns.reverse()
    done = 0
    while columns:  # each is given up as soon as it is part of the whole
        column = columns.pop()
        here = slice(done, done + column.shape[3])
        data[..., here] = column
        done = here.stop
    return Volume(data, first.affine, first.header.copy(), count_invalid(data, threads))


def _mean(total: NDArray[Any], repeats: int, threads: int) -> NDArray[np.float32]:
    """Mean ``(X, Y, Z, n)`` of a sum of repeats, in double precision and image by image."""
    mean: NDArray[np.float32] = np.empty(total.shape, dtype=np.float32, order="F")

    def divide(image: int) -> None:
        mean[..., image] = total[..., image].astype(np.float64) / repeats

    list(in_threads(divide, range(total.shape[3]), threads))
    return mean


def _magnitude(parts: Mapping[Part, Path], threads: int) -> tuple[Grid, NDArray[Any]]:
    """Magnitude ``(X, Y, Z, n)`` of one file, or of real and imaginary part."""
    grids = {part: read_grid(path) for part, path in parts.items()}
    arrays = {part: read_array(grid) for part, grid in grids.items()}
    grid = next(iter(grids.values()))
    if "mag" in arrays:
        grid, values = grids["mag"], arrays["mag"]
        _check_positive(values.reshape(*grid.space, -1), grid.path.name, threads)
    elif "complex" in arrays:
        values = np.abs(arrays["complex"]).astype(np.float64)
    else:
        values = np.hypot(arrays["real"], arrays["imag"]).astype(np.float64)
    return grid, values.reshape(*grid.space, -1)


def _check_positive(values: NDArray[Any], name: str, threads: int) -> None:
    def least_of(image: int) -> float:
        own = values[..., image]
        found = float(own.min())  # not a number if one of them is not
        return found if math.isfinite(found) else _least(own)

    if min(in_threads(least_of, range(values.shape[3]), threads)) >= 0:
        return
    finite = np.isfinite(values)
    least = _least(values)
    largest = max(float(values.max(initial=0.0, where=finite)), -least)
    negative = int((finite & (values < -_NOISE * largest)).sum())
    if negative > _FEW * int(finite.sum()):
        raise DataError(
            f"{name} holds {negative} negative values, down to {least:.4g}; "
            "magnitudes have none. Is it a real part, or is scl_inter in its header wrong?"
        )


def _least(values: NDArray[Any]) -> float:
    """Smallest finite value, 0 where there is none below."""
    return float(values.min(initial=0.0, where=np.isfinite(values)))
