import dataclasses
import json

import numpy as np
import pytest

from bids_brnn.reports.compare import comparisons, std_of_difference, without_fluid
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView

SHAPE = (8, 9, 3)


def view(name, value):
    return MapView(name, "1/s", name, np.full(SHAPE, value, float), (0.0, 30.0), "x.nii.gz")


def make():
    labels = np.ones(SHAPE, int)
    labels[:3] = 2
    one = EstimatorView("brnn", "Network", [view("Rx", 15), view("m0s", 0.2)],
                        [view("Rx", 3), view("m0s", 0.3)])  # fmt: skip
    two = EstimatorView("nlls", "Fit", [view("Rx", 10), view("m0s", 0.1)], [view("Rx", 4)])
    agreement = [("Agreement: Network against Fit, aseg", [
        {"name": "WM", "param": "Rx", "n": 7, "bias": 5.0, "loa_low": 1.0, "loa_high": 9.0}
    ], "s.tsv")]  # fmt: skip
    return SeriesView("s", "QMT", None, np.ones(SHAPE, bool), [one, two], labels=labels,
                      label_names={1: "WM", 2: "CSF"}, agreement=agreement)  # fmt: skip


def test_a_row_has_both_maps_in_one_range_and_the_difference_in_std():
    (comparison,) = comparisons(make())
    assert [row.name for row in comparison.rows] == ["Rx", "m0s"]
    first, second, difference = comparison.rows[0].cells
    assert (first.low, first.high) == (second.low, second.high) == ("0 1/s", "30 1/s")
    # (15 - 10) / sqrt(3^2 + 4^2)
    assert difference.title == "Difference in std"
    assert "median 1 in these slices" in difference.alt


def test_a_missing_std_is_said():
    one, two = make().estimators
    total, words = std_of_difference(one, two, "m0s")
    np.testing.assert_allclose(total, 0.3)
    assert words == "In standard deviations of Network alone."
    bare = [dataclasses.replace(item, uncertainties=()) for item in (one, two)]
    (comparison,) = comparisons(dataclasses.replace(make(), estimators=bare))
    assert comparison.rows[0].cells[2].title == "Difference"
    assert "No standard deviations" in comparison.rows[0].words


@pytest.mark.parametrize("name", ["Rx", "R1s", "T2s", "kr"])
def test_fluid_is_left_out_where_a_parameter_has_no_meaning(name):
    series = make()
    mask, words = without_fluid(series, name)
    assert (mask == (series.labels == 1)).all()
    assert f"{int((series.labels == 2).sum())} voxels" in words
    assert without_fluid(series, "m0s")[0] is series.mask
    unlabelled = dataclasses.replace(series, labels=None)
    assert without_fluid(unlabelled, name)[0].all()


def test_regions_tell_their_agreement_but_fluid_where_it_has_none():
    (comparison,) = comparisons(make())
    assert comparison.rows[0].regions == [("WM", "7 voxels, bias 5, limits of agreement 1 to 9")]
    assert [name for name, _ in comparison.rows[1].regions] == ["WM", "CSF"]


def test_a_script_knows_where_the_axes_are():
    (comparison,) = comparisons(make())
    hover = json.loads(comparison.rows[0].hover)
    assert hover["codes"] == {"WM": 1, "CSF": 2}
    assert hover["of"] == ["brnn", "nlls"]
    scatter, bland_altman = hover["axes"]
    assert scatter["ends"] == [0.0, 30.0, 0.0, 30.0]
    assert scatter["box"][0] + scatter["box"][2] < bland_altman["box"][0] < 1


def test_one_estimator_is_compared_with_nothing():
    series = make()
    assert comparisons(dataclasses.replace(series, estimators=series.estimators[:1])) == []
