"""Z-spectra as they lie on disk: which files are one series, and with which protocol."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.errors import BidsBrnnError

CONSTANTS = {
    "MTPulseShape": "GAUSSHANN", "MTPulseBandwidth": 200, "MTDelay": 0.003,
    "ExcitationDuration": 0.0018, "FlipAngle": 5,
}  # fmt: skip
OFF = "sub-01/ses-02/anat/sub-01_ses-02_mt-off_part-mag_QMT"


def one(spectra, **options):
    found = find_acquisitions(spectra.root, **options)
    assert found.problems == ()
    (series,) = found.acquisitions
    return series, "\n".join(found.notes)


def preprocessed(spectra, **constants):
    """Options that read the data set of qmrust."""
    file = spectra.json("../said.json", {**CONSTANTS, "Normalised": True, **constants})
    inside = spectra.root / "derivatives" / "preprocessed"
    return {"derivatives": {"preprocessed": inside}, "zspectrum": file}


def measured(series):
    protocol = series.sequence
    return list(zip(np.rad2deg(protocol.mt_flip_angle).round(6), protocol.offset, strict=True))


EXPECTED = [(a, o) for a in (332, 628) for o in (1000, 2732, 6862, 17235)]


def test_volumes_of_wand_are_one_series(spectra):
    spectra.wand()
    series, notes = one(spectra)
    assert series.name == "sub-01_ses-02_QMT"
    assert series.entities == {"subject": "01", "session": "02"}
    assert series.representation == "zspectrum"
    assert series.magnitude_only
    assert series.shape == (*spectra.shape, 9)
    assert measured(series) == [(0, 0), *EXPECTED]
    assert np.rad2deg(series.sequence.flip_angle) == pytest.approx(5)
    assert "FlipAngle of images with an MT pulse (332, 628 deg) is taken as that" in notes
    assert len(series.sources) == 9
    assert np.array_equal(read_coefficients(series).data.real, spectra.signal())


def test_repeats_are_averaged_and_counted(spectra):
    head = spectra.wand(repeats=2)
    (spectra.root / f"{head}_mt-off_part-mag_run-2_QMT.nii.gz").unlink()
    series, notes = one(spectra)
    assert series.sequence.weights.tolist() == [1, *[2] * 8]
    assert "8 of 9 measurements were repeated" in notes
    data = read_coefficients(series).data.real
    assert np.allclose(data[..., 1:], spectra.signal()[..., 1:], rtol=1e-6)
    assert np.allclose(data[..., 0], spectra.signal()[..., 0] - 2, rtol=1e-6)


def test_the_numbering_of_wand_has_no_gap(spectra):
    """Two offsets at the first angle, seven at the second, one at the third."""
    spectra.wand()
    folder = spectra.root / "sub-01" / "ses-02" / "anat"
    for path in (*folder.glob("*_flip-1_mt-[34]_*"), *folder.glob("*_flip-2_mt-[34]_*")):
        path.unlink()
    stem = "sub-01/ses-02/anat/sub-01_ses-02_flip-3_mt-1_part-mag_QMT"
    spectra.image(f"{stem}.nii.gz", np.ones(spectra.shape, np.float32))
    spectra.json(f"{stem}.json", {"FlipAngle": 333, "MTOffsetFrequency": 1000})
    assert one(spectra)[0].sequence.n_samples == 6


def test_a_mask_of_one_repeat_is_not_that_of_the_series(spectra):
    spectra.wand(repeats=2)
    mask = "sub-01/ses-02/anat/sub-01_ses-02_run-1_desc-brain_mask.nii.gz"
    spectra.image(mask, np.ones(spectra.shape, np.uint8))
    assert one(spectra)[0].mask is None


def test_weights_are_part_of_the_protocol_only_where_something_was_repeated(spectra):
    spectra.wand()
    once = one(spectra)[0].sequence
    shutil.rmtree(spectra.root / "sub-01")
    spectra.wand(repeats=2)
    assert one(spectra)[0].sequence.digest != once.digest
    assert once.weights is None


def test_volumes_and_maps_of_qmrust(spectra):
    spectra.qmrust()
    series, _ = one(spectra, **preprocessed(spectra))
    assert series.name == "sub-01_QMTSPGR"
    assert measured(series) == EXPECTED
    assert series.sequence.normalised
    assert series.sequence.repetition_time == 0.025
    assert {key: path.name for key, path in series.supplied.items()} == {
        "R1": "sub-01_R1map.nii.gz",
        "B1": "sub-01_TB1map.nii.gz",
        "w0": "sub-01_B0map.nii.gz",
    }
    assert series.mask.name == "sub-01_desc-brain_mask.nii.gz"


def test_one_image_with_a_table(spectra):
    spectra.one_image()
    series, notes = one(spectra)
    assert measured(series) == [(0, 0), *EXPECTED]
    assert series.supplied["R1"].name == "sub-01_T1map.nii.gz"
    assert series.tables["zspectrum"].name == "acq-z_zspectrum.tsv"
    assert "MagneticFieldStrength is missing" in notes


@pytest.mark.parametrize("way", ["option", "lists"])
def test_the_table_may_lie_elsewhere(spectra, way):
    head = spectra.one_image()
    table = spectra.root / "acq-z_zspectrum.tsv"
    options = {}
    if way == "option":
        for path in (table, table.with_suffix(".json")):
            path.rename(spectra.root.parent / path.name)
        options["zspectrum"] = spectra.root.parent / table.name
    else:
        table.unlink()
        angles, offsets = zip((0, 0), *EXPECTED, strict=True)
        states = [False, *[True] * 8]
        lists = {"MTFlipAngle": angles, "MTOffsetFrequency": offsets, "MTState": states}
        spectra.json(f"{head}_QMT.json", lists)
    assert measured(one(spectra, **options)[0]) == [(0, 0), *EXPECTED]


def test_bids_keys_and_another_order_of_entities(spectra):
    spectra.maps()
    spectra.json("zspectrum.json", {**CONSTANTS, "FlipAngle": None, "MTPulseDuration": 0.0102})
    about = {"FlipAngle": 5, "RepetitionTimeExcitation": 0.025, "MTState": False}
    names = [("mt-2_flip-1", about)]
    pulse = {**about, "MTState": True, "MTFlipAngle": 332, "MTOffsetFrequency": 2000}
    names.append(("mt-1_flip-1", pulse))
    for name, content in names:
        stem = f"sub-01/anat/sub-01_part-mag_{name}_QMT"
        spectra.image(f"{stem}.nii.gz", np.ones(spectra.shape, np.float32))
        spectra.json(f"{stem}.json", content)
    assert measured(one(spectra)[0]) == [(332, 2000), (0, 0)]


def test_constants_nearer_to_the_images_hold_whatever_they_are_of(spectra):
    spectra.wand()
    spectra.json("zspectrum.json", {**CONSTANTS, "MagneticFieldStrength": 1.5})
    spectra.json("sub-01/sub-01_zspectrum.json", {"MagneticFieldStrength": 3})
    assert measured(one(spectra)[0]) == [(0, 0), *EXPECTED]


def test_labels_in_a_table_tell_the_volumes(spectra):
    head = spectra.wand()
    for path in (spectra.root / f"{head}").parent.glob("*_flip-*_QMT.json"):
        path.unlink()
    spectra.table(
        "zspectrum.tsv",
        flip=["n/a", *["1"] * 4, *["2"] * 4],
        mt=["off", *"12341234"],
    )
    assert measured(one(spectra)[0]) == [(0, 0), *EXPECTED]
    spectra.table("zspectrum.tsv")
    with pytest.raises(BidsBrnnError, match="cannot be told to files: add columns flip and mt"):
        find_acquisitions(spectra.root)


def test_the_magnitude_of_complex_volumes_is_used(spectra):
    head = spectra.wand()
    values = spectra.signal()[..., 0]
    spectra.image(f"{head}_mt-off_part-phase_QMT.nii.gz", values)
    series, notes = one(spectra)
    assert "Z-spectra need the magnitude only" in notes
    (spectra.root / f"{head}_mt-off_part-mag_QMT.nii.gz").unlink()
    with pytest.raises(BidsBrnnError, match="has no magnitude beside it"):
        find_acquisitions(spectra.root)
    (spectra.root / f"{head}_mt-off_part-phase_QMT.nii.gz").unlink()
    for part, factor in (("real", 0.6), ("imag", -0.8)):
        spectra.image(f"{head}_mt-off_part-{part}_QMT.nii.gz", np.float32(factor) * values)
        spectra.json(f"{head}_mt-off_part-{part}_QMT.json", {"FlipAngle": 5})
    series, notes = one(spectra)
    assert "the images are complex; their magnitude is used" in notes
    assert np.allclose(read_coefficients(series).data, spectra.signal(), rtol=1e-6)


def test_a_series_of_pulse_trains_stays_what_it_was(spectra, raw_trains):
    spectra.wand()
    raw_trains(spectra.root)
    found = find_acquisitions(spectra.root)
    assert found.problems == ()
    kinds = {item.name: item.representation for item in found.acquisitions}
    assert kinds == {"sub-01_acq-a_QMT": "subspace", "sub-01_ses-02_QMT": "zspectrum"}
    trains = found.acquisitions[[*kinds].index("sub-01_acq-a_QMT")]
    assert "R1" not in trains.supplied


@pytest.mark.parametrize("named", ["sidecar", "option"])
def test_the_model_can_be_named(spectra, named):
    spectra.one_image()
    options = {"zspectrum_model": "yarnykh"} if named == "option" else {}
    if named == "sidecar":
        spectra.json("acq-z_QMT.json", {"SignalModel": "yarnykh"})
    assert one(spectra, **options)[0].model == "yarnykh"
