"""The panel by which a reader judges whether series and T1-weighted image lie upon each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_brnn.reports.content import Array
from bids_brnn.reports.figures import PAGE_WIDTH, blank, pick_slices

Mask = NDArray[np.bool_]
_AXIAL = 4
_THICK = 8  # slices from which coronal and sagittal sections show something
_FIELDS = 6  # of the chequerboard, along the longer side of a section


def registration_check(
    series: Array, t1w: Array, mask: Mask, size: tuple[float, float, float]
) -> Figure:
    """Series, T1-weighted image and a chequerboard of both, with the mask's outline.

    Parameters
    ----------
    series, t1w, mask
        ``(X, Y, Z)`` on one grid, axes to right, anterior, superior.
    size
        Edges of a voxel, mm.
    """
    cuts = sections(mask)
    both = [_scaled(series), _scaled(t1w)]
    shapes = [_cut(mask, axis, index).shape for axis, index in cuts]
    aspects = [_aspect(size, axis) for axis, _ in cuts]
    tall = [
        rows * aspect / columns for (rows, columns), aspect in zip(shapes, aspects, strict=True)
    ]
    width = min(2.6, PAGE_WIDTH / max(len(cuts), 3))
    figure = Figure(layout="constrained")
    if len(cuts) == 1:  # side by side
        figure.set_size_inches(3 * width, width * max(tall) + 0.2)
        axes = figure.subplots(1, 3, squeeze=False).T
    else:
        figure.set_size_inches(width * len(cuts), 3 * width * max(tall))
        axes = figure.subplots(3, len(cuts), squeeze=False)
    for column, (axis, index) in enumerate(cuts):
        first, second = (_cut(image, axis, index) for image in both)
        board = _board(first.shape, aspects[column])
        outline = _cut(mask, axis, index)
        for row, image in enumerate((first, second, np.where(board, first, second))):
            _draw(axes[row][column], image, outline, aspects[column])
    for row, name in enumerate(("series", "T1w", "both in turns")):
        axes[row][0].yaxis.set_visible(True)
        axes[row][0].set_ylabel(name, fontsize=9)
    return figure


def sections(mask: Mask) -> list[tuple[int, int]]:
    """Axis and index of each section: axial; of a thick image a coronal and a sagittal one too."""
    cuts = [(2, index) for index in pick_slices(mask, _AXIAL)]
    if mask.shape[2] >= _THICK and mask.any():
        for axis in (1, 0):
            share = mask.sum(axis=tuple({0, 1, 2} - {axis}))
            cuts.append((axis, int(np.average(np.arange(share.size), weights=share))))
    return cuts


def _cut(image: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    return np.rot90(np.take(image, index, axis=axis))


def _aspect(size: tuple[float, float, float], axis: int) -> float:
    """Height over width of a voxel in a section."""
    across, up = (edge for other, edge in enumerate(size) if other != axis)
    return up / across


def _scaled(image: Array) -> Array:
    finite = np.where(np.isfinite(image), image, 0)
    bright = finite[finite > 0]
    high = float(np.percentile(bright, 99)) if bright.size else 1.0
    return np.clip(finite / high, 0, 1)


def _board(shape: tuple[int, ...], aspect: float) -> Mask:
    """Fields of equal edges in mm."""
    rows, columns = np.indices(shape)
    edge = max(shape[0] * aspect, shape[1]) / _FIELDS
    fields = np.floor((rows + 0.5) * aspect / edge) + np.floor((columns + 0.5) / edge)
    return np.asarray(fields % 2 == 0)


def _draw(axis: Axes, image: Array, outline: Mask, aspect: float) -> None:
    blank(axis)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="none")
    if outline.any() and not outline.all():
        axis.contour(outline.astype(float), levels=[0.5], colors="#ff4d4d", linewidths=0.7)
