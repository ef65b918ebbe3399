"""Small images with one pixel per voxel, which stand beside each other in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.reports.content import Array
from bids_brnn.reports.embed import FINEST, Fineness, gradient, pixels_uri
from bids_brnn.reports.figures import crop, pick_slices, plane

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One image of a row."""

    title: str
    image: str
    alt: str
    low: str
    high: str
    colours: str
    """Background of CSS for the colour bar; empty: none."""


def map_cell(
    title: str,
    values: Array,
    mask: Mask,
    limits: tuple[float, float],
    colours: str,
    unit: str,
    fineness: Fineness = FINEST,
) -> Cell:
    """A map inside of a mask, with its colours."""
    shown = montage(np.where(mask, values, np.nan), mask, fineness.montage)
    inside = shown[np.isfinite(shown)]
    middle = f"median {np.median(inside):.3g}" if inside.size else "no value"
    ends = [f"{end:.3g}{'' if unit in ('1', '') else f' {unit}'}" for end in limits]
    alt = f"{title}: {middle} in these slices, colours from {ends[0]} to {ends[1]}"
    image = pixels_uri(shown, limits, colours, fineness)
    return Cell(title, image, alt, ends[0], ends[1], gradient(colours))


def montage(values: NDArray[Any], mask: Mask, count: int) -> NDArray[Any]:
    """Up to ``count`` axial slices side by side, three and four in two rows."""
    window = crop(mask)
    slices = pick_slices(mask, count + 2)
    slices = slices[1:-1] if len(slices) > count else slices
    planes = [plane(values, index, window) for index in slices]
    if len(planes) < 3:
        return np.concatenate(planes, axis=1)
    planes += [np.zeros_like(planes[0])] * (-len(planes) % 2)
    half = len(planes) // 2
    rows = [np.concatenate(planes[:half], axis=1), np.concatenate(planes[half:], axis=1)]
    return np.concatenate(rows, axis=0)
