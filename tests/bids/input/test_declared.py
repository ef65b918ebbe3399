"""Numbers and keys of the sidecar of a series: impossible ones are named, possible ones taken."""

from __future__ import annotations

import pytest

from bids_brnn.bids.input.declared import KEYS, NUMBERS, check_declared, number
from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.errors import DataError

USUAL = {
    "MagneticFieldStrength": [0.055, 1.5, 2.89362, 3, 7, 10.5],
    "RepetitionTimeExcitation": [0.0035, 0.02, 5],
    "DephasingPerRepetition": [6.2832, -6.283185307, 12.57, 50.0],
    "NoiseStandardDeviation": [1e-9, 0.3, 16.7, 4e5],
}


@pytest.mark.parametrize("key", NUMBERS)
def test_what_scanners_do_is_taken(key):
    for value in USUAL[key]:
        assert number({key: value}, key, "x") == value
    assert number({}, key, "x") is None


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [0, 1e300, -1e300, "3", "", True, [3.0], {}, float("nan")])
def test_what_cannot_be_is_refused_with_key_value_and_range(key, value):
    with pytest.raises(DataError, match=rf"^{key} of x is .*; write one number from .*"):
        check_declared({key: value}, "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NoiseStandardDeviation", -3),
        ("MagneticFieldStrength", -3),
        ("MagneticFieldStrength", 30000),  # gauss
        ("MagneticFieldStrength", 127.7),  # MHz
        ("RepetitionTimeExcitation", -0.0035),
        ("DephasingPerRepetition", 1.5),
        ("DephasingPerRepetition", 360),  # degrees
    ],
)
def test_other_units_and_signs_are_refused(key, value):
    with pytest.raises(DataError, match=f"^{key} of x is {value}; write one number"):
        check_declared({key: value}, "x")


def test_a_long_value_is_abridged():
    with pytest.raises(DataError, match=r"is \[0, 1, 2, 3 \.\.\.\] \(10000 entries\);"):
        check_declared({"NoiseStandardDeviation": list(range(10_000))}, "x")


@pytest.mark.parametrize("value", ["false", 0, "no"])
def test_a_spoiling_state_that_is_no_boolean_is_refused(value):
    with pytest.raises(DataError, match=r"SpoilingState of x is .*; write true or false"):
        check_declared({"SpoilingState": value}, "x")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("SignalRepresentaion", "SignalRepresentation"),
        ("signal_representation", "SignalRepresentation"),
        ("BoundaryConditions", "BoundaryCondition"),
        ("PulseTrains", "PulseTrain"),
        ("SubspaceBase", "SubspaceBasis"),
        ("MagneticFieldStrenght", "MagneticFieldStrength"),
        ("NoiseStandardDevation", "NoiseStandardDeviation"),
        ("RepetitionTimeExitation", "RepetitionTimeExcitation"),
    ],
)
def test_a_misspelt_key_is_pointed_out_where_the_right_one_is_missing(wrong, right):
    with pytest.raises(DataError, match=f'"{wrong}" in the sidecar of x .* mean "{right}"'):
        check_declared({wrong: "y"}, "x")
    check_declared({wrong: "y", right: USUAL.get(right, ["y"])[0]}, "x")


def test_other_terms_of_bids_are_no_misspelt_keys():
    foreign = [
        "RepetitionTimePreparation", "RepetitionTime", "SpoilingType", "PulseDuration",
        "MTPulseDuration", "SpoilingGradientMoment", "PulseSequenceType", "EchoTime",
    ]  # fmt: skip
    check_declared(dict.fromkeys(foreign, 1), "x")
    assert not set(foreign) & set(KEYS)


def test_a_series_with_a_misspelt_key_is_refused(raw):
    raw.qmt(SignalRepresentation=None, SignalRepresentaion="subspace")
    with pytest.raises(DataError, match='did you mean "SignalRepresentation"') as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 65
