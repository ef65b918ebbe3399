"""Denoising by principal components of patches, for complex series and for magnitudes.

In a patch the values of a voxel vary in a few directions only; the other principal components
hold noise, whose singular values follow the law of Marchenko and Pastur, and are left out
(Veraart 2016, 10.1016/j.neuroimage.2016.08.016). NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.imaging.noise_level import marchenko_pastur

Extent = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Denoised:
    """A denoised series."""

    values: NDArray[np.complex64]
    """``(X, Y, Z, N)``; voxels that were zero or not finite are as they were."""
    n_kept: float
    """Components kept, mean over patches."""


def patch_extent(shape: tuple[int, ...], n_values: int) -> Extent:
    """Smallest patch of odd edges, as cubic as the image allows, with ``n_values`` voxels.

    Fewer voxels than values would leave little noise to tell from; an image that is too small
    gives the largest patch of odd edges that fits.

    >>> patch_extent((160, 160, 1), 15)
    (5, 5, 1)
    >>> patch_extent((160, 160, 120), 15)
    (3, 3, 3)
    """
    largest = [size - (size + 1) % 2 for size in shape[:3]]
    for edge in range(1, max(largest) + 1, 2):
        x, y, z = (min(edge, most) for most in largest)
        if x * y * z >= n_values:
            return x, y, z
    return largest[0], largest[1], largest[2]


def denoise(data: NDArray[Any], extent: Extent | None = None) -> Denoised:
    """Leave out components of noise, patch by patch.

    Parameters
    ----------
    data
        ``(X, Y, Z, N)`` complex, before anything was interpolated or smoothed.
    extent
        Voxels of a patch along each axis; :func:`patch_extent` by default.

    Notes
    -----
    Patches overlap by half. A voxel is the mean over its patches, each weighted by
    ``1 / (1 + components kept)``, as simpler patches are estimated better (Manjon 2013,
    10.1371/journal.pone.0073021).
    """
    shape = data.shape[:3]
    extent = extent or patch_extent(shape, data.shape[3])
    valid = np.isfinite(data).all(-1) & (data != 0).any(-1)
    total = np.zeros(data.shape, dtype=np.complex128)
    weight = np.zeros(shape)
    kept = []
    for patch in _patches(shape, extent):
        inside = valid[patch]
        if inside.sum() < 2:
            continue
        values, rank = _low_rank(data[patch][inside].astype(np.complex128))
        total[patch][inside] += values / (1 + rank)
        weight[patch][inside] += 1 / (1 + rank)
        kept.append(rank)
    result = data.astype(np.complex64)
    done = weight > 0
    result[done] = total[done] / weight[done][:, None]
    return Denoised(result, float(np.mean(kept)) if kept else math.nan)


def _patches(shape: tuple[int, ...], extent: Extent) -> Iterator[tuple[slice, slice, slice]]:
    starts = []
    for size, edge in zip(shape, extent, strict=True):
        last = max(size - edge, 0)
        starts.append(sorted({*range(0, last, (edge + 1) // 2), last}))
    for x, y, z in product(*starts):
        yield slice(x, x + extent[0]), slice(y, y + extent[1]), slice(z, z + extent[2])


def _low_rank(values: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], int]:
    """``(voxels, N)`` without the components of noise, and how many are left."""
    wide = values.shape[0] < values.shape[1]
    tall = values.T if wide else values
    eigenvalues, vectors = np.linalg.eigh(tall.conj().T @ tall)
    rank = int(marchenko_pastur(eigenvalues, tall.shape[0])[0])
    leading = vectors[:, vectors.shape[1] - rank :]
    left = tall @ leading @ leading.conj().T
    return (left.T if wide else left), rank
