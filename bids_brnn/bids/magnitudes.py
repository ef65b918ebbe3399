"""Magnitudes of a Z-spectrum from its files: repeats averaged, one value per measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, Volume, read_array, read_grid, same_grid, times
from bids_brnn.bids.input.acquisition import Measurements, Part
from bids_brnn.errors import DataError

_NOISE = 0.01
"""Of the largest value: negative values up to here are ringing of an interpolation."""
_FEW = 1e-3
"""Share of voxels that may be more negative than that."""


def read_magnitudes(volumes: Measurements) -> Volume:
    """Stack the measurements of a series; repeats are averaged.

    Parameters
    ----------
    volumes
        For each measurement the files by part of each repeat; one with a single item whose image
        has four axes is a series in one file.

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
    columns = []
    for repeats in volumes:
        total: NDArray[np.float64] | None = None
        for parts in repeats:
            grid, values = _magnitude(parts)
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
    data = np.concatenate(columns, axis=3).astype(np.complex64)
    invalid = int((~np.isfinite(data).all(axis=3)).sum())
    return Volume(data, first.affine, first.header.copy(), invalid)


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
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    negative = int((finite < -_NOISE * largest).sum())
    if negative > _FEW * finite.size:
        raise DataError(
            f"{name} holds {negative} negative values, down to {float(finite.min()):.4g}; "
            "magnitudes have none. Is it a real part, or is scl_inter in its header wrong?"
        )
