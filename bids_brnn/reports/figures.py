"""Figures of the report: arrays in, matplotlib figure out; no files, no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bids_brnn.reports.content import LITERATURE, Array, MapView

Mask = NDArray[np.bool_]
MAX_SLICES = 7
PAGE_WIDTH = 11.5
"""Inches; what the column of the page shows at full size."""
TISSUE_COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#4d4d4d")


def pick_slices(mask: Mask, count: int = MAX_SLICES) -> list[int]:
    """Indices along the last axis, evenly spread over the slices that the mask touches."""
    touched = np.flatnonzero(mask.any(axis=(0, 1)))
    if touched.size == 0:
        return [mask.shape[2] // 2]
    picks = np.linspace(0, touched.size - 1, min(count, touched.size)).round().astype(int)
    return [int(touched[pick]) for pick in picks]


def display_range(view: MapView, mask: Mask, *, from_zero: bool = False) -> tuple[float, float]:
    """Colour range of a map: its own, else robust percentiles inside the mask.

    ``from_zero`` is for standard deviations: from 0 to at most four times the median.
    """
    if view.display is not None:
        return view.display
    inside = view.values[mask]
    inside = inside[np.isfinite(inside)]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(inside, [2, 98]))
    if from_zero:
        # A few undetermined voxels (fluid) would leave all others black.
        low, high = 0.0, min(high, 4 * float(np.median(inside)))
    return (low, high) if high > low else (low, low + max(abs(low), 1e-12))


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


def blank(axis: Axes) -> None:
    """Take away ticks and frame."""
    # Invisible axes cost the layout nothing; a label beside the first image needs one of them.
    axis.set_yticks([])
    axis.xaxis.set_visible(False)
    axis.yaxis.set_visible(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def mosaic(
    views: Sequence[MapView], mask: Mask, *, colours: str = "viridis", from_zero: bool = False
) -> Figure:
    """Every map of ``views``: a row of slices per map, or a grid of maps for a single slice."""
    slices, window = pick_slices(mask), crop(mask)
    if len(slices) == 1:
        columns = min(len(views), 3)
        rows = -(-len(views) // columns)
        cells = [(view, slices[0]) for view in views]
    else:
        columns, rows = len(slices), len(views)
        cells = [(view, index) for view in views for index in slices]
    sample = plane(mask, slices[0], window)
    width = 2.9 if len(slices) == 1 else min(2.4, PAGE_WIDTH / len(slices))
    height = width * sample.shape[0] / sample.shape[1] + (0.35 if len(slices) == 1 else 0.12)
    # Cells of known size need no layout engine, which would cost more than all the drawing.
    size = (width * columns + 1.0, height * rows + 0.2)
    single = len(slices) == 1
    margins = {
        "left": 0.3 / size[0],
        "right": 1 - 0.1 / size[0],
        "bottom": 0.05 / size[1],
        "top": 1 - (0.3 if single else 0.15) / size[1],
        "wspace": 0.3 if single else 0.04,
        "hspace": 0.35 / height if single else 0.06,
    }
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins).ravel()
    for axis in axes:
        blank(axis)
    for position, (view, index) in enumerate(cells):
        axis = axes[position]
        low, high = display_range(view, mask, from_zero=from_zero)
        shown = np.where(mask, view.values, np.nan)
        image = axis.imshow(
            plane(shown, index, window), vmin=low, vmax=high, cmap=colours, interpolation="none"
        )
        axis.set_facecolor("black")
        if len(slices) == 1:
            axis.set_title(title_of(view), fontsize=9)
            _colour_bar(figure, image, [axis])
        elif position % columns == columns - 1:
            _colour_bar(figure, image, [axes[position - columns + 1 + k] for k in range(columns)])
        if len(slices) > 1 and position % columns == 0:
            axis.yaxis.set_visible(True)
            axis.set_ylabel(title_of(view), fontsize=9)
    return figure


def title_of(view: MapView) -> str:
    """Name with unit, without a unit for pure numbers."""
    return view.name if view.unit in ("1", "") else f"{view.name} ({view.unit})"


def _colour_bar(figure: Figure, image: Any, axes: Sequence[Axes]) -> None:
    bar = figure.colorbar(
        image, ax=list(axes), shrink=0.85, pad=0.01, fraction=0.05, extend="both",
        ticks=MaxNLocator(4),
    )  # fmt: skip
    bar.ax.tick_params(labelsize=7)
    bar.ax.ticklabel_format(style="sci", scilimits=(-3, 4))
    bar.ax.yaxis.set_offset_position("left")  # on the other side it would lie on the image
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def mask_outline(image: Array, mask: Mask) -> Figure:
    """The mask's outline on the series' reference image."""
    slices = pick_slices(mask)
    window = (slice(None), slice(None))
    sample = plane(mask, slices[0], window)
    width = 4.0 if len(slices) == 1 else min(2.4, PAGE_WIDTH / len(slices))
    size = (width * len(slices), width * sample.shape[0] / sample.shape[1])
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(slices), squeeze=False)[0]
    high = float(np.percentile(image[np.isfinite(image)], 99.5)) or 1.0
    for axis, index in zip(axes, slices, strict=True):
        blank(axis)
        shown, outline = plane(image, index, window), plane(mask, index, window)
        axis.imshow(shown, cmap="gray", vmin=0, vmax=high, interpolation="none")
        if outline.any() and not outline.all():
            axis.contour(outline.astype(float), levels=[0.5], colors="#ff4d4d", linewidths=0.8)
    return figure


def histograms(
    views: Sequence[MapView],
    mask: Mask,
    labels: NDArray[np.int_] | None,
    names: Mapping[int, str],
) -> Figure:
    """Distribution of every map, by tissue where labels exist, with literature values as lines."""
    columns = min(3, len(views))
    rows = -(-len(views) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.3 * rows), layout="tight")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    groups = _groups(mask, labels, names)
    for axis, view in zip(axes, views, strict=False):
        low, high = display_range(view, mask)
        for (name, inside), colour in zip(groups.items(), TISSUE_COLOURS * 4, strict=False):
            values = view.values[inside]
            values = values[np.isfinite(values)]
            if values.size:
                axis.hist(
                    np.clip(values, low, high), bins=48, range=(low, high), density=True,
                    histtype="step", color=colour, label=f"{name} (n={values.size})",
                )  # fmt: skip
        for tissue, value, source in LITERATURE.get(view.name, ()):
            if low <= value <= high:
                axis.axvline(value, color="0.4", linestyle=":", linewidth=1)
                axis.annotate(
                    tissue, (value, 0.98), xycoords=("data", "axes fraction"), fontsize=6,
                    rotation=90, va="top", ha="right", color="0.3", annotation_clip=True,
                    gid=source,
                )  # fmt: skip
        axis.set_xlabel(title_of(view), fontsize=8)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    for axis in axes[len(views) :]:
        axis.set_visible(False)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=6, frameon=False)
    return figure


def _groups(
    mask: Mask, labels: NDArray[np.int_] | None, names: Mapping[int, str]
) -> dict[str, Mask]:
    if labels is None:
        return {"mask": mask}
    groups: dict[str, Mask] = {}
    for index in np.unique(labels[mask]):
        if index == 0:
            continue
        # Both hemispheres together: colours are for tissues.
        name = names.get(int(index), str(index)).removeprefix("Left-").removeprefix("Right-")
        groups[name] = groups.get(name, False) | (mask & (labels == index))
    return groups if 0 < len(groups) <= len(TISSUE_COLOURS) else {"mask": mask}


def agreement(first: MapView, second: MapView, mask: Mask, names: tuple[str, str]) -> Figure:
    """Scatter and Bland-Altman plot of one parameter from two estimators."""
    inside = mask & np.isfinite(first.values) & np.isfinite(second.values)
    x, y = second.values[inside], first.values[inside]
    figure = Figure(figsize=(7.2, 2.9), layout="tight")
    left, right = figure.subplots(1, 2)
    low, high = display_range(second, mask)
    left.hexbin(x, y, gridsize=60, extent=(low, high, low, high), mincnt=1, cmap="magma_r")
    left.plot([low, high], [low, high], color="0.3", linewidth=0.8)
    left.set_xlabel(f"{title_of(second)}, {names[1]}", fontsize=8)
    left.set_ylabel(f"{title_of(first)}, {names[0]}", fontsize=8)
    middle, difference = (x + y) / 2, y - x
    spread = 1.96 * float(difference.std()) if difference.size else 0.0
    bias = float(difference.mean()) if difference.size else 0.0
    limit = max(3 * spread / 1.96, 1e-12)
    right.hexbin(
        middle, difference, gridsize=60, mincnt=1, cmap="magma_r",
        extent=(low, high, bias - limit, bias + limit),
    )  # fmt: skip
    for value, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
        right.axhline(value, color="#2166ac", linestyle=style, linewidth=0.9)
    right.set_xlabel(f"mean of both, {title_of(first)}", fontsize=8)
    right.set_ylabel(f"{names[0]} - {names[1]}", fontsize=8)
    for axis in (left, right):
        axis.tick_params(labelsize=7)
        axis.ticklabel_format(style="sci", scilimits=(-3, 4))
    return figure
