import dataclasses

import numpy as np
import pytest

from bids_brnn.reports import lights as module
from bids_brnn.reports.content import EstimatorView, MapView, SeriesView
from bids_brnn.reports.lights import Light, lights, register_rule

SHAPE = (10, 10, 10)


def view(name, values):
    return MapView(name, "1", name, np.full(SHAPE, values, float), None, "x.nii.gz")


def series(about=None, quality=(), sidecar=None, key="nlls", **changes):
    item = EstimatorView(key, "Fit", [view("m0s", 0.2)], quality=quality, about=sidecar or {})
    made = SeriesView("s", "QMT", None, np.ones(SHAPE, bool), [item], about=about or {})
    return dataclasses.replace(made, **changes)


def levels(one):
    return {light.title: light.level for light in lights(one)}


@pytest.mark.parametrize(
    ("about", "level"),
    [
        ({"MaskCheck": "passed", "MaskMethod": "found"}, "good"),
        ({"MaskCheck": "only 0.1 l", "MaskMethod": "deepbet"}, "bad"),
        ({"MaskCheck": "passed", "MaskMethod": "threshold"}, "bad"),
        ({"MaskCheck": "not checked", "MaskMethod": "given"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_mask(about, level):
    assert levels(series(about))["Mask"] == level


@pytest.mark.parametrize(
    ("method", "words", "level"),
    [("rigid", "rigid registration", "good"), ("header", "too thin", "look"),
     ("header", "registration failed", "bad")],
)  # fmt: skip
def test_registration(method, words, level):
    about = {"Registration": {"Method": method, "Description": words}}
    assert levels(series(about))["Registration"] == level
    assert "Registration" not in levels(series())


@pytest.mark.parametrize(
    ("name", "value", "title", "level"),
    [
        ("snr", 80, "SNR", "good"), ("snr", 30, "SNR", "look"), ("snr", 10, "SNR", "bad"),
        ("snr", np.nan, "SNR", "unknown"),
        ("flags", 0, "On a bound: Fit", "good"), ("flags", 2, "On a bound: Fit", "bad"),
        ("flags", 1, "Without an estimate: Fit", "bad"),
        ("flags", 64, "Voxels with a flag: Fit", "bad"), ("flags", 64, "On a bound: Fit", "good"),
        ("chi2", 1.0, "Residual against noise: Fit", "good"),
        ("chi2", 2.0, "Residual against noise: Fit", "look"),
        ("chi2", 9.0, "Residual against noise: Fit", "bad"),
    ],
)  # fmt: skip
def test_numbers_of_maps(name, value, title, level):
    assert levels(series(quality=[view(name, value)]))[title] == level


def test_networks_are_judged_by_their_notes_and_by_the_distance():
    near, far = [view("distance", 0.5)], [view("distance", 2.0)]
    assert levels(series(quality=near, key="brnn"))["Network"] == "good"
    assert levels(series(quality=far, key="brnn"))["Network"] == "bad"
    noted = series({"NetworkNotes": ["Misses a limit."]}, near, key="brnn")
    assert levels(noted)["Network"] == "look"
    warned = series(None, near, {"WeightsWarning": "Trained for other noise."}, "brnn")
    assert levels(warned)["Network"] == "look"
    assert "Network" not in levels(series(quality=near))


def test_white_matter_is_compared_at_3_tesla_only():
    row = {"param": "m0s", "name": "Left-Cerebral-White-Matter", "median": 0.21}

    def found(median, field):
        item = EstimatorView("nlls", "Fit", [view("m0s", 0.2)],
                             statistics=[row | {"median": median}],
                             about={"MagneticFieldStrength": field})  # fmt: skip
        return levels(series(estimators=[item])).get("White matter: Fit")

    assert found(0.21, 3) == "good"
    assert found(0.10, 2.89) == "look"
    assert found(0.01, 3) == "bad"
    assert found(0.21, 7) is None


def test_problems_come_first_and_everything_but_good_says_what_to_do():
    quality = [view("snr", 10), view("flags", 2), view("chi2", 9.0)]
    found = lights(series({"MaskCheck": "passed"}, quality))
    order = [light.level for light in found]
    assert order == sorted(order, key=["bad", "look", "unknown", "good"].index)
    assert all(bool(light.advice) == (light.level != "good") for light in found)


def test_a_rule_can_be_added(monkeypatch):
    monkeypatch.setattr(module, "_RULES", list(module._RULES))
    register_rule(lambda _: [Light("bad", "Mine", "1", "0", "Do it.", "mask")])
    assert levels(series())["Mine"] == "bad"
