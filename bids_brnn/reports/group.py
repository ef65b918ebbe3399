"""Group figures: one point per subject and region, and which points lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

OUTLIER_Z = 3.5
"""Modified z-score above which a value is flagged (Iglewicz and Hoaglin 1993)."""
MIN_SUBJECTS = 5
"""Below this many values a spread means nothing, and nothing is flagged."""


@dataclass(frozen=True)
class Region:
    """Values of one parameter in one region, one per series."""

    name: str
    values: NDArray[np.float64]
    """``(S,)``; NaN where a series has none."""


def modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of the scaled median absolute deviation.

    Parameters
    ----------
    values
        ``(S,)``; NaN stays NaN. Zero everywhere with fewer than :data:`MIN_SUBJECTS` values or
        where more than half of them are equal.
    """
    finite = np.isfinite(values)
    scores = np.where(finite, 0.0, np.nan)
    if finite.sum() < MIN_SUBJECTS:
        return scores
    middle = np.median(values[finite])
    spread = np.median(np.abs(values[finite] - middle))
    if spread > 0:
        scores[finite] = 0.6745 * (values[finite] - middle) / spread
    return scores


def distribution(
    panels: Mapping[str, Sequence[Region]], units: Mapping[str, str], title: str
) -> Figure:
    """A panel per parameter, a column per region, a point per series; outliers in red."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.8 * columns, 2.6 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    rng = np.random.default_rng(0)  # sideways scatter only
    for axis, (parameter, regions) in zip(axes, panels.items(), strict=False):
        for column, region in enumerate(regions):
            kept = np.isfinite(region.values)
            values = region.values[kept]
            apart = np.abs(modified_z(region.values)[kept]) > OUTLIER_Z
            if values.size >= MIN_SUBJECTS:
                axis.boxplot(
                    values, positions=[column], widths=0.6, showfliers=False,
                    medianprops={"color": "#17324d"}, boxprops={"color": "0.6"},
                    whiskerprops={"color": "0.6"}, capprops={"color": "0.6"},
                )  # fmt: skip
            x = column + rng.uniform(-0.15, 0.15, values.size)
            axis.scatter(x[~apart], values[~apart], s=12, color="#2166ac", alpha=0.7)
            axis.scatter(x[apart], values[apart], s=22, color="#b2182b", marker="D")
        axis.set_xticks(
            range(len(regions)), [region.name for region in regions], rotation=45, ha="right"
        )
        axis.tick_params(labelsize=7)
        unit = units.get(parameter, "")
        axis.set_title(parameter if unit in ("1", "") else f"{parameter} ({unit})", fontsize=9)
        axis.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure
