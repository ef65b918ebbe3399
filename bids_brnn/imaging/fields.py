"""Maps that supply a parameter: units as declared, and values where none were measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.images import Grid, same_grid
from bids_brnn.bids.volumes import read_volume
from bids_brnn.errors import DataError
from bids_brnn.imaging.resampling import resample
from bids_brnn.parameters import FieldMap, MapUnit

REACH = 10.0
"""mm beyond the edge of the nearest voxel with a value, to which a map is continued."""
_NEIGHBOURS = 32  # half a ball of 2.5 voxels
_TOGETHER = 50_000  # points of one batch
_BACKGROUND = 0.05  # share of the image that one region of exact zeros must fill to be none


@dataclass(frozen=True)
class Scale:
    """How values of a file become those of the model."""

    factor: float
    words: str
    """The unit that was read, for log and sidecars."""
    unit: MapUnit


def declared_scale(field: FieldMap, sidecar: Mapping[str, Any], file: str) -> Scale:
    """Scale of a map from its sidecar alone; its values are never asked.

    Parameters
    ----------
    field
        What the map supplies.
    sidecar
        Its metadata: ``Units``, and where the unit needs it a nominal value.
    file
        For messages.

    Raises
    ------
    DataError
        If ``Units`` are missing or unknown, or what they need is missing.
    """
    given = sidecar.get("Units")
    text = "" if given is None else str(given).strip()
    units = units_of(field, file)
    for unit in units:
        if text.lower() in (unit.name.lower(), *unit.also):
            return _scale(unit, sidecar, file)
    said = f'Units is "{text}"' if text else "Units is missing"
    known = [f'"{unit.name}"' + (f" ({unit.words})" if unit.words else "") for unit in units]
    words = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
    raise DataError(
        f"{file}: {said}, and units are never guessed; write {words} as Units into its sidecar."
    )


def units_of(field: FieldMap, file: str) -> list[MapUnit]:
    """Units that a map may have by the suffix of its name: a T1map is in s, an R1map in 1/s."""
    stem = file.partition(".")[0].rpartition("_")[2]
    inverse = bool(field.inverse) and stem == field.inverse
    return [unit for unit in field.units if unit.inverse == inverse]


def _scale(unit: MapUnit, sidecar: Mapping[str, Any], file: str) -> Scale:
    if not unit.over:
        return Scale(unit.factor, unit.name, unit)
    key = next((key for key in unit.over if sidecar.get(key) is not None), None)
    if key is None:
        raise DataError(
            f'{file}: Units is "{unit.name}", which needs the nominal angle of the map: write '
            f"{unit.over[0]}, in degrees, into its sidecar."
        )
    value = sidecar[key]
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise DataError(
            f"{file}: {key} is {value}; one number above 0 is needed, the nominal angle of the "
            f"map in degrees. If it says something else, write {unit.over[0]} beside it."
        )
    return Scale(unit.factor / number, f"{unit.name} over {key} {number:g}", unit)


def check_declared(
    field: FieldMap, scale: Scale, values: NDArray[np.floating[Any]], file: str
) -> None:
    """Refuse a declaration that the values contradict.

    Parameters
    ----------
    values
        Inside the mask, scaled.

    Raises
    ------
    DataError
        Naming unit and median, and the units under which the values would be possible.
    """
    known = np.abs(values[np.isfinite(values) & (values != 0)])
    if not known.size:
        return
    median, (low, high) = float(np.median(known)), field.plausible
    if low <= median <= high:
        return
    raw = scale.factor / median if scale.unit.inverse else median / scale.factor
    fitting = [
        f'"{unit.name}"'
        for unit in units_of(field, file)
        if not unit.over
        and low <= (unit.factor / raw if unit.inverse else raw * unit.factor) <= high
    ]
    cure = f"Write {' or '.join(fitting)} if that is their unit," if fitting else "Correct it"
    cure += " or correct the values; Units stand" if fitting else " or the values; Units stand"
    unit = "" if field.unit == "1" else f" {field.unit}"
    raise DataError(
        f'{file}: Units is "{scale.words}", but the median inside the mask is {raw:.3g}, which '
        f"would make {field.words} {median:.3g}{unit} (possible: {low:.3g} to {high:.3g}{unit}). "
        f"{cure} in its sidecar."
    )


def inverted(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of values above 0, 0 elsewhere.

    It comes before interpolation: between tissues rates mix, not times, and beside the 0 of a
    background a time that was interpolated first would be too short.
    """
    known = np.isfinite(values) & (values > 0)
    return np.divide(1.0, values, out=np.zeros_like(values), where=known)


@dataclass(frozen=True, eq=False)
class Supplied:
    """A map on the grid of a series."""

    values: NDArray[np.float64]
    """``(X, Y, Z)``, as in the file; NaN inside the mask where there is none."""
    continued: int
    """Voxels of the mask between or beside measured ones."""
    absent: int
    """Voxels of the mask too far from any."""

    def words(self, n: int) -> str:
        """Both numbers for log and sidecars, of ``n`` voxels; empty if both are 0."""
        parts = []
        if self.continued:
            parts.append(f"{_share(self.continued, n)} continued from the nearest values")
        if self.absent:
            parts.append(
                f"{_share(self.absent, n)} without any value within {REACH:g} mm, not estimated"
            )
        return ", ".join(parts)


def _share(count: int, n: int) -> str:
    return f"{count} voxels ({100 * count / n:.2g} %)"


