"""Which field map a series has."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import BidsBrnnError

ONES = np.ones((4, 5, 3), np.float32)


def series_of(raw, **options):
    found = find_acquisitions(raw.root, **options)
    assert found.problems == ()
    return found.acquisitions[0]


def test_the_only_field_maps_of_the_session(raw):
    raw.qmt()
    b1 = raw.image("sub-01/fmap/sub-01_TB1map.nii.gz", ONES)
    b0 = raw.image("sub-01/fmap/sub-01_fieldmap.nii.gz", ONES)
    assert series_of(raw).supplied == {"B1": b1, "w0": b0}
    assert series_of(raw, ignore=["b1map"]).supplied == {"w0": b0}


def test_two_field_maps_are_refused(raw):
    raw.qmt()
    for acq in ("x", "y"):
        raw.image(f"sub-01/fmap/sub-01_acq-{acq}_TB1map.nii.gz", ONES)
    with pytest.raises(BidsBrnnError) as caught:
        find_acquisitions(raw.root)
    assert str(caught.value) == (
        "Two B1 maps for sub-01_acq-a_QMT: sub-01_acq-x_TB1map.nii.gz, "
        "sub-01_acq-y_TB1map.nii.gz. Name the series in IntendedFor of one, or "
        "filter with --bids-filter-file."
    )
    assert caught.value.exit_code == 65
    chosen = series_of(raw, filters={"b1map": {"acquisition": "y"}}).supplied["B1"]
    assert chosen.name == "sub-01_acq-y_TB1map.nii.gz"
    assert series_of(raw, ignore=["b1map"]).supplied == {}


@pytest.mark.parametrize(
    "target",
    [
        "bids::sub-01/anat/sub-01_acq-a_part-real_QMT.nii.gz",
        ["bids:raw:sub-01/anat/sub-01_acq-a_part-imag_QMT.nii.gz"],
        "anat/sub-01_acq-a_part-real_QMT.nii.gz",
    ],
)
def test_intended_for_decides(raw, target):
    raw.qmt()
    for acq in ("x", "y"):
        raw.image(f"sub-01/fmap/sub-01_acq-{acq}_TB1map.nii.gz", ONES)
    raw.json("sub-01/fmap/sub-01_acq-y_TB1map.json", {"IntendedFor": target})
    assert series_of(raw).supplied["B1"].name == "sub-01_acq-y_TB1map.nii.gz"


def test_intended_for_the_raw_file_holds_for_its_reconstruction(raw, recon):
    stem = raw.qmt()
    for part in ("real", "imag"):
        recon.random(f"{stem}_part-{part}_QMT.nii.gz")
    recon.json("acq-a_QMT.json", {"SignalRepresentation": "subspace"})
    for acq in ("x", "y"):
        raw.image(f"sub-01/fmap/sub-01_acq-{acq}_TB1map.nii.gz", ONES)
    raw.json(
        "sub-01/fmap/sub-01_acq-y_TB1map.json",
        {"IntendedFor": f"bids::{stem}_part-real_QMT.nii.gz"},
    )
    supplied = series_of(raw, derivatives={"recon": recon.root}).supplied
    assert supplied["B1"].name == "sub-01_acq-y_TB1map.nii.gz"


def test_a_field_map_for_something_else_is_left_alone(raw):
    raw.qmt()
    raw.image("sub-01/fmap/sub-01_fieldmap.nii.gz", ONES)
    raw.json(
        "sub-01/fmap/sub-01_fieldmap.json",
        {"IntendedFor": "bids::sub-01/func/sub-01_task-rest_bold.nii.gz"},
    )
    assert series_of(raw).supplied == {}


def test_b0_field_source_decides(raw):
    raw.qmt(B0FieldSource="second")
    for acq, name in (("x", "first"), ("y", "second")):
        raw.image(f"sub-01/fmap/sub-01_acq-{acq}_fieldmap.nii.gz", ONES)
        raw.json(f"sub-01/fmap/sub-01_acq-{acq}_fieldmap.json", {"B0FieldIdentifier": name})
    assert series_of(raw).supplied["w0"].name == "sub-01_acq-y_fieldmap.nii.gz"


@pytest.mark.parametrize(
    "target",
    [
        "ses-1/anat/sub-01_ses-1_acq-a_part-real_QMT.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-a_part-real_QMT.nii.gz",
        ["./sub-01/ses-1/anat/sub-01_ses-1_acq-a_part-imag_QMT.nii.gz"],
        "/sub-01/ses-1/anat/sub-01_ses-1_acq-a_part-imag_QMT.nii.gz",
        "anat/sub-01_ses-1_acq-a_part-real_QMT.nii.gz",
        "ses-1\\anat\\sub-01_ses-1_acq-a_part-real_QMT.nii.gz",
        "bids::sub-01/ses-1/anat/sub-01_ses-1_acq-a_part-phase_QMT.nii.gz",
        "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_acq-a_QMT.nii",
        ["ses-1/func/sub-01_ses-1_bold.nii.gz", "ses-1/anat/sub-01_ses-1_acq-a_QMT.nii.gz"],
    ],
)
def test_every_form_of_intended_for_is_understood(raw, target):
    raw.qmt(session="1")
    fmap = "sub-01/ses-1/fmap/sub-01_ses-1"
    for acq in ("x", "y"):
        raw.image(f"{fmap}_acq-{acq}_TB1map.nii.gz", ONES)
    raw.json(f"{fmap}_acq-y_TB1map.json", {"IntendedFor": target})
    assert series_of(raw).supplied["B1"].name == "sub-01_ses-1_acq-y_TB1map.nii.gz"


@pytest.mark.parametrize(
    "target",
    ["anat/sub-01_acq-b_QMT.nii.gz", ["bids:lost:sub-01/anat/sub-01_acq-a_QMT.nii.gz"],
     "sub-02/anat/sub-02_acq-a_part-real_QMT.nii.gz", "func/sub-01_acq-a_part-real_QMT.nii.gz", 7],
)  # fmt: skip
def test_a_map_for_nothing_that_exists_is_named(raw, target):
    raw.qmt()
    raw.image("sub-01/fmap/sub-01_TB1map.nii.gz", ONES)
    raw.json("sub-01/fmap/sub-01_TB1map.json", {"IntendedFor": target})
    found = find_acquisitions(raw.root)
    first = target[0] if isinstance(target, list) else target
    assert (
        f"sub-01_TB1map.nii.gz is not used: its IntendedFor names {first!r}, and this participant "
        "has no such file. For sub-01_acq-a_QMT write "
        '"bids::sub-01/anat/sub-01_acq-a_part-imag_QMT.nii.gz" or '
        '"anat/sub-01_acq-a_part-imag_QMT.nii.gz".'
    ) in found.notes
    assert found.acquisitions[0].supplied == {}


def test_a_copied_sidecar_that_names_another_participant_is_named(raw):
    raw.qmt()
    raw.qmt("02")
    target = "bids::sub-01/anat/sub-01_acq-a_part-real_QMT.nii.gz"
    for subject in ("01", "02"):
        raw.image(f"sub-{subject}/fmap/sub-{subject}_TB1map.nii.gz", ONES)
        raw.json(f"sub-{subject}/fmap/sub-{subject}_TB1map.json", {"IntendedFor": target})
    found = find_acquisitions(raw.root)
    assert [sorted(item.supplied) for item in found.acquisitions] == [["B1"], []]
    notes = [note for note in found.notes if "TB1map" in note]
    assert len(notes) == 1
    assert f"sub-02_TB1map.nii.gz is not used: its IntendedFor names {target!r}" in notes[0]


def test_a_map_for_something_else_that_exists_is_not_worth_a_note(raw):
    raw.qmt()
    raw.text("sub-01/func/sub-01_bold.nii.gz", "")
    raw.image("sub-01/fmap/sub-01_fieldmap.nii.gz", ONES)
    for target in ("func/sub-01_bold.nii.gz", "bids::sub-01/func/sub-01_bold.nii.gz"):
        raw.json("sub-01/fmap/sub-01_fieldmap.json", {"IntendedFor": target})
        assert not any("fieldmap" in note for note in find_acquisitions(raw.root).notes)


def test_a_map_for_another_source_or_in_another_space_is_not_used(raw, recon):
    raw.qmt(B0FieldSource="second")
    raw.image("sub-01/fmap/sub-01_fieldmap.nii.gz", ONES)
    raw.json("sub-01/fmap/sub-01_fieldmap.json", {"B0FieldIdentifier": "first"})
    recon.image("sub-01/fmap/sub-01_space-MNI152NLin6Asym_TB1map.nii.gz", ONES)
    found = find_acquisitions(raw.root, derivatives={"recon": recon.root})
    assert found.acquisitions[0].supplied == {}
    assert any("is not the B0FieldSource of sub-01_acq-a_QMT (second)" in n for n in found.notes)
    assert any("it lies in the space MNI152NLin6Asym" in note for note in found.notes)
