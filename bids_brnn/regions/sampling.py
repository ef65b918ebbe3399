"""A sample of the voxels of a mask in which every region has its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_brnn.regions.labels import labels_in

LEAST_OF_REGION = 100
"""Voxels of each region, or all of a smaller one, however small its share."""


def stratified_sample(
    labels: Sequence[NDArray[np.integer]], available: int, n: int, seed: int
) -> NDArray[np.bool_]:
    """A random sample, proportional to the regions of all label images at once.

    Each region has at least :data:`LEAST_OF_REGION` voxels (all, if it is smaller; fewer where
    those of all regions would be more than half of the sample). The others are drawn
    systematically from what is left, in the order of regions, so that each combination of labels
    has its share of them but for one voxel.

    Parameters
    ----------
    labels
        ``(V,)`` each; 0 is what lies in no region.
    available
        ``V``.
    n
        Size of the sample, at most ``V``.
    seed
        The same one gives the same voxels.

    Returns
    -------
    ndarray
        ``(V,)``, true for exactly ``n`` voxels.
    """
    order = np.random.default_rng(seed).permutation(available)
    chosen = np.zeros(available, dtype=bool)
    shuffled = [values[order] for values in labels]
    regions = [(values, index) for values in shuffled for index in labels_in(values)]
    least = min(LEAST_OF_REGION, n // (2 * len(regions))) if regions else 0
    for values, index in regions:
        chosen[order[np.flatnonzero(values == index)[:least]]] = True
    left = order[~chosen[order]]
    keys = [values[left] for values in labels]
    left = left[np.lexsort(keys)] if keys else left
    more = n - int(chosen.sum())
    # In the middle of as many equal stretches as voxels are missing.
    chosen[left[(2 * np.arange(more) + 1) * len(left) // (2 * max(more, 1))]] = True
    return chosen
