"""Region statistics against numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_brnn.regions import COLUMNS, region_rows

VALUES = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 10.0], np.float32)
LABELS = np.array([1, 1, 1, 1, 1, 7])
OPTIONS = {"parameter": "R1f", "units": "1/s", "voxel_volume": 2.0}


def rows(values=VALUES, labels=LABELS, names=None, **options):
    found = region_rows(values, labels, names or {1: "one", 3: "three"}, **{**OPTIONS, **options})
    return {row["index"]: row for row in found}


def test_statistics_of_a_region():
    row = rows()[1]
    assert (row["name"], row["param"], row["units"]) == ("one", "R1f", "1/s")
    assert (row["n_voxels"], row["n_valid"], row["volume_mm3"]) == (5, 4, 10.0)
    assert row["mean"] == 2.5
    assert row["std"] == pytest.approx(math.sqrt(5 / 3))  # n - 1
    assert (row["median"], row["p25"], row["p75"]) == (2.5, 1.75, 3.25)
    assert row["p05"] == pytest.approx(1.15)
    assert row["p95"] == pytest.approx(3.85)


def test_every_label_and_every_name_has_its_row_in_order():
    assert list(rows()) == [1, 3, 7]
    assert rows()[3]["n_voxels"] == 0
    assert math.isnan(rows()[3]["mean"])
    assert rows()[7]["name"] == "7"


def test_one_voxel_has_no_standard_deviation():
    assert rows()[7]["mean"] == 10.0
    assert math.isnan(rows()[7]["std"])


def test_background_is_no_region():
    assert 0 not in rows(labels=np.array([0, 1, 1, 1, 1, 0]))


def test_the_mean_uncertainty_is_that_of_valid_voxels():
    std = np.array([0.1, 0.2, 0.3, np.inf, 5.0, 0.7])
    found = rows(std=std)
    # Voxel 4 has no finite uncertainty, voxel 5 no estimate.
    assert found[1]["mean_crb_std"] == pytest.approx(0.2)
    assert found[7]["mean_crb_std"] == pytest.approx(0.7)
    assert math.isnan(rows()[1]["mean_crb_std"])


def test_columns_are_those_described():
    assert list(rows()[1]) == list(COLUMNS)


def test_spread_between_quartiles_and_share_of_doubtful_voxels():
    flagged = np.array([True, False, False, False, True, False])
    row = rows(flagged=flagged)[1]
    assert row["iqr"] == row["p75"] - row["p25"] == 1.5
    # Of all voxels of the region, those without an estimate included.
    assert row["share_flagged"] == pytest.approx(2 / 5)
    assert math.isnan(rows()[1]["share_flagged"])
    assert math.isnan(rows(flagged=flagged)[3]["share_flagged"])


def test_each_row_says_what_its_region_comes_from():
    assert {row["region_source"] for row in rows(source="maps").values()} == {"maps"}
