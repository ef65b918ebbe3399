"""Network against reference: estimate, reference and difference of a parameter in one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_brnn.reports.adequacy import compared
from bids_brnn.reports.cells import Cell, map_cell
from bids_brnn.reports.content import (
    FLUID,
    LITERATURE,
    NOT_IN_FLUID,
    WHITE_MATTER,
    Array,
    EstimatorView,
    MapView,
    SeriesView,
)
from bids_brnn.reports.embed import FINEST, Fineness, figure_uri
from bids_brnn.reports.figures import Agreement, agreement, display_range, title_of

Mask = NDArray[np.bool_]
_WIDTH_IN_STD = 3.0
"""Ends of the colours of a difference in standard deviations."""


@dataclass(frozen=True)
class Row:
    """One parameter by two estimators."""

    name: str
    title: str
    words: str
    cells: Sequence[Cell]
    agreement: str
    agreement_alt: str
    regions: Sequence[tuple[str, str]]
    """Name of each region, and how both agree in it."""
    hover: str
    """JSON of what a script needs to draw the voxels of one region upon the figure."""


@dataclass(frozen=True)
class Comparison:
    """All rows of a network (or the first estimator) and another estimator."""

    title: str
    words: str
    rows: Sequence[Row]


def comparisons(series: SeriesView, fineness: Fineness = FINEST) -> list[Comparison]:
    """One for each pair with the first estimator of a series; fits by several models are apart."""
    apart = {item.key for item in compared(series)[1:]}
    shown = [item for item in series.estimators if item.key not in apart]
    found = []
    for other in shown[1:]:
        rows = list(_rows(series, shown[0], other, fineness))
        if rows:
            title = f"{shown[0].title} against {other.title}"
            found.append(Comparison(title, _words(shown[0], other), rows))
    return found


def _words(first: EstimatorView, second: EstimatorView) -> str:
    samples = [f" {item.title} was {item.sample}." for item in (first, second) if item.sample]
    return (
        f"Each row has one range of colours for {first.title} and {second.title}. Differences "
        f"are {first.title} minus {second.title}, over the root of the sum of both variances. "
        "Both saw the same noise, so that differences of efficient estimators are well below 1 "
        "standard deviation; large coherent areas are bias of one of them." + "".join(samples)
    )


def _rows(
    series: SeriesView, first: EstimatorView, second: EstimatorView, fineness: Fineness
) -> Iterator[Row]:
    others = {view.name: view for view in second.estimates}
    for view in first.estimates:
        if view.name in others:
            yield _row(series, first, second, view, others[view.name], fineness)


def _row(
    series: SeriesView,
    first: EstimatorView,
    second: EstimatorView,
    view: MapView,
    other: MapView,
    fineness: Fineness,
) -> Row:
    mask, left_out = without_fluid(series, view.name)
    limits = display_range(other, np.flatnonzero(mask))
    spread, whose = std_of_difference(first, second, view.name)
    difference = np.asarray(view.values, np.float64) - other.values
    cells = [
        map_cell(first.title, view.values, mask, limits, "viridis", view.unit, fineness),
        map_cell(second.title, other.values, mask, limits, "viridis", view.unit, fineness),
    ]
    if spread is None:
        half = (limits[1] - limits[0]) / 4
        ends = (-half, half)
        last = map_cell("Difference", difference, mask, ends, "RdBu_r", view.unit, fineness)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = difference / np.where(spread > 0, spread, np.nan)
        ends = (-_WIDTH_IN_STD, _WIDTH_IN_STD)
        last = map_cell("Difference in std", ratio, mask, ends, "RdBu_r", "1", fineness)
    drawn = agreement(view, other, mask, (first.key, second.key))
    words = " ".join(filter(None, [whose, left_out, _context(view, first, second)]))
    regions = _regions(series, first, second, view.name)
    return Row(
        name=view.name,
        title=title_of(view),
        words=words,
        cells=[*cells, last],
        agreement=figure_uri(drawn.figure, fineness),
        agreement_alt=_agreement_words(view, other, mask, first, second),
        regions=regions,
        hover=_hover(series, first, second, view, drawn),
    )


def without_fluid(series: SeriesView, name: str) -> tuple[Mask, str]:
    """The mask where a parameter has a meaning, and what was left out in words."""
    if name not in NOT_IN_FLUID or series.labels is None:
        return series.mask, ""
    fluid = [index for index, words in series.label_names.items() if FLUID.search(words)]
    out = series.mask & np.isin(series.labels, fluid)
    if not out.any() or out.sum() == series.mask.sum():
        return series.mask, ""
    words = f"{name} has no meaning in fluid: {int(out.sum())} voxels of it are left out."
    return series.mask & ~out, words


def std_of_difference(
    first: EstimatorView, second: EstimatorView, name: str
) -> tuple[Array | None, str]:
    """Root of the sum of the variances that are known, and a sentence if one is missing."""
    found = [
        (item, view.values)
        for item in (first, second)
        for view in item.uncertainties
        if view.name == name
    ]
    if not found:
        return None, "No standard deviations: the plain difference is shown."
    total = np.sqrt(sum(np.asarray(values, np.float64) ** 2 for _, values in found))
    if len(found) == 1:
        return total, f"In standard deviations of {found[0][0].title} alone."
    return total, ""


def _context(view: MapView, *estimators: EstimatorView) -> str:
    """Medians in white matter beside what is in the literature."""
    known = [item for item in LITERATURE.get(view.name, ()) if item[0] == "WM"]
    medians = []
    for item in estimators:
        rows = [
            row for row in item.statistics
            if row.get("param") == view.name and WHITE_MATTER.search(str(row.get("name", "")))
        ]  # fmt: skip
        values = [row["median"] for row in rows if isinstance(row.get("median"), float)]
        if values:
            medians.append(f"{item.title} {np.mean(values):.3g}")  # type: ignore[arg-type]
    if not known or not medians:
        return ""
    low, high = min(value for _, value, _ in known), max(value for _, value, _ in known)
    span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    sources = ", ".join(source for _, _, source in known)
    return f"White matter, median: {', '.join(medians)}; literature at 3 T {span} ({sources})."


def _agreement_words(
    view: MapView, other: MapView, mask: Mask, first: EstimatorView, second: EstimatorView
) -> str:
    inside = mask & np.isfinite(view.values) & np.isfinite(other.values)
    gap = view.values[inside] - other.values[inside]
    if not gap.size:
        return f"{view.name}: no voxel with values of both"
    return (
        f"Scatter and Bland-Altman plot of {view.name}: {first.title} minus {second.title} is "
        f"{gap.mean():.3g} on average, standard deviation {gap.std():.3g}, {gap.size} voxels"
    )


def _regions(
    series: SeriesView, first: EstimatorView, second: EstimatorView, name: str
) -> list[tuple[str, str]]:
    """Regions of the coarsest label image with their agreement in words."""
    if series.labels is None:
        return []
    wanted = f"{first.title} against {second.title}"
    rows = {
        str(row.get("name")): row
        for title, table, _ in series.agreement if wanted in title
        for row in table if row.get("param") == name
    }  # fmt: skip
    found = []
    for index in sorted(series.label_names):
        region = series.label_names[index]
        if name in NOT_IN_FLUID and FLUID.search(region):
            continue
        found.append((region, _region_words(rows.get(region, {}))))
    return found


def _region_words(row: Mapping[str, object]) -> str:
    number = {key: value for key, value in row.items() if isinstance(value, int | float)}
    if not {"n", "bias"} <= set(number):
        return "no table of agreement"
    words = f"{number['n']:.0f} voxels, bias {number['bias']:.3g}"
    if {"loa_low", "loa_high"} <= set(number):
        words += f", limits of agreement {number['loa_low']:.3g} to {number['loa_high']:.3g}"
    return words + (f", concordance {number['ccc']:.3g}" if "ccc" in number else "")


def _hover(
    series: SeriesView,
    first: EstimatorView,
    second: EstimatorView,
    view: MapView,
    drawn: Agreement,
) -> str:
    """Where the axes lie in the figure (shares of it, from the left top) and their ends."""
    places = []
    sides = np.tile([drawn.figure.width, drawn.figure.height], 2)
    for plot in (drawn.scatter, drawn.bland_altman):
        box = [round(float(share), 5) for share in np.array(plot.box) / sides]
        places.append({"box": box, "ends": [*plot.x, *plot.y]})
    codes = {name: index for index, name in series.label_names.items()}
    content = {"series": series.name, "name": view.name, "of": [first.key, second.key]}
    return json.dumps(content | {"axes": places, "codes": codes})
