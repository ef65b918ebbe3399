"""Images and the viewer's library as text that lies inside a page.

Figures whose lines and letters matter are SVG; images of voxels are compressed rasters.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, features


@dataclass(frozen=True)
class Fineness:
    """How finely figures of voxels are stored."""

    dpi: int = 110
    quality: int = 85
    """Of WebP, 0 to 100."""


_SVG_SAFE = " /:;,=()-+.'!*~@?$&\n"
"""What may stand in a data URI between double quotes as it is."""


def to_svg(figure: Figure) -> str:
    """SVG text without time stamp and with stable ids, so that reruns are byte-identical."""
    buffer = io.StringIO()
    # No DPI above 100: the raster inside is the voxel grid, more only makes pages heavy.
    with rc_context({"svg.hashsalt": "bids_brnn", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", dpi=100, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def svg_uri(figure: Figure) -> str:
    """A figure of lines as the source of an image."""
    return f"data:image/svg+xml,{quote(to_svg(figure), safe=_SVG_SAFE)}"


def raster_uri(figure: Figure, fineness: Fineness = Fineness()) -> str:
    """A figure of voxels as the source of an image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(fineness.dpi)
    drawn = FigureCanvasAgg(figure)
    drawn.draw()
    image = Image.fromarray(np.asarray(drawn.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    if features.check("webp"):
        image.save(buffer, "WEBP", quality=fineness.quality, method=1)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    image.quantize(256).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pixels_uri(values: NDArray[Any], limits: tuple[float, float], colours: str) -> str:
    """A raster with one pixel per voxel; black where there is no value.

    Parameters
    ----------
    values
        ``(rows, columns)``, NaN where there is none.
    limits
        What the ends of the colour table mean.
    colours
        Name of a colour table of matplotlib.
    """
    low, high = limits
    finite = np.isfinite(values)
    unit = np.clip((np.where(finite, values, low) - low) / (high - low), 0, 1)
    index = np.where(finite, 1 + np.rint(254 * unit), 0).astype(np.uint8)
    image = Image.fromarray(index, "P")
    steps = colormaps[colours](np.linspace(0, 1, 255))[:, :3]
    image.putpalette([0, 0, 0, *np.rint(255 * steps).astype(int).ravel().tolist()])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def outlined_uri(image: NDArray[Any], edges: NDArray[np.bool_]) -> str:
    """A grey image, values 0 to 1, with red pixels where ``edges`` are."""
    grey = np.rint(253 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(np.where(edges, np.uint8(255), grey), "P")
    ramp = np.repeat(np.rint(np.arange(254) * 255 / 253).astype(int), 3).tolist()
    picture.putpalette([*ramp, 255, 255, 255, 255, 70, 70])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
