"""What the choice of the signal model does: the same fit by several models, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from bids_brnn.estimators.registry import estimator_of, variants
from bids_brnn.reports.content import EstimatorView, PageTable, SeriesView

_SHOWN = ("m0s", "F", "Rx", "R2f", "T2s", "R1f")
_RESIDUAL = "relres"


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


def adequacy_figure(series: SeriesView) -> tuple[str, str, str, Figure] | None:
    """Median and quartiles of m0s by region and model; None where there is one model."""
    fits = compared(series)
    if len(fits) < 2:
        return None
    medians = {
        key: table for key, table in _medians(fits).items() if (fits[0].key, "m0s") in table
    }
    if not medians:
        return None
    figure = Figure(figsize=(7.5, 0.6 + 0.45 * len(medians) * 2), layout="constrained")
    axis = figure.subplots()
    for place, item in enumerate(fits):
        shift = 0.6 * (place / (len(fits) - 1) - 0.5)
        found = [(row, table.get((item.key, "m0s"))) for row, table in enumerate(medians.values())]
        points = [(row, cell) for row, cell in found if cell is not None]
        middle = [cell[0] for _, cell in points]
        low = [cell[0] - cell[1] for _, cell in points]
        high = [cell[2] - cell[0] for _, cell in points]
        axis.errorbar(
            middle, [row + shift for row, _ in points], xerr=[low, high], fmt="o", ms=4,
            capsize=2, label=item.title,
        )  # fmt: skip
    axis.set_yticks(range(len(medians)), [f"{region} ({name})" for name, region in medians])
    axis.invert_yaxis()
    axis.set_xlabel("m0s: median and quartiles")
    axis.legend(fontsize=7)
    caption = (
        "The same data fitted by every model of Z-spectra; what differs between them is the model "
        "alone. The residual in the table tells which describes the data best."
    )
    return "modelsCompared", "Models compared: m0s by region", caption, figure


def _medians(
    fits: Sequence[EstimatorView],
) -> dict[tuple[str, str], dict[tuple[str, str], tuple[float, float, float, str]]]:
    """Median, quartiles and unit by estimator and parameter, by segmentation and region."""
    found: dict[tuple[str, str], dict[tuple[str, str], tuple[float, float, float, str]]] = {}
    for item in fits:
        for row in item.statistics:
            numbers = [row.get(key) for key in ("median", "p25", "p75")]
            if any(not isinstance(value, int | float) for value in numbers):
                continue
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
