"""Draw the maps that a run wrote, one row per estimator, as in ``docs/images/invivo_maps.png``.

python benchmarks/plot_maps.py OUTPUT_DIR PARTICIPANT FIGURE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bids_brnn.reports.collect import series_views
from bids_brnn.reports.figures import crop, display_range, pick_slices, plane, title_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("participant")
    parser.add_argument("figure", type=Path)
    options = parser.parse_args()
    series = series_views(options.output_dir, options.participant)[0]
    middle = pick_slices(series.mask, 1)[0]
    window = crop(series.mask)
    columns = len(series.estimators[0].estimates)
    rows = len(series.estimators)
    figure = Figure(figsize=(2.2 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, estimator in zip(axes, series.estimators, strict=True):
        for axis, view in zip(row, estimator.estimates, strict=True):
            low, high = display_range(view, series.mask)
            shown = np.where(series.mask, view.values, np.nan)
            image = axis.imshow(plane(shown, middle, window), vmin=low, vmax=high)
            axis.set_title(title_of(view), fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_facecolor("black")
            bar = figure.colorbar(image, ax=axis, shrink=0.8)
            bar.ax.tick_params(labelsize=6)
        row[0].set_ylabel(estimator.title)
    figure.savefig(options.figure, dpi=90)


if __name__ == "__main__":
    main()
