"""Figures of the report: arrays in, drawing out; no files, no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_brnn.regions.labels import labels_in
from bids_brnn.reports.canvas import (
    BAR,
    canvas,
    colour_bar,
    indexed,
    outline,
    palette,
    picture,
    words,
)
from bids_brnn.reports.content import LITERATURE, Array, MapView
from bids_brnn.reports.drawing import DASHED, DOTTED, Box, Drawing, Raster
from bids_brnn.reports.plots import Frame, Plot, areas, legend, legend_height, legend_rows

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]
MAX_SLICES = 7
PAGE_WIDTH = 11.5
"""Inches; what the column of the page shows at full size."""
GAP = 0.06
"""Inches between two images."""
_ENOUGH = 50_000  # voxels for a range of colours
_BINS = (64, 48)  # of a scatter plot
_BARS = 48  # of a histogram
TISSUE_COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#4d4d4d")


def pick_slices(mask: Mask, count: int = MAX_SLICES) -> list[int]:
    """Indices along the last axis, evenly spread over the slices that the mask touches."""
    touched = np.flatnonzero(mask.any(axis=(0, 1)))
    if touched.size == 0:
        return [mask.shape[2] // 2]
    picks = np.linspace(0, touched.size - 1, min(count, touched.size)).round().astype(int)
    return [int(touched[pick]) for pick in picks]


def display_range(
    view: MapView, places: Places, *, from_zero: bool = False
) -> tuple[float, float]:
    """Colour range of a map: its own, else robust percentiles at ``places``.

    These are the flat indices of the voxels of a mask, of which colours need some: percentiles of
    a whole brain would take longer than drawing it. Where half of them have no value, as in a
    map that was estimated in a sample, all are asked.

    ``from_zero`` is for standard deviations: from 0 to at most four times the median.
    """
    if view.display is not None:
        return view.display
    some = places[:: max(1, places.size // _ENOUGH)]
    inside = _finite(view.values, some)
    if 2 * inside.size < some.size:
        inside = _finite(view.values, places)
    if inside.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(inside, [2, 98]))
    if from_zero:
        # A few undetermined voxels (fluid) would leave all others black.
        low, high = 0.0, min(high, 4 * float(np.median(inside)))
    return (low, high) if high > low else (low, low + max(abs(low), 1e-12))


def _finite(values: Array, places: Places) -> Array:
    found: Array = values[np.unravel_index(places, values.shape)]
    return found[np.isfinite(found)]


def crop(mask: Mask, margin: int = 2) -> tuple[slice, slice]:
    """Rows and columns around the mask; the whole plane where the mask is empty."""
    if not mask.any():
        return slice(None), slice(None)
    limits = []
    for axis in (0, 1):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        limits.append(slice(max(hit[0] - margin, 0), hit[-1] + margin + 1))
    return limits[0], limits[1]


def plane(values: NDArray[Any], index: int, window: tuple[slice, slice]) -> NDArray[Any]:
    """One axial slice as radiologists look at it: anterior up, left of the array left."""
    return np.rot90(values[window[0], window[1], index])


def mosaic(
    views: Sequence[MapView],
    mask: Mask,
    *,
    colours: str = "viridis",
    from_zero: bool = False,
    count: int = MAX_SLICES,
) -> Drawing:
    """Every map of ``views``: a row of slices per map, or a grid of maps for few slices."""
    slices, window = pick_slices(mask, count), crop(mask)
    single = len(slices) == 1
    rows_of_slice, columns_of_slice = plane(mask, slices[0], window).shape
    # Title above the only slice of a map, else on its side at the left of the row.
    head, side = (0.28, 0.1) if single else (0.1, 0.3)
    room = PAGE_WIDTH - side - BAR
    width = min(2.2, room / len(slices) - GAP)
    height = width * rows_of_slice / columns_of_slice
    cell = (side + len(slices) * (width + GAP) + BAR, height + head)
    columns = min(len(views), 3 if single else max(1, int(PAGE_WIDTH // cell[0])))
    rows = -(-len(views) // columns)
    figure = canvas(cell[0] * columns, cell[1] * rows + 0.1)
    places = np.flatnonzero(mask)
    for position, view in enumerate(views):
        limits = display_range(view, places, from_zero=from_zero)
        left, top = position % columns * cell[0] + side, position // columns * cell[1] + head
        boxes = [Box(left + k * (width + GAP), top, width, height) for k in range(len(slices))]
        for box, index in zip(boxes, slices, strict=True):
            inside = plane(mask, index, window)
            shown = np.where(inside, plane(view.values, index, window), np.nan)
            picture(figure, box, shown, limits, colours)
        colour_bar(figure, boxes[-1], limits, colours)
        if single:
            words(
                figure, left + width / 2, top - 0.05, title_of(view), across="center", up="bottom"
            )
        else:
            beside(figure, boxes[0], title_of(view))
    return figure


def beside(figure: Drawing, box: Box, text: str) -> None:
    """Words on their side at the left of an image."""
    words(
        figure,
        box.x - 0.05,
        box.y + box.height / 2,
        text,
        across="center",
        up="bottom",
        upright=True,
    )


def title_of(view: MapView) -> str:
    """Name with unit, without a unit for pure numbers."""
    return view.name if view.unit in ("1", "") else f"{view.name} ({view.unit})"


def mask_outline(image: Array, mask: Mask, count: int = MAX_SLICES) -> Drawing:
    """The mask's outline on the series' reference image."""
    slices = pick_slices(mask, count)
    window = (slice(None), slice(None))
    rows, columns = plane(mask, slices[0], window).shape
    width = 4.0 if len(slices) == 1 else min(2.3, PAGE_WIDTH / len(slices) - GAP)
    height = width * rows / columns
    figure = canvas((width + GAP) * len(slices), height)
    found = image[np.isfinite(image)]
    high = (float(np.percentile(found, 99.5)) if found.size else 0.0) or 1.0
    for position, index in enumerate(slices):
        box = Box(position * (width + GAP), 0, width, height)
        picture(figure, box, plane(image, index, window), (0, high))
        outline(figure, box, plane(mask, index, window))
    return figure


def histograms(
    views: Sequence[MapView],
    mask: Mask,
    groups: Mapping[str, Mask],
) -> Drawing:
    """Distribution of every map, by tissue (:func:`tissue_groups`), literature values as lines."""
    colours = dict(zip(groups, TISSUE_COLOURS, strict=False))
    sizes = {name: int(inside.sum()) for name, inside in groups.items()}
    columns = min(3, len(views))
    frame = Frame(3.4, 2.1, left=0.15, bottom=0.55, top=0.1)
    keys = [(f"{name} (n={sizes[name]})", colour) for name, colour in colours.items()]
    rows = legend_rows(keys, columns * frame.width - 2 * frame.left)
    figure, boxes = areas(len(views), columns, frame, legend_height(rows) + 0.05)
    legend(figure, frame.left, 0.03, rows)
    places = np.flatnonzero(mask)
    for box, view in zip(boxes, views, strict=True):
        low, high = display_range(view, places)
        edges = np.linspace(low, high, _BARS + 1)
        shares = {name: _shares(view.values[inside], edges) for name, inside in groups.items()}
        most = max(float(share.max()) for share in shares.values())
        plot = Plot(figure, box, (low, high), (0.0, 1.05 * most or 1.0))
        for name, share in shares.items():
            if share.any():
                plot.steps(edges, share, colours[name])
        for tissue, value, _ in LITERATURE.get(view.name, ()):
            if low <= value <= high:
                plot.upright(value, "#666", 1.0, DOTTED)
                x = float(plot.places(value, 0.0)[0, 0]) - 0.02
                how = {"across": "right", "up": "bottom", "upright": True, "colour": "#4d4d4d"}
                words(figure, x, box.y + 0.02 * box.height, tissue, 6, **how)
        plot.edges()
        plot.below(title_of(view))
    return figure


def _shares(values: Array, edges: Array) -> Array:
    """Share of values in each of equal bins; those beyond the ends are in the outer ones."""
    values = values[np.isfinite(values)]
    clipped = np.clip(values, edges[0], edges[-1])
    counts, _ = np.histogram(clipped, bins=len(edges) - 1, range=(edges[0], edges[-1]))
    return counts / max(1, values.size)


def tissue_groups(
    mask: Mask, labels: NDArray[np.int_] | None, names: Mapping[int, str]
) -> dict[str, Mask]:
    """Where each tissue lies; the whole mask where there are no labels, or too many."""
    if labels is None:
        return {"mask": mask}
    groups: dict[str, Mask] = {}
    for index in labels_in(labels[mask]):
        # Both hemispheres together: colours are for tissues.
        name = names.get(index, str(index)).removeprefix("Left-").removeprefix("Right-")
        groups[name] = groups.get(name, False) | (mask & (labels == index))
    return groups if 0 < len(groups) <= len(TISSUE_COLOURS) else {"mask": mask}


class Agreement(NamedTuple):
    """Two plots of the same voxels."""

    figure: Drawing
    scatter: Plot
    bland_altman: Plot


def agreement(first: MapView, second: MapView, mask: Mask, names: tuple[str, str]) -> Agreement:
    """Scatter and Bland-Altman plot of one parameter from two estimators."""
    inside = mask & np.isfinite(first.values) & np.isfinite(second.values)
    x, y = second.values[inside], first.values[inside]
    middle, difference = (x + y) / 2, y - x
    spread = 1.96 * float(difference.std()) if difference.size else 0.0
    bias = float(difference.mean()) if difference.size else 0.0
    limit = max(3 * spread / 1.96, 1e-12)
    ends = display_range(second, np.flatnonzero(mask))
    figure, (left_box, right_box) = areas(2, 2, Frame(2.9, 2.5, left=0.72, bottom=0.5, top=0.2))
    left = Plot(figure, left_box, ends, ends)
    right = Plot(figure, right_box, ends, (bias - limit, bias + limit))
    _density(left, x, y)
    left.line(ends, ends, "#4d4d4d", 0.8)
    _density(right, middle, difference)
    for value, dash in ((bias, ()), (bias - spread, DASHED), (bias + spread, DASHED)):
        right.level(value, "#2166ac", 0.9, dash)
    for plot, below, side in (
        (left, f"{title_of(second)}, {names[1]}", f"{title_of(first)}, {names[0]}"),
        (right, f"mean of both, {title_of(first)}", f"{names[0]} - {names[1]}"),
    ):
        plot.edges()
        plot.below(below)
        plot.beside(side)
    return Agreement(figure, left, right)


def _density(plot: Plot, x: Array, y: Array) -> None:
    """Points per bin as one image: a page does not grow with the number of voxels.

    The lowest colours are left out: a single voxel would not be seen on white.
    """
    counts = _counts(x, y, (*plot.x, *plot.y))
    shown = np.where(counts > 0, counts, np.nan).T[::-1]
    most = max(float(counts.max()), 1.0)
    pixels = indexed(shown, (-most / 4, most))
    plot.drawing.add(Raster(plot.box, pixels, palette("magma_r", (255, 255, 255))))


def _counts(x: Array, y: Array, extent: tuple[float, float, float, float]) -> Array:
    """Number of points in each bin ``(columns, rows)``; bins are equal, so none is searched."""
    inside, place = np.ones(x.shape, dtype=bool), np.zeros(x.shape, dtype=np.intp)
    for values, n_bins, low, high in ((x, _BINS[0], *extent[:2]), (y, _BINS[1], *extent[2:])):
        bins = np.floor((values - low) * (n_bins / (high - low)))
        bins = np.where(values == high, n_bins - 1, bins)
        good = (bins >= 0) & (bins < n_bins)
        inside &= good
        place = place * n_bins + np.where(good, bins, 0).astype(np.intp)
    return np.bincount(place[inside], minlength=_BINS[0] * _BINS[1]).reshape(_BINS).astype(float)
