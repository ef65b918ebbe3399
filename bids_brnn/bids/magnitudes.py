"""Magnitudes of a Z-spectrum from its files: repeats averaged, one value per measurement."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, Volume, read_array, read_grid, same_grid
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
    files = (parts for repeats in volumes for parts in repeats)
    found = in_threads(_magnitude, files, threads)
    columns = []
    for repeats in volumes:
        total: NDArray[np.float64] | None = None
        for grid, values in islice(found, len(repeats)):
            first = first or grid
            if not same_grid(grid, first):
                raise DataError(
                    f"{first.path.name} ({times(first.space)}) and {grid.path.name} "
                    f"({times(grid.space)}) do not lie on one grid; all volumes of a Z-spectrum "
                    "need one matrix and affine."
                )
            total = values if total is None else total + values
        assert total is not None, "a measurement has files"
        columns.append((total / len(repeats)).astype(np.float32))
    assert first is not None, "a series has measurements"
    n = sum(column.shape[3] for column in columns)
    data = np.empty((*first.space, n), np.complex64, order="F")
    finite = np.ones(first.space, dtype=bool)
    columns.reverse()
    done = 0
    while columns:  # each is given up as soon as it is part of the whole
        column = columns.pop()
        here = slice(done, done + column.shape[3])
        data[..., here] = column
        finite &= np.isfinite(column).all(axis=3)
        done = here.stop
    return Volume(data, first.affine, first.header.copy(), int(finite.size - finite.sum()))


def _magnitude(parts: Mapping[Part, Path]) -> tuple[Grid, NDArray[np.float64]]:
    """Magnitude ``(X, Y, Z, n)`` of one file, or of real and imaginary part."""
    grids = {part: read_grid(path) for part, path in parts.items()}
    arrays = {part: read_array(grid) for part, grid in grids.items()}
    grid = next(iter(grids.values()))
    if "mag" in arrays:
        grid, values = grids["mag"], np.asarray(arrays["mag"], dtype=np.float64)
        _check_positive(values, grid.path.name)
    elif "complex" in arrays:
        values = np.abs(arrays["complex"]).astype(np.float64)
    else:
        values = np.hypot(arrays["real"], arrays["imag"]).astype(np.float64)
    return grid, values.reshape(*grid.space, -1)


def _check_positive(values: NDArray[np.float64], name: str) -> None:
    finite = np.isfinite(values)
    least = float(values.min(initial=0.0, where=finite))
    if least >= 0:
        return
    largest = max(float(values.max(initial=0.0, where=finite)), -least)
    negative = int((finite & (values < -_NOISE * largest)).sum())
    if negative > _FEW * int(finite.sum()):
        raise DataError(
            f"{name} holds {negative} negative values, down to {least:.4g}; "
            "magnitudes have none. Is it a real part, or is scl_inter in its header wrong?"
        )
