"""Bland-Altman limits and Lin's concordance against numbers by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bids_brnn.regions import AGREEMENT_COLUMNS, agreement_rows
from bids_brnn.regions.agreement import compare, concordance


def test_limits_by_hand():
    test, reference = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 1.0, 3.0, 3.0])
    row = compare(test, reference)
    # Differences 0, 1, 0, 3: mean 1, sum of squares about it 6.
    assert row["bias"] == 1.0
    assert row["sd_diff"] == pytest.approx(math.sqrt(2))
    assert row["loa_high"] == pytest.approx(1 + 1.959964 * math.sqrt(2))
    t = stats.t.ppf(0.975, 3)
    assert row["bias_ci_high"] == pytest.approx(1 + t * math.sqrt(2 / 4))
    reach = t * math.sqrt(2) * math.sqrt(1 / 4 + 1.959964**2 / 6)
    assert row["loa_low_ci_low"] == pytest.approx(1 - 1.959964 * math.sqrt(2) - reach)
    assert row["loa_low_ci_high"] - row["loa_low"] == pytest.approx(reach)
    # Means 3 and 2, variances (of N) 3.5 and 1, covariance 1.5.
    assert row["ccc"] == pytest.approx(2 * 1.5 / (3.5 + 1 + 1))


def test_concordance_of_equal_opposite_and_constant_values():
    x = np.array([1.0, 2.0, 4.0, 5.0, 9.0])
    assert concordance(x, x) == pytest.approx((1, 1, 1))
    assert concordance(x, -x + 2 * x.mean())[0] == pytest.approx(-1)
    assert all(math.isnan(value) for value in concordance(x, np.ones(5)))


@pytest.mark.parametrize(("n", "bias", "sd"), [(20, 0.4, 0.5), (200, 0.4, 0.5), (200, 1.0, 0.3)])
def test_intervals_hold_the_truth_in_95_percent(n, bias, sd):
    """2000 sets of pairs: the share that is covered has a standard error of 0.5 %."""
    rng = np.random.default_rng(5)
    spread = 1.0
    ccc = 2 * spread**2 / (spread**2 + (spread**2 + sd**2) + bias**2)
    truth = {"bias": bias, "loa_low": bias - 1.959964 * sd, "loa_high": bias + 1.959964 * sd}
    truth["ccc"] = ccc
    hits = dict.fromkeys(truth, 0)
    for _ in range(2000):
        y = rng.normal(3.0, spread, n)
        row = compare(y + rng.normal(bias, sd, n), y)
        for name, value in truth.items():
            hits[name] += row[f"{name}_ci_low"] <= value <= row[f"{name}_ci_high"]
    for name, count in hits.items():
        # 4 standard errors, and 1 % for what the approximations of limits and z miss at n = 20.
        assert abs(count / 2000 - 0.95) < 0.02 + 0.01, (name, count)


def rows(**options):
    test = np.array([1.1, 2.1, np.nan, 4.0, 5.0, 6.5])
    reference = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 6.0])
    labels = np.array([1, 1, 1, 2, 2, 0])
    found = agreement_rows(
        test, reference, labels, {1: "one", 2: "two", 3: "three"}, parameter="R1", units="1/s",
        **options,
    )  # fmt: skip
    return {row["name"]: row for row in found}


def test_the_mask_and_every_region_have_a_row():
    found = rows()
    assert list(found) == ["mask", "one", "two", "three"]
    assert [row["n"] for row in found.values()] == [4, 2, 1, 0]
    assert found["mask"]["region_source"] == "mask"
    assert found["one"]["bias"] == pytest.approx(0.1)
    assert math.isnan(found["two"]["sd_diff"])
    assert math.isnan(found["three"]["bias"])
    assert list(found["one"]) == list(AGREEMENT_COLUMNS)


def test_differences_in_units_of_the_noise():
    std = np.array([0.05, 0.2, 1, 1, 1, np.inf])
    found = rows(std=std, flagged=np.array([True, False, True, False, False, False]))
    # |0.1| / 0.05 and |0.1| / 0.2, median 1.25; voxels without an estimate do not count.
    assert found["one"]["median_abs_diff_crb"] == pytest.approx(1.25)
    assert found["one"]["share_flagged"] == 0.5
    assert math.isnan(rows()["one"]["median_abs_diff_crb"])
