"""Masks: by threshold, and whether one is plausible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_brnn.regions.labels import apparent_rate

_SPLITS = 2
_APART = 1.8


def threshold_mask(reference: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels brighter than Otsu's threshold, holes filled, without the smaller islands.

    Where fluid or fat is much brighter than all other tissue, the first threshold separates these
    two; then what lies below it is split again.

    Only for lack of a real brain mask: skull and scalp stay inside.
    """
    finite = np.where(np.isfinite(reference), reference, 0)
    if finite.min() == finite.max():
        return np.zeros(finite.shape, dtype=bool)
    limit = otsu(finite)
    for _ in range(_SPLITS):
        below = finite[finite <= limit]
        if below.min() == below.max():
            break
        lower = otsu(below)
        darker, tissue = below[below <= lower], below[below > lower]
        # The mean of ten magnitudes of noise alone splits into parts that differ by a third.
        if tissue.size < finite.size - below.size or tissue.mean() < _APART * darker.mean():
            break
        limit = lower
    mask = finite > limit
    pieces, n = ndimage.label(mask)
    if n > 1:
        mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    # Slice by slice: a single slice has no closed hole in three dimensions.
    for k in range(mask.shape[2]):
        mask[:, :, k] = ndimage.binary_fill_holes(mask[:, :, k])
    return np.asarray(mask, dtype=bool)


def otsu(values: NDArray[Any]) -> float:
    """The threshold between two classes of values with the largest variance between them."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][int(np.nanargmax(np.nan_to_num(between)))])


WHOLE_BRAIN = 120.0
"""mm; an image with this extent in every direction can hold a whole brain."""


LITRES = (0.9, 2.0)
"""Volume of a whole brain mask, children and deepbet's wide masks included."""


SECTION = (15.0, 230.0)
"""Mean area of a slab's mask, square centimetres: from the vertex to the widest section."""


def check_mask(mask: NDArray[np.bool_], size: NDArray[np.floating[Any]]) -> str:
    """What is wrong with the size of a brain mask, or an empty text.

    Parameters
    ----------
    mask
        ``(X, Y, Z)``.
    size
        Edges of a voxel, mm.

    Notes
    -----
    An image of at least :data:`WHOLE_BRAIN` in each direction must hold :data:`LITRES`. In a
    thinner slab the mean area of the mask, over its thinnest direction, must lie in
    :data:`SECTION`.
    """
    extent = size * mask.shape
    litres = float(mask.sum() * np.prod(size)) / 1e6
    axis = int(np.argmin(extent))
    if extent[axis] >= WHOLE_BRAIN:
        low, high = LITRES
        if low <= litres <= high:
            return ""
        return f"{litres:.2f} l is outside {low:g} to {high:g} l"
    area = litres * 1e4 / float(extent[axis])
    low, high = SECTION
    if low <= area <= high:
        return ""
    return f"a mean section of {area:.0f} cm2 is outside {low:g} to {high:g} cm2"


def t1_contrast(maps: Mapping[str, NDArray[np.floating[Any]]]) -> NDArray[np.float32]:
    """T1-weighted signal of estimated maps; 0 where there is no estimate.

    Parameters
    ----------
    maps
        ``M0``, ``R2`` or ``R2f`` (1/s), and what
        :func:`~bids_brnn.regions.labels.apparent_rate` needs: exchange is fast against TR.
    """
    r1, r2 = apparent_rate(maps), maps["R2" if "R2" in maps else "R2f"]
    with np.errstate(over="ignore", invalid="ignore"):
        signal = maps["M0"] * (1 - np.exp(-0.6 * r1)) * np.exp(-0.003 * r2)
    signal = np.where(np.isfinite(signal), signal, 0)
    bright = signal[signal > 0]
    # A few voxels where a fit ran away would leave all others black.
    limit = 2 * float(np.percentile(bright, 98)) if bright.size else 1.0
    return np.clip(signal, 0, limit).astype(np.float32)
