"""Label images: erosion, classes from tissue probabilities, classes from the maps themselves."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError

Source = Literal["labels", "probabilities", "maps", "mask"]
"""What regions come from."""

TISSUE_NAMES: Mapping[int, str] = {1: "GM", 2: "WM", 3: "CSF"}
"""Classes of the three tissues, with the numbers of fMRIPrep's ``dseg``."""

CIRCULAR = (
    "These regions were made from the estimated maps themselves: statistics of a parameter in "
    "classes that it defines are circular. Use them for orientation, not for inference."
)
"""What is said wherever statistics of such regions are shown."""

LEAST_PROBABILITY = 0.8
"""Mean tissue probability of a voxel from which on it belongs to the tissue."""

WM_BELOW = 1.2
"""s. White matter below, grey matter above: T1 at 3 T is 0.83 and 1.33 s by Wansapura 1999
(doi 10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L), 1.08 and 1.82 s by Stanisz
2005 (doi 10.1002/mrm.20605); geometric middles 1.05 and 1.40 s, and 1.21 s between these two."""

CSF_ABOVE = 2.5
"""s. Fluid above: geometric middle of grey matter (1.33 to 1.82 s) and fluid (4.2 s)."""


_COUNTED = 2**16
"""Labels of atlases are smaller, and counted: sorting a brain takes twenty times as long."""


def labels_in(labels: NDArray[np.integer]) -> list[int]:
    """Labels that occur in an image or in voxels, rising, without the background."""
    whole = labels.dtype.kind in "biu" and labels.size > 0
    if whole and labels.min() >= 0 and labels.max() < _COUNTED:
        found = np.flatnonzero(np.bincount(labels.ravel("K").astype(np.intp)))
    else:
        found = np.unique(labels)
    return [int(label) for label in found if label]


def erode(labels: NDArray[np.integer], layers: int) -> NDArray[np.integer]:
    """Take the outer layers of voxels off every region.

    A voxel is in the outer layer if one of its neighbours across a face has another label.
    Beyond the edge of the image nothing is known, and nothing is taken off there: a single slice
    is eroded in its plane.

    Parameters
    ----------
    labels
        ``(X, Y, Z)``; 0 is background.
    layers
        How many times; 0 returns the labels as they are.

    Returns
    -------
    ndarray
        ``(X, Y, Z)``, 0 where voxels were taken off.
    """
    from scipy import ndimage

    faces = ndimage.generate_binary_structure(labels.ndim, 1)
    for _ in range(layers):
        # "nearest" repeats the edge of the image, which is what the absent neighbours count as.
        lowest = ndimage.minimum_filter(labels, footprint=faces, mode="nearest")
        highest = ndimage.maximum_filter(labels, footprint=faces, mode="nearest")
        labels = np.where(lowest == highest, labels, 0)
    return labels


def spread_out(labels: NDArray[np.integer], known: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Labels ``(X, Y, Z)`` in which voxels that are not ``known`` have that of the nearest one.

    >>> spread_out(np.array([1, 0, 0, 2]), np.array([True, False, False, True])).tolist()
    [1, 1, 2, 2]
    """
    if not known.any():
        return labels
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    found: NDArray[np.integer] = labels[tuple(nearest)]
    return found


def probability_labels(
    probabilities: Mapping[str, NDArray[np.floating]],
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Voxels that a tissue fills nearly alone.

    Thresholded rather than used as weights, because medians and percentiles of a mixture of
    tissues are those of none, and because every row then counts voxels.

    Parameters
    ----------
    probabilities
        ``(X, Y, Z)`` by tissue, 0 to 1, on the grid of the series.

    Returns
    -------
    labels, names
        ``(X, Y, Z)``, 0 where no tissue reaches :data:`LEAST_PROBABILITY`; GM, WM and CSF are 1,
        2 and 3, other tissues follow.

    Raises
    ------
    DataError
        If values lie outside 0 to 1.
    """
    order = {name: index for index, name in TISSUE_NAMES.items()}
    names = sorted(probabilities, key=lambda name: (order.get(name, len(order) + 1), name))
    stack = np.stack([np.nan_to_num(probabilities[name]) for name in names])
    if stack.min() < -0.01 or stack.max() > 1.01:
        raise DataError(
            f"Tissue probabilities ({', '.join(names)}) go from {stack.min():.3g} to "
            f"{stack.max():.3g}; 0 to 1 is needed."
        )
    beyond = len(order)
    numbers = [order.get(name, 0) or (beyond := beyond + 1) for name in names]
    best = np.asarray(numbers, dtype=np.int32)[stack.argmax(axis=0)]
    labels = np.where(stack.max(axis=0) >= LEAST_PROBABILITY, best, 0).astype(np.int32)
    return labels, dict(zip(numbers, names, strict=True))


def apparent_rate(maps: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
    """R1 that a method which knows of one pool would see, 1/s.

    Parameters
    ----------
    maps
        ``(V,)`` by parameter name, SI units: ``R1``, or ``R1a``, or ``m0s``, ``R1f`` and
        ``R1s``, whose weighted mean is the rate under fast exchange.

    Raises
    ------
    DataError
        If none of these is there.
    """
    if not tells_t1(maps):
        raise DataError(f"Maps of {', '.join(maps)} hold no T1 to tell tissues by.")
    for name in ("R1", "R1a"):
        if name in maps:
            return maps[name]
    return (1 - maps["m0s"]) * maps["R1f"] + maps["m0s"] * maps["R1s"]


def tells_t1(names: Container[str]) -> bool:
    """Whether parameters of these names tell the T1 of one pool."""
    ways = (("R1",), ("R1a",), ("m0s", "R1f", "R1s"))
    return any(all(name in names for name in way) for way in ways)


def apparent_t1(maps: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
    """T1 that a method which knows of one pool would see, s.

    Parameters
    ----------
    maps
        ``(V,)`` by parameter name, SI units; see :func:`apparent_rate`.

    Raises
    ------
    DataError
        If they hold no R1.
    """
    rate = apparent_rate({name: values.astype(np.float64) for name, values in maps.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate > 0, 1 / rate, np.nan)


def tissue_classes(t1: NDArray[np.floating]) -> NDArray[np.int32]:
    """GM, WM or CSF (1, 2, 3) by fixed limits of T1, 0 where T1 is NaN.

    Fixed limits from the literature, not a mixture fitted to the subject: they mean the same in
    every subject, and do not invent a class that a slice does not hold.

    >>> tissue_classes(np.array([0.9, 1.5, 4.0, np.nan])).tolist()
    [2, 1, 3, 0]
    """
    classes = np.select([t1 <= WM_BELOW, t1 <= CSF_ABOVE, t1 > CSF_ABOVE], [2, 1, 3], 0)
    return np.asarray(classes, dtype=np.int32)
