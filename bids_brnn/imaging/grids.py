"""Small NIfTI helpers of the nodes: intermediate files are uncompressed and memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.headers import position_codes
from bids_brnn.bids.images import Grid, same_grid
from bids_brnn.bids.volumes import as_mask, read_volume
from bids_brnn.imaging.resampling import Interpolation, affine_of, read_transform, resample

FINEST = 4
"""Points along each axis of a voxel at which a finer image is sampled."""
_MOST_POINTS = 2**24


def load(path: str | Path) -> Any:
    """An intermediate image, memory-mapped."""
    return nibabel.load(path)


def save(path: Path, values: NDArray[Any], affine: NDArray[Any], header: Any = None) -> Path:
    """Write an intermediate image; booleans become bytes.

    ``header`` is that of the series: what its qform and sform mean is kept.
    """
    array = values.astype(np.uint8) if values.dtype == bool else values
    image: Any = nibabel.Nifti1Image(array, affine)
    if header is not None:
        qform, sform = position_codes(header)
        image.set_qform(affine, qform)
        image.set_sform(affine, sform)
    image.header.set_xyzt_units("mm", "sec")
    if not (array.flags.f_contiguous and array.dtype.isnative):
        image.to_filename(path)
        return path
    # The same bytes in half the time: nibabel copies each slice.
    image.update_header()
    image.header.set_slope_inter(1, 0)
    with path.open("wb") as stream:
        image.header.write_to(stream)
        stream.write(bytes(int(image.header["vox_offset"]) - stream.tell()))
        stream.write(array.reshape(-1, order="F").view(np.uint8).data)
    return path


def placed(grid: Grid, to_series: str | Path | None) -> Grid:
    """An image where a rigid transform of :class:`AlignSeries` puts it; not interpolated.

    Only the affine changes, so that whatever resamples it next is the only interpolation.
    """
    if to_series is None:
        return grid
    points = affine_of(read_transform(Path(to_series)))
    if np.array_equal(points, np.eye(4)):
        return grid
    return replace(grid, affine=np.linalg.inv(points) @ grid.affine)


def on_grid(source: Grid, target: Grid, *, labels: bool) -> NDArray[Any]:
    """A 3D image on the grid of a series, both taken to share scanner coordinates.

    Parameters
    ----------
    source
        The image.
    target
        Grid of the series.
    labels
        Nearest neighbour, for labels and masks; otherwise linear.

    Returns
    -------
    ndarray
        ``(X, Y, Z)``; 0 where the source does not reach.
    """
    values = read_volume(source)
    if same_grid(source, target):
        return np.asarray(values)
    how: Interpolation = "nearest" if labels else "linear"
    return resample(values, source.affine, target.space, target.affine, interpolation=how)


def mask_on_grid(source: Grid, target: Grid) -> NDArray[np.bool_]:
    """A mask on the grid of a series, by the nearest voxel; empty if it lies elsewhere.

    Raises
    ------
    DataError
        If it holds other values than a mask.
    """
    mask = as_mask(read_volume(source), source.path.name)
    if same_grid(source, target):
        return mask
    near = resample(
        mask.astype(np.uint8), source.affine, target.space, target.affine, interpolation="nearest"
    )
    return np.asarray(near > 0)


def share_on_grid(source: Grid, target: Grid) -> NDArray[np.float64]:
    """Mean of a finer 3D image over each voxel of a series; for tissue probabilities.

    Plain interpolation would take the value at the centre of a voxel: a voxel across a border
    would look pure. So the image is sampled on a grid as fine as itself (at most
    :data:`FINEST` points along an axis of a voxel), and averaged.

    Returns
    -------
    ndarray
        ``(X, Y, Z)``; 0 where the source does not reach.
    """
    values = read_volume(source)
    x, y, z = target.space
    total, count = np.zeros((x, y, z)), 0
    for count, affine in enumerate(_parts(source, target), start=1):  # noqa: B007
        total += resample(values, source.affine, (x, y, z), affine)
    return np.asarray(total / count)


def labels_on_grid(source: Grid, target: Grid) -> NDArray[Any]:
    """A label image on the grid of a series: the label that fills most of each voxel.

    The nearest neighbour of the centre would move borders by up to half a voxel of the label
    image, always to the same side. Where labels are no finer than the series it is taken.

    Returns
    -------
    ndarray
        ``(X, Y, Z)``; 0 where the source does not reach. Of labels that fill a voxel equally the
        smallest.
    """
    values = read_volume(source)
    if same_grid(source, target):
        return np.asarray(values)
    x, y, z = target.space
    found = np.zeros((x, y, z), dtype=values.dtype)
    affines = list(_parts(source, target))
    # Some slices at a time: all points of a whole brain may not fit into memory.
    step = max(1, _MOST_POINTS // (x * y * len(affines)))
    for first in range(0, z, step):
        thick = min(step, z - first)
        moved = np.array([0.0, 0.0, first])
        points = []
        for affine in affines:
            block = affine.copy()
            block[:3, 3] += affine[:3, :3] @ moved
            shape = (x, y, thick)
            points.append(resample(values, source.affine, shape, block, interpolation="nearest"))
        found[:, :, first : first + thick] = most_frequent(np.stack(points))
    return found


def most_frequent(stack: NDArray[Any]) -> NDArray[Any]:
    """The value that occurs most along the first axis, the smallest of equals.

    >>> most_frequent(np.array([[3, 1], [2, 5], [3, 5], [2, 0]])).tolist()
    [2, 5]
    """
    ordered = np.sort(stack, axis=0)
    best, longest = ordered[0].copy(), np.ones(ordered.shape[1:], dtype=np.int16)
    run = longest.copy()
    for before, value in pairwise(ordered):
        run = np.where(value == before, run + 1, 1)
        longer = run > longest
        best[longer], longest[longer] = value[longer], run[longer]
    return best


def _parts(source: Grid, target: Grid) -> Iterator[NDArray[np.float64]]:
    """Affines of the target grid moved to evenly spread points inside its voxels.

    As many points along each axis as the source has voxels there, at most :data:`FINEST`.
    """
    sizes = [np.linalg.norm(grid.affine[:3, :3], axis=0) for grid in (source, target)]
    parts = np.clip(np.ceil(sizes[1] / sizes[0].min() - 0.01), 1, FINEST).astype(int)
    for part in np.ndindex(*parts):
        moved = target.affine.copy()
        moved[:3, 3] += target.affine[:3, :3] @ ((np.array(part) + 0.5) / parts - 0.5)
        yield moved
