"""A figure as marks at known places, and its SVG: images, lines, words; no engine lays it out.

Every place is known beforehand, so that a figure costs what its marks cost, and no
more. Letters are those of the reader, images keep their voxels and are enlarged when looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

Points = NDArray[np.float64]
_UNIT = 100.0  # of the SVG, per inch: a tenth of one is written
_POINT = _UNIT / 72
_FONT = "DejaVu Sans,Verdana,Helvetica,sans-serif"
_ANCHORS = {"left": "", "center": " text-anchor='middle'", "right": " text-anchor='end'"}
_RISES = {"top": 0.76, "center": 0.36, "baseline": 0.0, "bottom": -0.24}
"""Heights of letters: from where they are to stand to their base line."""
DASHED, DOTTED = (4.0, 2.0), (1.0, 1.6)
_NO_LETTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What may not stand in XML, however it is escaped: one of them, and there is no figure."""
LETTER = 0.6
"""Width of a letter over its size, about."""


class Box(NamedTuple):
    """A rectangle of a drawing, inches from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Raster:
    """An image over the whole of ``box``."""

    box: Box
    pixels: NDArray[np.uint8]
    """``(rows, columns)``, places in ``palette``."""
    palette: tuple[int, ...]
    """Red, green, blue of each place, one after the other."""

    def at_most(self, dpi: float) -> NDArray[np.uint8]:
        """Its pixels, the nearest ones where there are more of them than dots per inch."""
        pixels = self.pixels
        for axis, (there, size) in enumerate(
            zip(self.pixels.shape, (self.box.height, self.box.width), strict=True)
        ):
            shown = max(1, round(dpi * size))
            if there > shown:
                pixels = pixels.take(
                    ((np.arange(shown) + 0.5) * (there / shown)).astype(int), axis
                )
        return pixels


@dataclass(frozen=True)
class Lines:
    """Polylines of one colour, or filled areas."""

    runs: Sequence[Points]
    """Each ``(points, 2)``, inches."""
    colour: str
    width: float = 0.8
    """Points; 0: filled."""
    dash: tuple[float, ...] = ()
    """Points of line and gap."""


@dataclass(frozen=True)
class Dots:
    """Round marks."""

    places: Points
    """``(points, 2)``, inches."""
    colour: str
    size: float = 4.0
    """Diameter, points."""


@dataclass(frozen=True)
class Words:
    """Text from ``x`` to the right, or as ``across`` says, in the height that ``up`` says."""

    x: float
    y: float
    text: str
    size: float
    across: str = "left"
    up: str = "center"
    colour: str = "#000"
    upright: bool = False
    """Turned by a quarter, to be read upwards; ``across`` and ``up`` are those of the reader."""


Mark = Raster | Lines | Dots | Words


@dataclass
class Drawing:
    """Marks on a white ground of some inches, later ones over earlier ones."""

    width: float
    height: float
    dpi: float = 96.0
    """Pixels of a page per inch, where there is room."""
    marks: list[Mark] = field(default_factory=list)

    def add(self, *marks: Mark) -> None:
        """Put marks over what is there."""
        self.marks.extend(marks)

    def svg(self, encoded: Callable[[Raster], str]) -> str:
        """The drawing as SVG, whose images are links that ``encoded`` gives; no double quotes."""
        width, height = (f"{_UNIT * side:.0f}" for side in (self.width, self.height))
        pixels = [f"{self.dpi * side:.0f}" for side in (self.width, self.height)]
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{pixels[0]}' height='{pixels[1]}' "
            f"viewBox='0 0 {width} {height}' font-family='{_FONT}'>"
            f"<path fill='#fff' d='M0 0H{width}V{height}H0z'/>"
        ]
        parts += [_element(mark, encoded) for mark in self.marks]
        return "".join([*parts, "</svg>"])


def _element(mark: Mark, encoded: Callable[[Raster], str]) -> str:
    if isinstance(mark, Raster):
        x, y, width, height = (_number(side) for side in mark.box)
        return (
            f"<image x='{x}' y='{y}' width='{width}' height='{height}' preserveAspectRatio='none' "
            f"style='image-rendering:pixelated' href='{encoded(mark)}'/>"
        )
    if isinstance(mark, Words):
        return _text(mark)
    if isinstance(mark, Dots):
        path = "".join(f"M{_number(x)} {_number(y)}h0" for x, y in mark.places.tolist())
        how = f"stroke-width='{_POINT * mark.size:.2f}' stroke-linecap='round'"
        return f"<path stroke='{mark.colour}' {how} d='{path}'/>"
    path = "".join(map(_path, mark.runs))
    if not mark.width:
        return f"<path fill='{mark.colour}' d='{path}'/>"
    dash = " ".join(f"{_POINT * part:.1f}" for part in mark.dash)
    how = f"stroke-width='{_POINT * mark.width:.2f}'" + f" stroke-dasharray='{dash}'" * bool(dash)
    return f"<path fill='none' stroke='{mark.colour}' {how} d='{path}'/>"


def _path(run: Points) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in run.tolist())


def _text(mark: Words) -> str:
    size = _POINT * mark.size
    lines = _NO_LETTER.sub("\N{REPLACEMENT CHARACTER}", mark.text).split("\n")
    # The middle of several lines is that of the first one's place.
    down = _RISES[mark.up] * size - (1.2 * size * (len(lines) - 1) / 2 if len(lines) > 1 else 0)
    x, y = _UNIT * mark.x, _UNIT * mark.y
    turn = f" transform='rotate(-90 {x:.1f} {y:.1f})'" if mark.upright else ""
    colour = "" if mark.colour == "#000" else f" fill='{mark.colour}'"
    how = f"font-size='{size:.1f}'{_ANCHORS[mark.across]}{colour}{turn}"
    return "".join(
        f"<text x='{x:.1f}' y='{y + down + 1.2 * size * k:.1f}' {how}>{escape(line)}</text>"
        for k, line in enumerate(lines)
    )


def _number(inches: float) -> str:
    return f"{_UNIT * inches:.1f}".removesuffix(".0")
