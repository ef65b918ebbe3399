"""Parts of figures of lines: axes with numbers and names, curves, bars of error, legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brnn.reports.canvas import SMALL
from bids_brnn.reports.drawing import LETTER, Box, Dots, Drawing, Lines, Points, Words
from bids_brnn.reports.ticks import FEW, MINUS, tick_labels

Limits = tuple[float, float]
Scale = Callable[[NDArray[np.float64]], NDArray[np.float64]]
AXIS, GRID = "#000", "#e3e3e3"
CURVES = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
NAMED = 0.25
"""Inches below a row of plots for the name of the horizontal axis, where rows share it."""
_LABEL = 8  # points
_TICK = 0.04
_ROW = 0.17  # inches of a row of a legend
_KEY = 0.22  # inches of the line of an entry


class Frame(NamedTuple):
    """Size of a plot with what is around its axes, inches: numbers and names of the axes."""

    width: float
    height: float
    left: float
    bottom: float
    top: float
    right: float = 0.15


def areas(
    count: int, columns: int, frame: Frame, head: float = 0.0, foot: float = 0.0
) -> tuple[Drawing, list[Box]]:
    """A drawing of plots of one size in rows between some inches, and where each lies."""
    rows = -(-count // columns)
    drawing = Drawing(frame.width * columns, frame.height * rows + head + foot)
    across = frame.width - frame.left - frame.right
    up = frame.height - frame.bottom - frame.top
    boxes = []
    for position in range(count):
        row, column = divmod(position, columns)
        x, y = column * frame.width + frame.left, row * frame.height + frame.top + head
        boxes.append(Box(x, y, across, up))
    return drawing, boxes


def padded(values: ArrayLike, *, from_zero: bool = False) -> Limits:
    """Ends of an axis that hold all values, with a little room."""
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    if not found.size:
        return 0.0, 1.0
    low, high = float(found.min()), float(found.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (0.0 if from_zero else low - room), high + room


def _same(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


@dataclass(frozen=True)
class Plot:
    """Axes in a box of a drawing."""

    drawing: Drawing
    box: Box
    x: Limits
    """What the left and right ends mean."""
    y: Limits
    """What the lower and upper ends mean."""
    scale: Scale = _same
    """Of the horizontal axis: what is proportional to distances."""

    def places(self, x: ArrayLike, y: ArrayLike) -> Points:
        """Inches ``(points, 2)`` of values."""
        left, right = self.scale(np.asarray(self.x, np.float64))
        across = (self.scale(np.asarray(x, np.float64)) - left) / (right - left)
        up = (np.asarray(y, np.float64) - self.y[0]) / (self.y[1] - self.y[0])
        across, up = np.broadcast_arrays(across, up)
        box = self.box
        return np.column_stack(
            [box.x + box.width * across.ravel(), box.y + box.height * (1 - up.ravel())]
        )

    def line(
        self,
        x: ArrayLike,
        y: ArrayLike,
        colour: str,
        width: float = 0.9,
        dash: tuple[float, ...] = (),
    ) -> None:
        """A curve through points; it is broken where there is no value."""
        points = self.places(x, y)
        breaks = np.flatnonzero(~np.isfinite(points).all(axis=1))
        runs = [run[np.isfinite(run).all(axis=1)] for run in np.split(points, breaks)]
        self.drawing.add(Lines([run for run in runs if len(run) > 1], colour, width, dash))

    def steps(self, edges: ArrayLike, heights: ArrayLike, colour: str, width: float = 1.0) -> None:
        """A constant height between each two edges."""
        x, y = np.repeat(np.asarray(edges, float), 2)[1:-1], np.repeat(np.asarray(heights), 2)
        self.line(x, y, colour, width)

    def dots(self, x: ArrayLike, y: ArrayLike, colour: str, size: float = 4.0) -> None:
        """A round mark for each point that has a value."""
        points = self.places(x, y)
        self.drawing.add(Dots(points[np.isfinite(points).all(axis=1)], colour, size))

    def level(self, y: float, colour: str, width: float, dash: tuple[float, ...] = ()) -> None:
        """A line from the left to the right end."""
        self.line(self.x, [y, y], colour, width, dash)

    def upright(self, x: float, colour: str, width: float, dash: tuple[float, ...] = ()) -> None:
        """A line from the lower to the upper end."""
        self.line([x, x], self.y, colour, width, dash)

    def edges(self) -> None:
        """The rectangle of the axes."""
        x, y, width, height = self.box
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
        self.drawing.add(Lines([np.array(corners)], AXIS, 0.8))

    def below(
        self,
        name: str,
        ticks: Sequence[float] | None = None,
        *,
        numbers: bool = True,
        grid: bool = False,
    ) -> None:
        """Numbers and name of the horizontal axis; round numbers if no ``ticks`` are given."""
        if ticks is None:
            ticks, labels, factor = tick_labels(*self.x, 6, FEW)
        else:
            labels, factor = [f"{tick:g}".replace("-", MINUS) for tick in ticks], ""
        foot, top = self.box.y + self.box.height, self.box.y
        places = self.places(ticks, self.y[0])[:, 0].tolist() if ticks else []
        self._grid([np.array([[x, top], [x, foot]]) for x in places if grid])
        marks = [np.array([[x, foot], [x, foot + _TICK]]) for x in places]
        self.drawing.add(Lines(marks, AXIS))
        if numbers:
            for x, label in zip(places, labels, strict=True):
                self.drawing.add(Words(x, foot + 1.8 * _TICK, label, SMALL, "center", "top"))
        right = self.box.x + self.box.width
        if factor:
            self.drawing.add(Words(right, foot + 0.24, factor, SMALL, "right", "top"))
        if name:
            middle = self.box.x + self.box.width / 2
            self.drawing.add(Words(middle, foot + 0.24, name, _LABEL, "center", "top"))

    def beside(self, name: str, *, grid: bool = False, room: float = 0.48, most: int = 6) -> None:
        """Round numbers of the vertical axis, and its name ``room`` inches to the left."""
        ticks, labels, factor = tick_labels(*self.y, most, FEW)
        left, right = self.box.x, self.box.x + self.box.width
        places = self.places(self.x[0], ticks)[:, 1].tolist() if ticks else []
        self._grid([np.array([[left, y], [right, y]]) for y in places if grid])
        marks = [np.array([[left - _TICK, y], [left, y]]) for y in places]
        self.drawing.add(Lines(marks, AXIS))
        for y, label in zip(places, labels, strict=True):
            self.drawing.add(Words(left - 1.8 * _TICK, y, label, SMALL, "right"))
        if factor:
            self.drawing.add(Words(left, self.box.y - 0.03, factor, SMALL, "left", "bottom"))
        middle = self.box.y + self.box.height / 2
        self.drawing.add(
            Words(left - room, middle, name, _LABEL, "center", "bottom", upright=True)
        )

    def _grid(self, runs: list[Points]) -> None:
        if runs:
            self.drawing.add(Lines(runs, GRID, 0.6))


Entry = tuple[str, str]
"""Name and colour."""


def legend_rows(entries: Sequence[Entry], width: float) -> list[list[Entry]]:
    """Entries in rows that are no wider than some inches."""
    rows: list[list[Entry]] = []
    used = width
    for entry in entries:
        size = _entry_width(entry)
        if used + size > width:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += size
    return rows


def legend(drawing: Drawing, x: float, y: float, rows: Sequence[Sequence[Entry]]) -> float:
    """Rows of lines with their names, from an upper left corner; the inches they take."""
    for k, row in enumerate(rows):
        left, middle = x, y + (k + 0.5) * _ROW
        for entry in row:
            run = np.array([[left, middle], [left + _KEY, middle]])
            drawing.add(Lines([run], entry[1], 1.6))
            drawing.add(Words(left + _KEY + 0.06, middle, entry[0], SMALL))
            left += _entry_width(entry)
    return _ROW * len(rows)


def legend_height(rows: Sequence[Sequence[Entry]]) -> float:
    """Inches that :func:`legend` will take."""
    return _ROW * len(rows)


def _entry_width(entry: Entry) -> float:
    return _KEY + 0.06 + LETTER * SMALL / 72 * len(entry[0]) + 0.15
