"""What the choice of the signal model does: the same fit by several models, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import isnan

import numpy as np

from bids_brnn.estimators.registry import estimator_of, variants
from bids_brnn.reports.content import EstimatorView, PageTable, SeriesView
from bids_brnn.reports.drawing import LETTER, Drawing, Words
from bids_brnn.reports.plots import (
    CURVES,
    Frame,
    Plot,
    areas,
    legend,
    legend_height,
    legend_rows,
    padded,
)

_SHOWN = ("m0s", "F", "Rx", "R2f", "T2s", "R1f")
_RESIDUAL = "relres"
_WIDTH, _ROW, _LETTERS = 5.5, 0.9, 8
"""Inches of the axes and of a region, points of its name."""
Cells = dict[tuple[str, str], tuple[float, float, float, str]]
"""Median, quartiles and unit by estimator and parameter."""


def compared(series: SeriesView) -> list[EstimatorView]:
    """Fits of a series by several models, that of the series first; empty where there is one."""
    others = [item for item in series.estimators if item.key in variants()]
    names = {estimator_of(item.key).name for item in others}
    main = [item for item in series.estimators if item.key in names]
    return [*main, *others] if others else []


def adequacy_tables(series: SeriesView) -> list[PageTable]:
    """Medians of each region by model, and the median residual of each over the mask."""
    fits = compared(series)
    if len(fits) < 2:
        return []
    rows = []
    for (segmentation, region), table in _medians(fits).items():
        where = f"{region} ({segmentation})"
        for name in _SHOWN:
            cells = [table.get((item.key, name)) for item in fits]
            if any(cell is not None for cell in cells):
                texts = ["" if cell is None else f"{cell[0]:.4g}" for cell in cells]
                unit = next(cell[3] for cell in cells if cell is not None)
                rows.append([where, name, unit, *texts])
    rows.append(["whole mask", "residual", "1", *[_residual(item, series) for item in fits]])
    title = "Models compared: medians by region, and the median relative residual"
    header = ["region", "parameter", "unit", *[item.title for item in fits]]
    return [PageTable(title, header, rows)]


def adequacy_figure(series: SeriesView) -> tuple[str, str, str, Drawing] | None:
    """Median and quartiles of m0s by region and model; None where there is one model."""
    fits = compared(series)
    if len(fits) < 2:
        return None
    medians = {
        key: table for key, table in _medians(fits).items() if (fits[0].key, "m0s") in table
    }
    if not medians:
        return None
    figure = _drawn({item.key: item.title for item in fits}, medians)
    caption = (
        "The same data fitted by every model of Z-spectra; what differs between them is the model "
        "alone. The residual in the table tells which describes the data best."
    )
    return "modelsCompared", "Models compared: m0s by region", caption, figure


def _drawn(titles: Mapping[str, str], medians: Mapping[tuple[str, str], Cells]) -> Drawing:
    regions = [f"{region} ({name})" for name, region in medians]
    side = 0.15 + LETTER * _LETTERS / 72 * max(map(len, regions))
    keys = list(zip(titles.values(), cycle(CURVES), strict=False))
    rows = legend_rows(keys, _WIDTH + side - 0.3)
    frame = Frame(_WIDTH + side, 0.55 + _ROW * len(medians), left=side, bottom=0.5, top=0.05)
    figure, (box,) = areas(1, 1, frame, legend_height(rows) + 0.05)
    legend(figure, 0.15, 0.03, rows)
    own = [
        cell for table in medians.values() for (_, name), cell in table.items() if name == "m0s"
    ]
    ends = padded([number for cell in own for number in cell[:3]])
    plot = Plot(figure, box, ends, (len(medians) - 0.5, -0.5))
    plot.below("m0s: median and quartiles", grid=True)
    for row, region in enumerate(regions):
        y = float(plot.places(ends[0], row)[0, 1])
        figure.add(Words(box.x - 0.06, y, region, _LETTERS, "right"))
    for place, (key, (_, colour)) in enumerate(zip(titles, keys, strict=True)):
        shift = 0.6 * (place / (len(titles) - 1) - 0.5)
        for row, table in enumerate(medians.values()):
            if (key, "m0s") in table:
                middle, low, high, _ = table[key, "m0s"]
                plot.line([low, high], [row + shift] * 2, colour, 1.2)
                plot.dots([middle], [row + shift], colour)
    plot.edges()
    return figure


def _medians(fits: Sequence[EstimatorView]) -> dict[tuple[str, str], Cells]:
    """Median, quartiles and unit by estimator and parameter, by segmentation and region."""
    found: dict[tuple[str, str], Cells] = {}
    for item in fits:
        for row in item.statistics:
            numbers = [row.get(key) for key in ("median", "p25", "p75")]
            if any(not isinstance(value, int | float) or isnan(value) for value in numbers):
                continue  # a region without values
            place = str(row.get("segmentation", "")), str(row.get("name", ""))
            median, low, high = (float(value) for value in numbers)  # type: ignore[arg-type]
            table = found.setdefault(place, {})
            key = item.key, str(row.get("param", ""))
            table[key] = median, low, high, str(row.get("units", ""))
    return found


def _residual(item: EstimatorView, series: SeriesView) -> str:
    maps: Mapping[str, object] = {view.name: view.values for view in item.quality}
    values = maps.get(_RESIDUAL)
    if values is None:
        return ""
    return f"{float(np.nanmedian(np.asarray(values)[series.mask])):.4g}"
