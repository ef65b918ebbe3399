"""A figure as one drawing area in inches: images, colour bars, outlines and words by position.

Axes with ticks are what costs time in matplotlib, and engines that look for room for them draw
everything twice. Images need no ticks, so one area without any holds all images of a figure, and
every position is known beforehand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

BAR = 0.75
"""Inches that a colour bar with its numbers takes, from the edge of the image."""
_BAR_GAP, _BAR_WIDTH, _BAR_TIP, _TICK = 0.06, 0.12, 0.08, 0.04
_OUTLINE = "#ff4d4d"
SMALL, NORMAL = 7, 9
"""Sizes of letters, points: at the width of a page none is below 9 pixels."""


class Box(NamedTuple):
    """A rectangle of the canvas, inches from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of this size, and its area: inches to the right and downwards."""
    figure = Figure(figsize=(width, height))
    # Images that lie in one area are else melted into one, on the pixels of the screen.
    figure.suppressComposite = True
    area = figure.add_axes((0, 0, 1, 1))
    area.set_axis_off()
    area.set_xlim(0, width)
    area.set_ylim(height, 0)
    return figure, area


def picture(
    area: Axes,
    box: Box,
    values: NDArray[Any],
    limits: tuple[float, float],
    colours: str | Colormap = "gray",
) -> None:
    """An image over the whole of ``box``; black where there is no value."""
    chosen = colormaps[colours] if isinstance(colours, str) else colours
    area.imshow(
        values, vmin=limits[0], vmax=limits[1], cmap=chosen.with_extremes(bad="black"),
        interpolation="none", aspect="auto",
        extent=(box.x, box.x + box.width, box.y + box.height, box.y),
    )  # fmt: skip


def outline(area: Axes, box: Box, mask: NDArray[np.bool_], width: float = 0.8) -> None:
    """The border of a mask that is spread over ``box``; nothing if there is none."""
    if not mask.any() or mask.all():
        return
    x, y = (
        start + (np.arange(count) + 0.5) * size / count
        for start, size, count in (
            (box.x, box.width, mask.shape[1]), (box.y, box.height, mask.shape[0])
        )
    )  # fmt: skip
    area.contour(x, y, mask.astype(float), levels=[0.5], colors=_OUTLINE, linewidths=width)


def words(area: Axes, x: float, y: float, text: str, size: int = NORMAL, **how: Any) -> None:
    """Text at a position, by default from there to the right and centred in height."""
    area.text(x, y, text, fontsize=size, **({"ha": "left", "va": "center"} | how))


def colour_bar(area: Axes, box: Box, limits: tuple[float, float], colours: str) -> None:
    """A colour bar to the right of an image in ``box``, open at both ends.

    A common factor of all numbers is above it.
    """
    left, height = box.x + box.width + _BAR_GAP, 0.85 * box.height - 2 * _BAR_TIP
    right, top = left + _BAR_WIDTH, box.y + (box.height - height) / 2
    bottom = top + height
    ramp = np.linspace(1, 0, 256)[:, None]
    picture(area, Box(left, top, _BAR_WIDTH, height), ramp, (0, 1), colours)
    middle = (left + right) / 2
    for end, tip, colour in ((top, top - _BAR_TIP, 1.0), (bottom, bottom + _BAR_TIP, 0.0)):
        face = colormaps[colours](colour)
        area.fill([left, middle, right], [end, tip, end], facecolor=face, linewidth=0)
    around = [left, middle, right, right, middle, left, left]
    edges = [top, top - _BAR_TIP, top, bottom, bottom + _BAR_TIP, bottom, top]
    area.plot(around, edges, color="black", linewidth=0.8)
    low, high = limits
    ticks, labels, factor = tick_labels(low, high)
    heights = [bottom - (tick - low) / (high - low) * height for tick in ticks]
    marks = [x for _ in ticks for x in (right, right + _TICK, np.nan)]
    area.plot(marks, np.repeat(heights, 3), color="black", linewidth=0.8)
    for y, label in zip(heights, labels, strict=True):
        words(area, right + 1.8 * _TICK, y, label, SMALL, va="center_baseline")
    if factor:
        words(area, right, top - 1.3 * _BAR_TIP, factor, SMALL, va="bottom")


def tick_labels(low: float, high: float) -> tuple[list[float], list[str], str]:
    """Up to five round numbers between two, their labels, and the factor taken out of them."""
    slack = 1e-9 * (high - low)
    found = MaxNLocator(4).tick_values(low, high)
    ticks = [float(tick) for tick in found if low - slack <= tick <= high + slack]
    form = ScalarFormatter()
    form.create_dummy_axis()
    side: Any = form.axis
    side.set_view_interval(low, high)
    side.set_data_interval(low, high)
    form.set_powerlimits((-3, 4))
    labels = form.format_ticks(ticks)
    return ticks, labels, form.get_offset()


class Frame(NamedTuple):
    """Size of a plot with what is around its axes, inches: numbers and names of the axes."""

    width: float
    height: float
    left: float
    bottom: float
    top: float
    right: float = 0.15


def plots(count: int, columns: int, frame: Frame) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` plots of one size, in rows; no engine has to look for room."""
    rows = -(-count // columns)
    width, height = frame.width * columns, frame.height * rows
    figure = Figure(figsize=(width, height))
    across = (frame.width - frame.left - frame.right) / width
    up = (frame.height - frame.bottom - frame.top) / height
    axes = []
    for position in range(count):
        row, column = divmod(position, columns)
        left = (column * frame.width + frame.left) / width
        bottom = ((rows - 1 - row) * frame.height + frame.bottom) / height
        axes.append(figure.add_axes((left, bottom, across, up)))
    return figure, axes
