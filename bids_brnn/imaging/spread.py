"""What only conventional qMT asks of maps: their standard deviation, and B0 beside the offsets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, read_grid, same_grid
from bids_brnn.bids.volumes import read_volume
from bids_brnn.errors import DataError
from bids_brnn.imaging.fields import Scale, declared_scale, inverted, supply
from bids_brnn.parameters import FieldMap

_LEAST_SHIFT = 0.5
"""Hz: median of |B0| that a head exceeds at any field strength of qMT; ppm and kHz stay below."""
_EDGE = 0.99  # quantile of |B0|: single voxels at air are off by more


def supply_spread(
    field: FieldMap,
    measured: tuple[Grid, Scale],
    spread: tuple[Path, Mapping[str, Any]],
    target: Grid,
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Standard deviation of a supplied map on the grid of a series.

    Linear interpolation of standard deviations takes neighbours to err alike, as smooth errors
    of B1 in a T1 map do; it is never too small. That of a T1 map becomes that of R1 by
    ``sigma(R1) = sigma(T1) R1^2`` before anything is interpolated.

    Parameters
    ----------
    field
        What the map supplies.
    measured
        The map, and how its values are scaled.
    spread
        The map of its standard deviation and what its sidecar says.
    target, mask
        Grid of the series; ``(X, Y, Z)``.

    Returns
    -------
    ndarray
        ``(X, Y, Z)`` in the unit of the model; NaN where there is none.

    Raises
    ------
    DataError
        If it lies on another grid than the map, or its unit is unknown.
    """
    source, scale = measured
    path, sidecar = spread
    grid = read_grid(path)
    if not same_grid(grid, source):
        raise DataError(
            f"{path.name} is to be the standard deviation of {source.path.name}, but lies on "
            "another grid; write both on one, or remove it."
        )
    own = declared_scale(field, sidecar, path.name)
    if own.unit.inverse:
        rate = scale.factor * inverted(np.asarray(read_volume(source), dtype=np.float64))

        def convert(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values / own.factor * rate**2
    else:

        def convert(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values * own.factor

    return supply(field, grid, target, mask, convert).values.astype(np.float32)


def check_shift(
    w0: NDArray[np.floating[Any]], scale: Scale, offsets: Sequence[float], file: str
) -> None:
    """Refuse a B0 map that, beside the offsets of MT pulses, cannot be in the unit it declares.

    Where all pulses lie on one side of water, an error of B0 shifts them all, and nothing in the
    data tells; so the declaration is looked at more closely.

    Parameters
    ----------
    w0
        Inside the mask, rad/s.
    scale
        How the map was read.
    offsets
        Of the MT pulses, Hz.
    file
        Of the map.

    Raises
    ------
    DataError
        Naming both, if the field is smaller than that of any head, or, with offsets of one sign,
        reaches the smallest of them.
    """
    shift = np.abs(w0[np.isfinite(w0) & (w0 != 0)]) / (2 * math.pi)
    on = [offset for offset in offsets if offset != 0]
    if not shift.size or not on:
        return
    median, edge = float(np.median(shift)), float(np.quantile(shift, _EDGE))
    cure = "correct Units in its sidecar, or leave it out with --ignore b0map"
    if median < _LEAST_SHIFT:
        raise DataError(
            f'{file}: Units is "{scale.words}", which makes the median of |B0| {median:.3g} Hz, '
            f"less than in any head; is it in ppm or kHz? If so, {cure}."
        )
    one_sided = min(on) > 0 or max(on) < 0
    least = min(map(abs, on))
    if one_sided and edge > least:
        raise DataError(
            f'{file}: Units is "{scale.words}", which makes |B0| reach {edge:.4g} Hz, beyond the '
            f"smallest offset of the MT pulses, {least:g} Hz, all of one sign; {cure}."
        )
