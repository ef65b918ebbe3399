"""Sidecars that speak of what the table says too must agree with it, as far as both go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.input.agreement import check_agreement
from bids_brnn.errors import DataError
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from tests.bids.conftest import SHAPE

TRAIN = jiang_like_train(12)  # echo after 2 ms, inversion 20 ms before the first of 12 pulses
ANGLES = np.degrees(TRAIN.flip_angle[0, 1:]).round(2).tolist()
EQUAL = replace(
    TRAIN, flip_angle=np.where(TRAIN.inversion, TRAIN.flip_angle, np.radians(10.0)), name="equal"
)
SPOILED = replace(TRAIN, rf_phase=np.radians(117.0 / 2) * np.arange(13.0)[None] ** 2)
WITHOUT = replace(TRAIN, inversion=np.zeros_like(TRAIN.inversion))
QMT = hybrid_state_train(n_pulses=12)
BALANCED = replace(QMT, gradient=np.full(QMT.gradient.shape, "balanced"))


RECOVERING = replace(TRAIN, rf_duration=np.where(TRAIN.inversion, 0.0, 0.002),
                     echo_time=TRAIN.echo_time + 0.001)  # fmt: skip
SATURATED = replace(
    WITHOUT, flip_angle=np.where(TRAIN.inversion, np.radians(90.0), TRAIN.flip_angle)
)


def check(train, beside=None, **metadata):
    notes = []
    check_agreement(train, metadata, beside or {}, "sub-01_MRF", "rfpulses.tsv", notes)
    return notes


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (TRAIN, {"EchoTime": 0.00204, "InversionTime": 0.0206, "FlipAngle": 75}),
        (TRAIN, {"SpoilingState": True, "SpoilingType": "GRADIENT"}),
        (TRAIN, {"FlipAngle": ANGLES, "EchoTime": [0.002, 0.002]}),
        (TRAIN, {"FlipAngle": [180.0, *ANGLES]}),
        (TRAIN, {"FlipAngle": [5, 6], "EchoTime": "n/a", "SpoilingType": ["RF"]}),  # says nothing
        (EQUAL, {"FlipAngle": 10.4}),
        (SPOILED, {"SpoilingType": "combined"}),
        (QMT, {"SpoilingState": True, "InversionTime": 0}),  # a crusher; 0 says nothing
        (BALANCED, {"SpoilingState": False}),
        # The centre of k-space, a pulse of 10 ms that the table takes as instantaneous.
        (TRAIN, {"InversionTime": 0.1}),
        (TRAIN, {"InversionTime": 0.0256}),
        (SATURATED, {"InversionTime": 0.02}),  # the recovery of a saturation
        (RECOVERING, {"EchoTime": 0.002}),  # from the end of the pulse
        (TRAIN, {"EchoTime": 0}),
    ],
)
def test_what_agrees_or_says_nothing_of_the_train_passes(train, said):
    assert check(train, **said) == []


@pytest.mark.parametrize(
    ("train", "said", "words"),
    [(TRAIN, False, "the gradient of pulses is dephasing"), (BALANCED, True, "every gradient is")],
)
def test_a_state_of_spoiling_that_scanners_mean_either_way_is_noted(train, said, words):
    """FISP has no RF spoiling, and Siemens says SP of whatever has a spoiler, as spin echoes."""
    (note,) = check(train, SpoilingState=said)
    assert f"SpoilingState is {str(said).lower()} in the sidecar, but {words}" in note
    assert "rfpulses.tsv, which is used" in note


@pytest.mark.parametrize(
    ("train", "said", "words"),
    [
        (TRAIN, {"EchoTime": 2.0}, "EchoTime is 2 s in the sidecar, but 0.002 s in rfpulses"),
        (TRAIN, {"EchoTime": [0.002, 0.006]}, "EchoTime is 0.006 s"),
        (TRAIN, {"InversionTime": 0.3}, "an inversion comes 0.02 s later in rfpulses.tsv"),
        (WITHOUT, {"InversionTime": 0.02}, "but there is no inversion in rfpulses.tsv"),
        (TRAIN, {"FlipAngle": ANGLES[::-1]}, "lists other angles than those in rfpulses.tsv"),
        (EQUAL, {"FlipAngle": 20}, "FlipAngle is 20 deg in the sidecar, but 10 deg in"),
        (TRAIN, {"InversionTime": 20.0}, "an inversion comes 0.02 s later"),
        (TRAIN, {"InversionTime": 0.01}, "an inversion comes 0.02 s later"),
        (
            BALANCED,
            {"SpoilingState": True, "SpoilingType": "GRADIENT"},
            "SpoilingType is GRADIENT in the sidecar, but every gradient is balanced",
        ),
        (TRAIN, {"SpoilingType": "RF"}, "SpoilingType is RF in the sidecar, but RF phases grow"),
    ],
)
def test_what_contradicts_the_table_is_refused_with_both_values(train, said, words):
    with pytest.raises(DataError, match=words):
        check(train, **said)


def test_keys_of_the_series_beside_the_table_are_not_overlooked():
    check(TRAIN, {"BoundaryCondition": "thermal"}, BoundaryCondition="thermal")
    with pytest.raises(DataError, match=r"is 'periodic' in the JSON .* and is not there"):
        check(TRAIN, {"BoundaryCondition": "periodic"})
    with pytest.raises(DataError, match=r"MagneticFieldStrength is 7 in .* and is 3 there"):
        check(TRAIN, {"MagneticFieldStrength": 7}, MagneticFieldStrength=3)


def test_a_series_that_contradicts_its_table_is_a_problem_of_its_own(raw):
    raw.mrf(EchoTime=0.5)
    with pytest.raises(DataError, match=r"EchoTime is 0\.5 s in the sidecar"):
        find_acquisitions(raw.root)


TABLE = "mt_flip_angle\toffset\n0\t0\n300\t1000\n300\t5000\n"
SPGR = {"MTPulseShape": "HARD", "MTPulseDuration": 0.01, "FlipAngle": 8,
        "RepetitionTimeExcitation": 0.03, "MTDelay": 0, "ExcitationDuration": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"MTState": True, "MTOffsetFrequency": 1000, "MTFlipAngle": 300}, None),
        ({"MTOffsetFrequency": [0, 1000, 5000], "MTState": [False, True, True]}, None),
        ({"MTState": False, "MTOffsetFrequency": 0, "MTFlipAngle": 0}, None),  # of the first
        ({"MTState": [True, True, False]}, "MTState of its sidecar is"),
        ({"MTOffsetFrequency": 2000}, "MTOffsetFrequency of its sidecar is 2000"),
        ({"MTOffsetFrequency": [0, 5000, 1000]}, "MTOffsetFrequency of its sidecar is"),
        ({"MTFlipAngle": [0, 300]}, "MTFlipAngle of its sidecar is"),
        ({"MagneticFieldStrength": 2.89362}, None),  # what scanners of 3 T say
        (
            {"MagneticFieldStrength": 7},
            "MagneticFieldStrength is 3 in acq-z_.*, but 7",
        ),
    ],
)
def test_a_sidecar_of_all_images_must_say_what_their_table_says(raw, said, words):
    raw.random("sub-01/anat/sub-01_acq-z_QMT.nii.gz", 3)
    raw.image("sub-01/anat/sub-01_R1map.nii.gz", np.ones(SHAPE, np.float32))
    raw.json("sub-01/anat/sub-01_R1map.json", {"Units": "1/s"})
    raw.text("acq-z_zspectrum.tsv", TABLE)
    raw.json("acq-z_zspectrum.json", {**SPGR, "MagneticFieldStrength": 3})
    raw.json("sub-01/anat/sub-01_acq-z_QMT.json", said)
    if words is None:
        assert len(find_acquisitions(raw.root).acquisitions) == 1
        return
    with pytest.raises(DataError, match=words):
        find_acquisitions(raw.root)
