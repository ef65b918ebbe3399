"""Figures, images and the viewer's library as text that lies inside a page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, features

from bids_brnn.reports.canvas import indexed, palette
from bids_brnn.reports.drawing import Drawing, Raster
from bids_brnn.reports.figures import MAX_SLICES


@dataclass(frozen=True)
class Fineness:
    """How finely the figures of a page are stored, and how much of its tables is shown."""

    dpi: int = 110
    quality: int = 85
    """Of WebP, 0 to 100."""
    cells: int | None = None
    """Quality of images with one pixel per voxel; None: PNG, which keeps every colour."""
    slices: int = MAX_SLICES
    """Of a map, at most."""
    montage: int = 4
    """Slices of images that stand beside each other in a row, at most."""
    rows: int = 2000
    """Of a table, at most."""


FINEST = Fineness()
_EXACT = 16_384
"""Pixels of an image up to which every colour of it is kept in a page of the finest kind."""
_UNSAFE = re.compile(r"[^ !$'-;=?-Z_a-z~]")
"""What may not stand in a data URI between double quotes as it is."""


def figure_uri(drawing: Drawing, fineness: Fineness = FINEST) -> Markup:
    """A figure as the source of an image, equal marks with equal bytes."""
    text = drawing.svg(lambda image: _raster(image, fineness))
    return Markup(  # noqa: S704 -- quoted
        f"data:image/svg+xml,{_UNSAFE.sub(lambda found: quote(found[0]), text)}"
    )


def _raster(raster: Raster, fineness: Fineness) -> str:
    """The voxels of a figure; not more than its dots."""
    pixels = raster.at_most(fineness.dpi)
    image = Image.fromarray(pixels, "P")
    image.putpalette(raster.palette)
    exact = fineness.cells is None and pixels.size <= _EXACT
    return str(_uri(image, None if exact else fineness.quality))


def _uri(image: Image.Image, quality: int | None) -> Markup:
    """An image as WebP of a quality; as PNG where there is none, or no WebP."""
    buffer = io.BytesIO()
    kind = "png" if quality is None or not features.check("webp") else "webp"
    if kind == "webp":
        image.convert("RGB").save(buffer, "WEBP", quality=quality, method=1)
    else:
        image = image if image.mode == "P" else image.quantize(256)
        image.save(buffer, "PNG", compress_level=6)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Markup(f"data:image/{kind};base64,{text}")  # noqa: S704 -- base64


def pixels_uri(
    values: NDArray[Any],
    limits: tuple[float, float],
    colours: str,
    fineness: Fineness = FINEST,
) -> Markup:
    """A raster with one pixel per voxel; black where there is no value.

    Parameters
    ----------
    values
        ``(rows, columns)``, NaN where there is none.
    limits
        What the ends of the colour table mean.
    colours
        Name of a colour table of matplotlib.
    fineness
        How finely it is stored.
    """
    image = Image.fromarray(indexed(values, limits), "P")
    image.putpalette(palette(colours))
    return _uri(image, fineness.cells)


def outlined_uri(
    image: NDArray[Any], edges: NDArray[np.bool_], fineness: Fineness = FINEST
) -> Markup:
    """A grey image, values 0 to 1, with red pixels where ``edges`` are."""
    grey = np.rint(253 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(np.where(edges, np.uint8(255), grey), "P")
    ramp = np.repeat(np.rint(np.arange(254) * 255 / 253).astype(int), 3).tolist()
    picture.putpalette([*ramp, 255, 255, 255, 255, 70, 70])
    return _uri(picture, fineness.cells)


def gradient(colours: str) -> str:
    """A colour table as a background of CSS, low values left."""
    steps = np.rint(255 * colormaps[colours](np.linspace(0, 1, 9))[:, :3]).astype(int)
    return f"linear-gradient(to right, {', '.join(f'rgb({r},{g},{b})' for r, g, b in steps)})"


@cache
def colour_tables() -> dict[str, list[int]]:
    """Red, green, blue of 256 levels, one after the other, of every table that pages use."""
    names = ("viridis", "magma", "cividis", "RdBu_r", "gray")
    ramp = np.linspace(0, 1, 256)
    return {
        name: np.rint(255 * colormaps[name](ramp)[:, :3]).astype(int).ravel().tolist()
        for name in names
    }


def part(name: str) -> str:
    """Text of a file of this package."""
    return files("bids_brnn.reports").joinpath(name).read_text(encoding="utf-8")


@cache
def niivue() -> str:
    """The viewer's library: base64 of gzip of its script."""
    content = files("bids_brnn.reports").joinpath("vendor/niivue.umd.js.gz").read_bytes()
    return base64.b64encode(content).decode()
