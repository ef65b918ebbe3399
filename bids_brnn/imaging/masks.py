"""Masks: by threshold, and whether one is plausible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.regions.labels import apparent_rate

_SPLITS = 6
_TWO = 0.7
"""Share of the variance between the two parts of a split from which on they count as two kinds of
voxels: one kind has 0.64 (Gaussian) to 0.75 (all values alike often)."""
_FAINT = 0.04
"""Brightness above air, relative to the brightest tenth, of what still counts as object; ghosts
and spiral artefacts in air lie below."""
_FAINT_BUT_LARGE = 0.02
"""The same for a part that is larger than all that is brighter: tissue beside fluid or fat."""
_PIECE = 0.1
"""Size, relative to the largest, of pieces that are kept: tubes, not islands."""


def threshold_mask(reference: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels brighter than air, holes filled, without the smaller islands.

    Otsu's threshold separates what is most different, which may be bright fluid, fat or one tissue
    from all others. So what lies below it is split again, as long as it is of two kinds and the
    brighter one is no artefact.

    Only for lack of a real brain mask: skull and scalp stay inside.

    Parameters
    ----------
    reference
        ``(X, Y, Z)``, magnitudes; what is not finite counts as 0.
    """
    from scipy import ndimage

    finite = np.where(np.isfinite(reference), reference, 0)
    if finite.min() == finite.max():
        return np.zeros(finite.shape, dtype=bool)
    thin = finite.ndim - 1 - int(np.argmin(finite.shape[::-1]))  # the last of equals
    mask = finite > _air_limit(finite, thin)
    pieces, n = ndimage.label(mask, np.ones((3,) * finite.ndim))
    if n > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = (sizes >= _PIECE * sizes.max())[pieces]
    # Slice by slice: a single slice has no closed hole in three dimensions.
    for section in np.moveaxis(mask, thin, 0):
        section[...] = ndimage.binary_fill_holes(section)
    return np.asarray(mask, dtype=bool)


def _air_limit(values: NDArray[Any], thin: int) -> float:
    """Value above which voxels are object; ``thin`` is the axis across slices."""
    from scipy import ndimage

    size = [3] * values.ndim
    size[thin] = 1
    # Two kinds of voxels are told apart without noise: tissue is coherent, noise is not.
    smooth = ndimage.median_filter(values, size=tuple(size))
    limit, _ = otsu(values)
    for _ in range(_SPLITS):
        above, below = smooth[smooth > limit], smooth[smooth <= limit]
        if not below.size or below.min() == below.max():
            break
        lower, between = otsu(below)
        air, tissue = below[below <= lower], below[below > lower]
        floor = np.median(air)
        # Of a thin rim of fat nothing is left in the smooth image.
        bright = np.percentile(above, 90) if above.size else values.max()
        faint = (np.median(tissue) - floor) / (bright - floor)
        least = _FAINT_BUT_LARGE if tissue.size > above.size else _FAINT
        if between < _TWO or faint < least:
            break
        limit = max(lower, otsu(values[values <= limit])[0])
    return limit


def otsu(values: NDArray[Any]) -> tuple[float, float]:
    """Otsu's threshold between two classes of values.

    Returns
    -------
    threshold, between
        That with the largest variance between the classes, and its share of the whole variance.
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    best = int(np.nanargmax(np.nan_to_num(between)))
    n = below[-1]
    whole = n * float(np.sum(counts * (centres - sums[-1] / n) ** 2))
    return float(edges[1:][best]), float(between[best]) / whole if whole > 0 else 0.0


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
