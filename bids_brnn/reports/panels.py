"""The figures of one series, each with what it shows in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_brnn.reports import figures
from bids_brnn.reports.adequacy import adequacy_figure
from bids_brnn.reports.cells import Cell
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView
from bids_brnn.reports.embed import FINEST, Fineness, figure_uri
from bids_brnn.reports.motion import motion_figure
from bids_brnn.reports.protocol import protocol_figure, protocol_words
from bids_brnn.reports.registration import contour_cells, registration_check


@dataclass(frozen=True)
class Panel:
    """A titled figure of a page."""

    name: str
    """For links; letters and digits."""
    title: str
    caption: str
    alt: str
    image: str
    """Source of the image, which lies in it."""
    cells: Sequence[Cell] = ()
    """Images in one row before it; the first two are shown in turns."""


def panels(series: SeriesView, fineness: Fineness = FINEST) -> list[Panel]:
    """Everything to show for a series but comparisons of estimators."""
    return [
        *_preparation(series, fineness), *_maps(series, fineness),
        *_models(series, fineness), *_protocol(series, fineness),
    ]  # fmt: skip


def _preparation(series: SeriesView, fineness: Fineness) -> Iterator[Panel]:
    mask = series.mask
    if series.reference is not None:
        yield Panel(
            "mask", "Mask", "Outline of the mask on the mean magnitude of the series.",
            f"Slices of the mean of the series with the outline of the mask, {int(mask.sum())} "
            "voxels", figure_uri(
                figures.mask_outline(series.reference, mask, fineness.slices), fineness
            ),
        )  # fmt: skip
    if series.reference is not None and series.t1w is not None:
        how = next((words for key, words in series.facts if key == "T1w image"), "")
        figure = registration_check(series.reference, series.t1w, mask, series.voxel_size)
        yield Panel(
            "registration", "Registration",
            "Series, T1w image on the grid of the series, and both in turns; the outline is that "
            f"of the mask. T1w image: {how}.",
            f"Sections of the series and of the T1w image, one over the other. T1w image: {how}",
            figure_uri(figure, fineness), contour_cells(series, fineness),
        )  # fmt: skip
    if series.supplied:
        figure = figures.mosaic(series.supplied, mask, colours="RdBu_r", count=fineness.slices)
        yield Panel(
            "supplied", "Supplied maps", supplied_caption(series),
            _medians(series.supplied, series, fineness), figure_uri(figure, fineness),
        )  # fmt: skip
    if series.motion:
        shift = np.nanmax(np.asarray(series.motion["framewise_displacement"]))
        yield Panel(
            "motion", "Motion between frames",
            "Position of the head in each time frame along and about the axes of the image, "
            "before correction, and framewise displacement.",
            f"Shifts, rotations and framewise displacement, {shift:.2g} mm at most, by frame",
            figure_uri(motion_figure(series.motion), fineness),
        )  # fmt: skip


def _maps(series: SeriesView, fineness: Fineness) -> Iterator[Panel]:
    groups = figures.tissue_groups(series.mask, series.labels, series.label_names)
    for item in series.estimators:
        medians = _medians(item.estimates, series, fineness)
        for suffix, title, views, colours in (
            ("", "", item.estimates, "viridis"),
            ("Std", ": standard deviation", item.uncertainties, "magma"),
            ("Quality", ": quality", item.quality, "cividis"),
        ):
            if views:
                said = _medians(views, series, fineness) if suffix else medians
                caption = "; ".join(f"{view.name}: {view.description}" for view in views) + "."
                figure = figures.mosaic(
                    views,
                    series.mask,
                    colours=colours,
                    from_zero=suffix == "Std",
                    count=fineness.slices,
                )
                yield Panel(
                    f"{item.key}{suffix}", f"{item.title}{title}", caption,
                    f"{item.title}{title}. {said}",
                    figure_uri(figure, fineness),
                )  # fmt: skip
        if item.estimates:
            figure = figures.histograms(item.estimates, series.mask, groups)
            yield Panel(
                f"{item.key}Hist", f"{item.title}: distributions",
                "Values inside the mask, by tissue; dotted: literature values at 3 T.",
                _tissue_words(item, groups, medians), figure_uri(figure, fineness),
            )  # fmt: skip


def _models(series: SeriesView, fineness: Fineness) -> Iterator[Panel]:
    found = adequacy_figure(series)
    if found is not None:
        name, title, caption, figure = found
        alt = "Median and quartiles of m0s in each region, a mark for each model"
        yield Panel(name, title, caption, alt, figure_uri(figure, fineness))


def _protocol(series: SeriesView, fineness: Fineness) -> Iterator[Panel]:
    if series.protocol is not None:
        words = protocol_words(series.protocol)
        figure = figure_uri(protocol_figure(series.protocol), fineness)
        more = "" if series.bounds is None else " What it can measure: table of bounds below."
        yield Panel("protocol", "Protocol", words + more, f"Plot of the protocol: {words}", figure)


def _medians(views: Sequence[MapView], series: SeriesView, fineness: Fineness) -> str:
    """What slices show in one sentence."""
    parts = []
    shown = figures.pick_slices(series.mask, fineness.slices)
    mask = series.mask[..., shown]
    for view in views:
        inside = view.values[..., shown][mask]
        inside = inside[np.isfinite(inside)]
        unit = "" if view.unit in ("1", "") else f" {view.unit}"
        parts.append(f"{view.name} {np.median(inside):.3g}{unit}" if inside.size else view.name)
    return f"Slices of {len(views)} maps; medians in these slices: {', '.join(parts)}"


def _tissue_words(item: EstimatorView, groups: Mapping[str, figures.Mask], medians: str) -> str:
    sizes = ", ".join(f"{name} ({int(inside.sum())} voxels)" for name, inside in groups.items())
    said = medians.partition("; ")[2].replace("these slices", "the slices above")
    return f"Histograms of {item.title} in {sizes}; {said}"


def supplied_caption(series: SeriesView) -> str:
    """What the field maps are, how their units were read, and what values they have."""
    sentences = ["Known maps on the grid of the series, in the units of the model."]
    for view in series.supplied:
        inside = view.values[series.mask]
        inside = inside[np.isfinite(inside)]
        unit = "" if view.unit in ("1", "") else f" {view.unit}"
        said = f" ({view.description})" if view.description else ""
        if inside.size:
            low, middle, high = np.percentile(inside, [5, 50, 95])
            sentences.append(
                f"{view.name}{said}: median {middle:.3g}{unit}, 5 % to 95 % of the voxels between "
                f"{low:.3g} and {high:.3g}{unit}."
            )
    return " ".join(sentences)
