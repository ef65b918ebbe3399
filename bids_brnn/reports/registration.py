"""The panel by which a reader judges whether series and T1-weighted image lie upon each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.reports.canvas import canvas, outline, picture
from bids_brnn.reports.cells import Cell, montage
from bids_brnn.reports.content import Array, SeriesView
from bids_brnn.reports.drawing import Box, Drawing
from bids_brnn.reports.embed import FINEST, Fineness, outlined_uri
from bids_brnn.reports.figures import GAP, PAGE_WIDTH, beside, pick_slices

Mask = NDArray[np.bool_]
_AXIAL = 4
_THICK = 8  # slices from which coronal and sagittal sections show something
_SIDE = 0.3  # inches for the name of a row
_ROWS = ("series", "T1w", "both in turns")
_FIELDS = 6  # of the chequerboard, along the longer side of a section


def registration_check(
    series: Array, t1w: Array, mask: Mask, size: tuple[float, float, float]
) -> Drawing:
    """Series, T1-weighted image and a chequerboard of both, with the mask's outline.

    Parameters
    ----------
    series, t1w, mask
        ``(X, Y, Z)`` on one grid, axes to right, anterior, superior.
    size
        Edges of a voxel, mm.
    """
    cuts = sections(mask)
    shapes = [_cut(mask, axis, index).shape for axis, index in cuts]
    aspects = [_aspect(size, axis) for axis, _ in cuts]
    tall = [
        rows * aspect / columns for (rows, columns), aspect in zip(shapes, aspects, strict=True)
    ]
    width = min(2.3, (PAGE_WIDTH - _SIDE) / max(len(cuts), 3) - GAP)
    row_height = width * max(tall) + GAP
    beside_each_other = len(cuts) == 1
    if beside_each_other:
        figure = canvas(3 * (_SIDE + width), row_height)
    else:
        figure = canvas(_SIDE + len(cuts) * (width + GAP), 3 * row_height)
    first, second = _scaled(series), _scaled(t1w)
    for column, (axis, index) in enumerate(cuts):
        aspect = aspects[column]
        one, other, edge = (_cut(image, axis, index) for image in (first, second, mask))
        both = np.where(_board(one.shape, aspect), one, other)
        height = width * tall[column]
        for row, (name, image) in enumerate(zip(_ROWS, (one, other, both), strict=True)):
            if beside_each_other:
                box = Box(_SIDE + row * (_SIDE + width), 0, width, height)
            else:
                spare = (row_height - height) / 2  # sections differ in height
                left = _SIDE + column * (width + GAP)
                box = Box(left, row * row_height + spare, width, height)
            picture(figure, box, image, (0, 1))
            outline(figure, box, edge, 0.7)
            if column == 0:
                beside(figure, box, name)
    return figure


def contour_cells(series: SeriesView, fineness: Fineness = FINEST) -> list[Cell]:
    """Series and T1w image with the same outlines, to be looked at in turns.

    Outlines are those of tissues or regions, which come from the T1w image; without any, that of
    the mask.
    """
    if series.reference is None or series.t1w is None:
        return []
    what = "mask" if series.labels is None else "regions"
    # Pixels of the outline are finer than voxels, which else vanish below it.
    labels = series.mask.astype(int) if series.labels is None else series.labels
    edges = _edges(_finer(montage(labels, series.mask, fineness.montage)))
    found = []
    for name, image, lines in (
        ("Series", series.reference, edges), ("T1w", series.t1w, edges),
        ("Series, no outline", series.reference, np.zeros_like(edges)),
    ):  # fmt: skip
        alt = f"{name} with the outlines of the {what}" if lines is edges else name
        grey = _finer(montage(_scaled(image), series.mask, fineness.montage))
        stored = outlined_uri(grey, lines, fineness)
        found.append(Cell(name, stored, f"Registration: {alt}", "", "", ""))
    return found


_WIDE = 600  # pixels from which outlines are thin


def _finer(image: NDArray[Any]) -> NDArray[Any]:
    """Every pixel repeated along both axes, as often as a page can show."""
    times = max(1, min(8, _WIDE // image.shape[1]))
    return np.repeat(np.repeat(image, times, axis=0), times, axis=1)


def _edges(labels: NDArray[Any]) -> Mask:
    """Pixels whose neighbour to the right or below has another label."""
    found = np.zeros(labels.shape, dtype=bool)
    found[:-1] |= labels[:-1] != labels[1:]
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return found


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
