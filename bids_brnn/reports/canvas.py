"""Parts of figures of voxels: images with their colours, colour bars and outlines of masks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from bids_brnn.reports.drawing import Box, Drawing, Lines, Raster, Words
from bids_brnn.reports.ticks import tick_labels

BAR = 0.75
"""Inches that a colour bar with its numbers takes, from the edge of the image."""
_BAR_GAP, _BAR_WIDTH, _BAR_TIP, _TICK = 0.06, 0.12, 0.08, 0.04
_OUTLINE = "#ff4d4d"
SMALL, NORMAL = 7, 9
"""Sizes of letters, points: at the width of a page none is below 9 pixels."""
_DPI = 110.0


def canvas(width: float, height: float) -> Drawing:
    """An empty drawing for images."""
    return Drawing(width, height, _DPI)


@cache
def palette(colours: str, absent: tuple[int, int, int] = (0, 0, 0)) -> tuple[int, ...]:
    """What :func:`indexed` counts: the colour of no value, and 255 of a table of matplotlib."""
    steps = colormaps[colours](np.linspace(0, 1, 255))[:, :3]
    return (*absent, *np.rint(255 * steps).astype(int).ravel().tolist())


def indexed(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Places of values in a palette: 1 to 255 between two limits, 0 where there is no value."""
    low, high = limits
    finite = np.isfinite(values)
    unit = np.clip((np.where(finite, values, low) - low) / (high - low), 0, 1)
    return np.where(finite, 1 + np.rint(254 * unit), 0).astype(np.uint8)


def picture(
    drawing: Drawing,
    box: Box,
    values: NDArray[Any],
    limits: tuple[float, float],
    colours: str = "gray",
) -> None:
    """An image over the whole of ``box``; black where there is no value."""
    drawing.add(Raster(box, indexed(values, limits), palette(colours)))


def outline(drawing: Drawing, box: Box, mask: NDArray[np.bool_], width: float = 0.8) -> None:
    """The border of a mask that is spread over ``box``, along voxels; nothing if there is none."""
    if not mask.any() or mask.all():
        return
    scale = np.array([box.width / mask.shape[1], box.height / mask.shape[0]])
    start = np.array([box.x, box.y])
    level = _borders(mask)  # along rows
    upright = _borders(mask.T)[..., ::-1]
    runs = np.concatenate([level, upright]) * scale + start
    drawing.add(Lines(list(runs), _OUTLINE, width))


def _borders(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Straight pieces ``(pieces, 2 ends, 2)``, columns and rows, between rows that differ.

    Borders of the image are none of a mask.
    """
    differs = np.pad(mask[1:] != mask[:-1], ((0, 0), (1, 1)))
    turns = np.diff(differs.astype(np.int8), axis=1)
    rows, firsts = np.nonzero(turns == 1)
    _, lasts = np.nonzero(turns == -1)  # as many in each row
    return np.stack([np.stack([firsts, rows + 1], 1), np.stack([lasts, rows + 1], 1)], 1).astype(
        float
    )


def words(
    drawing: Drawing, x: float, y: float, text: str, size: float = NORMAL, **how: Any
) -> None:
    """Text at a position, by default from there to the right and centred in height."""
    drawing.add(Words(x, y, text, size, **how))


def colour_bar(drawing: Drawing, box: Box, limits: tuple[float, float], colours: str) -> None:
    """A colour bar to the right of an image in ``box``, open at both ends.

    A common factor of all numbers is above it.
    """
    left, height = box.x + box.width + _BAR_GAP, 0.85 * box.height - 2 * _BAR_TIP
    right, top = left + _BAR_WIDTH, box.y + (box.height - height) / 2
    bottom = top + height
    ramp = np.linspace(1, 0, 255)[:, None]
    picture(drawing, Box(left, top, _BAR_WIDTH, height), ramp, (0, 1), colours)
    middle = (left + right) / 2
    for end, tip, place in ((top, top - _BAR_TIP, 255), (bottom, bottom + _BAR_TIP, 1)):
        red, green, blue = palette(colours)[3 * place : 3 * place + 3]
        corners = np.array([[left, end], [middle, tip], [right, end]])
        drawing.add(Lines([corners], f"#{red:02x}{green:02x}{blue:02x}", 0))
    around = [left, middle, right, right, middle, left, left]
    edges = [top, top - _BAR_TIP, top, bottom, bottom + _BAR_TIP, bottom, top]
    low, high = limits
    ticks, labels, factor = tick_labels(low, high)
    heights = [bottom - (tick - low) / (high - low) * height for tick in ticks]
    marks = [np.array([[right, y], [right + _TICK, y]]) for y in heights]
    drawing.add(Lines([np.column_stack([around, edges]), *marks], "#000"))
    for y, label in zip(heights, labels, strict=True):
        words(drawing, right + 1.8 * _TICK, y, label, SMALL)
    if factor:
        words(drawing, right, top - 1.3 * _BAR_TIP, factor, SMALL, up="bottom")
