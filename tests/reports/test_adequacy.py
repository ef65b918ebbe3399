"""Fits by several models of one series, side by side."""

from __future__ import annotations

import numpy as np

from bids_brnn.reports.adequacy import adequacy_figure, adequacy_tables, compared
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView


def _fit(key, m0s, residual):
    row = {"segmentation": "tissue", "name": "WM", "param": "m0s", "units": "1",
           "median": m0s, "p25": m0s - 0.01, "p75": m0s + 0.01}  # fmt: skip
    values = np.full((2, 2, 1), residual)
    quality = [MapView("relres", "1", "", values, None, "x.nii.gz")]
    return EstimatorView(key, key.title(), [], quality=quality, statistics=[row])


def _series(*fits):
    return SeriesView("sub-01_QMT", "QMT", None, np.ones((2, 2, 1), bool), list(fits))


def test_the_model_of_the_series_comes_first():
    series = _series(_fit("nllsRamani", 0.1, 0.03), _fit("nlls", 0.13, 0.02))
    assert [item.key for item in compared(series)] == ["nlls", "nllsRamani"]
    ((title, header, rows, _),) = adequacy_tables(series)
    assert "Models compared" in title
    assert header == ["region", "parameter", "unit", "Nlls", "Nllsramani"]
    assert ["WM (tissue)", "m0s", "1", "0.13", "0.1"] in rows
    assert rows[-1] == ["whole mask", "residual", "1", "0.02", "0.03"]
    assert adequacy_figure(series) is not None


def test_one_model_is_compared_with_nothing():
    series = _series(_fit("brnn", 0.1, 0.03), _fit("nlls", 0.13, 0.02))
    assert compared(series) == []
    assert adequacy_tables(series) == []
    assert adequacy_figure(series) is None
