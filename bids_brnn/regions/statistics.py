"""Statistics of maps in labelled regions: arrays in, rows of a table out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_brnn.regions.labels import Source, labels_in

COLUMNS: Mapping[str, str] = {
    "index": "Value of the region in the label image",
    "name": "Name of the region",
    "param": "Parameter",
    "units": "Units of the statistics",
    "n_voxels": "Voxels of the region inside the mask",
    "n_valid": "Of these, voxels with a finite estimate",
    "volume_mm3": "Volume of the region inside the mask, in cubic millimetres",
    "mean": "Mean over valid voxels",
    "std": "Sample standard deviation over valid voxels",
    "median": "Median over valid voxels",
    "p05": "5th percentile",
    "p25": "25th percentile",
    "p75": "75th percentile",
    "p95": "95th percentile",
    "mean_crb_std": "Mean over valid voxels of the standard deviation given by the noise",
    "iqr": "Interquartile range, p75 - p25",
    "share_flagged": "Share of n_voxels, or of those of them that the estimator was run in, "
    "that its flags mark, 0 to 1",
    "region_source": "What the region comes from: labels (label image or atlas), probabilities "
    "(tissue probability images), maps (classes derived from the estimated maps themselves, so "
    "that their statistics are circular), mask (whole mask)",
}
"""Columns of ``scalarstats.tsv`` and what they mean."""

Row = dict[str, float | int | str]


def region_rows(
    values: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    *,
    parameter: str,
    units: str,
    voxel_volume: float,
    std: NDArray[np.floating] | None = None,
    flagged: NDArray[np.bool_] | None = None,
    estimated: NDArray[np.bool_] | None = None,
    source: Source = "labels",
) -> list[Row]:
    """Statistics of one map in every region.

    Parameters
    ----------
    values
        ``(V,)`` inside the mask; NaN where there is no estimate.
    labels
        ``(V,)``; 0 is background.
    names
        Region names by label; labels without a name are called by their number.
    parameter, units
        For the columns of these names.
    voxel_volume
        mm^3.
    std
        ``(V,)`` standard deviation of each value, if known.
    flagged
        ``(V,)`` voxels that the estimator marks as doubtful, if it does.
    estimated
        ``(V,)`` voxels that it was run in; all by default.
    source
        What the labels come from.

    Returns
    -------
    list of dict
        One row per label that occurs or has a name, in the order of labels; NaN where a
        statistic does not exist.
    """
    rows: list[Row] = []
    for index in sorted({*labels_in(labels), *names} - {0}):
        inside = labels == index
        chosen = values[inside].astype(np.float64)
        valid = np.isfinite(chosen)
        row: Row = {
            "index": index,
            "name": names.get(index, str(index)),
            "param": parameter,
            "units": units,
            "n_voxels": int(inside.sum()),
            "n_valid": int(valid.sum()),
            "volume_mm3": float(inside.sum() * voxel_volume),
        }
        row.update(_statistics(chosen[valid]))
        spread = np.empty(0) if std is None else std[inside][valid].astype(np.float64)
        spread = spread[np.isfinite(spread)]
        row["mean_crb_std"] = float(spread.mean()) if spread.size else float("nan")
        row["iqr"] = float(row["p75"]) - float(row["p25"])
        row["share_flagged"] = share(flagged, inside if estimated is None else inside & estimated)
        row["region_source"] = source
        rows.append(row)
    return rows


def share(flagged: NDArray[np.bool_] | None, inside: NDArray[np.bool_]) -> float:
    """Share of the voxels ``inside`` that are flagged; NaN if there are none, or no flags."""
    return float("nan") if flagged is None or not inside.any() else float(flagged[inside].mean())


def _statistics(values: NDArray[np.float64]) -> Row:
    names = ("mean", "std", "median", "p05", "p25", "p75", "p95")
    if values.size == 0:
        return dict.fromkeys(names, float("nan"))
    low, first, middle, third, high = np.percentile(values, [5, 25, 50, 75, 95])
    std = values.std(ddof=1) if values.size > 1 else np.nan
    numbers = (values.mean(), std, middle, low, first, third, high)
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}