def supply(
    field: FieldMap,
    source: Grid,
    target: Grid,
    mask: NDArray[np.bool_],
    convert: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Supplied:
    """A map on the grid of a series; where nothing was measured its neighbours are continued.

    Between voxels with a value the interpolation is linear. Elsewhere inside the mask a plane is
    laid through the nearest voxels with a value: fields are smooth, and the nearest value alone
    would be off by its slope, up to 1 % per mm.

    Parameters
    ----------
    field
        What the map supplies.
    source, target
        The map, and the grid of the series.
    mask
        ``(X, Y, Z)``.
    convert
        What to make of the values before anything is interpolated.

    Raises
    ------
    DataError
        If there is no value near any voxel of the mask.
    """
    values = np.asarray(read_volume(source), dtype=np.float64)
    values = values if convert is None else convert(values)
    valid = measured(field, values)
    known = np.where(valid, values, 0)
    if same_grid(source, target):
        share, moved = valid.astype(np.float64), known
    else:
        share, moved = (_moved(image, source, target) for image in (valid * 1.0, known))
    whole = share > 1 - 1e-6
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.where(whole, moved, np.where(share > 0, moved / share, 0))
    gaps = mask & ~whole
    if gaps.any():
        points = (np.linalg.inv(source.affine) @ target.affine @ _homogeneous(gaps))[:3].T
        size = np.linalg.norm(source.affine[:3, :3], axis=0)
        result[gaps] = continued(points, values, valid, size)
    absent = int(np.isnan(result[mask]).sum())
    if absent == int(mask.sum()):
        raise DataError(
            f"{source.path.name} has no value within {REACH:g} mm of the mask of the series; "
            "check its affine, and whether it is empty."
        )
    return Supplied(result, int(gaps.sum()) - absent, absent)


def measured(field: FieldMap, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Voxels ``(X, Y, Z)`` in which a map has a value.

    Not finite is none. 0 is none in a map of what is always positive; in another map only a large
    region of exact zeros is, the background of a map that was masked.
    """
    finite = np.isfinite(values)
    if field.positive:
        return np.asarray(finite & (values > 0))
    zero = values == 0
    if not zero.any() or not (finite & ~zero).any():
        return finite
    from scipy import ndimage

    pieces, n = ndimage.label(zero)
    # A field that passes through 0 does so in a layer of one voxel.
    thick = ndimage.binary_erosion(zero, border_value=1)
    large = np.bincount(pieces[thick], minlength=n + 1) > _BACKGROUND * values.size
    return np.asarray(finite & ~large[pieces])


def _moved(image: NDArray[Any], source: Grid, target: Grid) -> NDArray[Any]:
    """Resampled linearly; nothing is known beyond the centres of the outer voxels."""
    affine = source.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.ones(3)
    return resample(np.pad(image, 1), affine, target.space, target.affine)


def _homogeneous(where: NDArray[np.bool_]) -> NDArray[np.float64]:
    index = np.argwhere(where)
    return np.vstack([index.T, np.ones(len(index))])


def continued(
    points: NDArray[np.floating[Any]],
    values: NDArray[np.floating[Any]],
    valid: NDArray[np.bool_],
    size: NDArray[np.floating[Any]],
) -> NDArray[np.float64]:
    """Values ``(n,)`` at points between or beside voxels with a value.

    Parameters
    ----------
    points
        ``(n, 3)`` in voxels of the map.
    values, valid
        The map ``(X, Y, Z)`` and where it has a value.
    size
        Edges of its voxels, mm.

    Returns
    -------
    ndarray
        NaN more than :data:`REACH` beyond the edge of the nearest voxel with a value.
    """
    found = np.full(len(points), np.nan)
    centres = np.argwhere(valid)
    if not len(centres):
        return found
    from scipy.spatial import cKDTree

    tree = cKDTree(centres)
    _, nearest = tree.query(points)
    beyond = np.maximum(np.abs(points - centres[nearest]) - 0.5, 0) * size
    near = np.flatnonzero(np.linalg.norm(beyond, axis=1) <= REACH)
    count = min(_NEIGHBOURS, len(centres))
    for first in range(0, len(near), _TOGETHER):
        some = near[first : first + _TOGETHER]
        distance, which = tree.query(points[some], k=[*range(1, count + 1)])
        offsets = centres[which] - points[some, None]
        found[some] = _planes(offsets, distance, values[valid][which])
    return found


def _planes(
    offsets: NDArray[Any], distance: NDArray[Any], values: NDArray[Any]
) -> NDArray[np.float64]:
    """Weighted planes through ``(n, k)`` neighbours, at the points they are neighbours of."""
    weights = (1 - (distance / (1.01 * distance[:, -1:] + 1e-9)) ** 3) ** 3
    basis = np.concatenate([np.ones((*distance.shape, 1)), offsets], axis=2)
    matrix = np.einsum("nk,nki,nkj->nij", weights, basis, basis)
    # Where all neighbours lie in one plane, there is no slope across it.
    matrix[:, [1, 2, 3], [1, 2, 3]] += 1e-3 * weights.sum(axis=1)[:, None]
    right = np.einsum("nk,nki,nk->ni", weights, basis, values)
    height = np.linalg.solve(matrix, right[..., None])[:, 0, 0]
    low, high = values.min(axis=1), values.max(axis=1)
    return np.clip(height, low - (high - low), high + (high - low))
