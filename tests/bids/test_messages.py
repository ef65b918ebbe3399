"""What users read when data are wrong: the sentence, and the exit code behind it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bids_brnn
from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.bids.input.protocol import POINTERS
from bids_brnn.bids.input.series import USED_KEYS
from bids_brnn.bids.output.dataset_files import earlier_version, write_dataset_files
from bids_brnn.errors import BidsBrnnError


def refused(code: int, *pieces: str, **options):
    """The error of a search; its message must hold every piece."""
    with pytest.raises(BidsBrnnError) as caught:
        find_acquisitions(**options)
    assert caught.value.exit_code == code
    for piece in pieces:
        assert piece in str(caught.value)
    return str(caught.value)


def test_no_series(raw):
    raw.text("sub-01/anat/sub-01_T1w.json", "{}")
    refused(
        66,
        "No QMT or MRF series for sub-01. Looked for anat/*_QMT.nii[.gz] and *_MRF.nii[.gz] under "
        f"{raw.root}/sub-01. Other suffix? Use --bids-filter-file "
        '(example: {"qmt": {"suffix": "VFA"}}).',
        bids_dir=raw.root,
    )


def test_no_series_of_one_kind(raw):
    raw.qmt()
    refused(66, "No MRF series for sub-01", bids_dir=raw.root, kinds=("mrf",))


def test_no_series_for_one_of_two_participants_asked_for(raw):
    raw.qmt("01")
    raw.text("sub-02/anat/sub-02_T1w.json", "{}")
    found = find_acquisitions(raw.root, participants=["01", "02"])
    assert [problem.exit_code for problem in found.problems] == [66]
    # Without a request it is worth a note, not an error.
    found = find_acquisitions(raw.root)
    assert found.problems == ()
    assert any("series for sub-02" in note for note in found.notes)


def test_several_problems_are_all_told(raw):
    for subject in ("01", "02"):
        stem = raw.qmt(subject)
        (raw.root / f"{stem}_part-imag_QMT.nii.gz").unlink()
    refused(65, "sub-01_acq-a_part-real", "sub-02_acq-a_part-real", bids_dir=raw.root)


def test_a_filter_that_selects_nothing(raw):
    raw.qmt()
    refused(
        18,
        "--bids-filter-file selects nothing",
        bids_dir=raw.root,
        filters={"qmt": {"suffix": "VFA"}},
    )


@pytest.mark.parametrize(
    ("left", "missing"), [("real", "imag"), ("imag", "real"), ("mag", "phase"), ("phase", "mag")]
)
def test_missing_partner_of_qmt(raw, left, missing):
    raw.shared_qmt()
    raw.random(f"sub-01/anat/sub-01_acq-a_part-{left}_QMT.nii.gz")
    refused(
        65,
        f"sub-01_acq-a_part-{left}_QMT.nii.gz has no part-{missing} partner. qMT needs complex "
        "coefficients; magnitude alone cannot be used.",
        bids_dir=raw.root,
    )


def test_magnitude_only_qmt(raw):
    raw.shared_qmt()
    raw.random("sub-01/anat/sub-01_acq-a_QMT.nii.gz")
    refused(65, "sub-01_acq-a_QMT.nii.gz is a magnitude image. qMT needs", bids_dir=raw.root)


def test_missing_partner_of_mrf(raw):
    stem = raw.mrf()
    (raw.root / f"{stem}_part-mag_MRF.nii.gz").unlink()
    refused(65, "part-phase_MRF.nii.gz has no part-mag partner", bids_dir=raw.root)


def test_parts_of_different_shape(raw):
    stem = raw.qmt()
    raw.random(f"{stem}_part-imag_QMT.nii.gz", volumes=2)
    refused(
        65,
        "sub-01_acq-a: part-real is 4x5x3x3, part-imag is 4x5x3x2. Both parts must have one shape "
        "and affine.",
        bids_dir=raw.root,
    )


def test_parts_of_different_affine(raw):
    stem = raw.qmt()
    raw.image(f"{stem}_part-imag_QMT.nii.gz", np.zeros((4, 5, 3, 3), np.float32), np.eye(4))
    refused(65, "affines of part-real and part-imag differ", bids_dir=raw.root)


def test_three_axes(raw):
    stem = raw.qmt()
    for part in ("real", "imag"):
        raw.image(f"{stem}_part-{part}_QMT.nii.gz", np.zeros((4, 5, 3), np.float32))
    refused(65, "has 3 axes (4x5x3)", bids_dir=raw.root)


def test_volumes_against_basis(raw):
    raw.qmt()
    raw.basis("acq-a_basis.tsv", columns=2)
    refused(
        65, "sub-01_acq-a has 3 volumes, basis acq-a_basis.tsv has 2 columns.", bids_dir=raw.root
    )


def test_basis_against_readouts(raw):
    raw.qmt()
    raw.basis("acq-a_basis.tsv", rows=10)
    refused(
        65,
        "acq-a_basis.tsv has 10 rows, acq-a_rfpulses.tsv has 12 rows with readout = 1.",
        bids_dir=raw.root,
    )


def test_frames_against_readouts(raw):
    raw.mrf()
    raw.pulses("acq-f_rfpulses.tsv", n=8, tr=0.012, duration=None)
    refused(65, "sub-01_acq-f has 12 volumes, acq-f_rfpulses.tsv has 8 rows", bids_dir=raw.root)


def test_missing_representation(raw):
    raw.qmt(SignalRepresentation=None)
    raw.json("sub-01/anat/sub-01_acq-a_QMT.json", {})
    refused(
        65,
        'No "SignalRepresentation" for sub-01_acq-a_QMT (looked in: sub-01_acq-a_QMT.json, '
        'acq-a_QMT.json). Set it to "subspace" or "time".',
        bids_dir=raw.root,
    )


def test_missing_sidecar(raw):
    raw.qmt()
    (raw.root / "acq-a_QMT.json").unlink()
    refused(65, "looked in: sub-01_acq-a_QMT.json, acq-a_QMT.json", bids_dir=raw.root)


def test_unknown_representation(raw):
    raw.qmt(SignalRepresentation="frames")
    refused(65, '"frames" is not a valid "SignalRepresentation"', bids_dir=raw.root)


@pytest.mark.parametrize(
    ("suffix", "key"), [("rfpulses", "PulseTrain"), ("basis", "SubspaceBasis")]
)
def test_missing_table(raw, suffix, key):
    raw.qmt()
    (raw.root / f"acq-a_{suffix}.tsv").unlink()
    refused(65, f"write acq-a_{suffix}.tsv", f'"{key}"', bids_dir=raw.root)


def test_two_tables_that_fit_equally_well(raw):
    raw.qmt()
    raw.pulses("sub-01/anat/sub-01_rfpulses.tsv")
    raw.pulses("sub-01/anat/acq-a_rfpulses.tsv")
    refused(65, "acq-a_rfpulses.tsv and sub-01_rfpulses.tsv fit", bids_dir=raw.root)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("bids::../outside.tsv", "leads out of the data set"),
        ("bids::/etc/passwd", "leads out of the data set"),
        ("bids:other:train.tsv", 'no data set is called "other"'),
        ("acq-a_rfpulses.tsv", "is not a BIDS URI"),
        (["bids::a.tsv"], "is not a BIDS URI"),
        ("bids::" + "a" * 6000, "is too long for a path"),
        ("bids::a\0b.tsv", "holds what cannot be printed"),
    ],
)
def test_pointers_that_lead_nowhere(raw, uri, reason):
    raw.qmt(PulseTrain=uri)
    refused(16, "PulseTrain of sub-01_acq-a_QMT: ", reason, bids_dir=raw.root)


def test_pointer_to_an_absent_table(raw):
    raw.qmt(PulseTrain="bids::gone.tsv")
    refused(74, "gone.tsv does not exist", bids_dir=raw.root)


def test_a_pulse_table_error_names_the_table(raw):
    raw.qmt()
    raw.pulses("acq-a_rfpulses.tsv", duration=None)
    refused(65, 'acq-a_rfpulses.tsv: the pulse table has no column "duration"', bids_dir=raw.root)


def test_repetition_time_against_onsets(raw):
    raw.qmt(RepetitionTimeExcitation=0.005)
    refused(65, "RepetitionTimeExcitation is 0.005 s", "0.0035", bids_dir=raw.root)


@pytest.mark.parametrize("value", ["3 ms", True, [0.0035]])
def test_repetition_time_that_is_no_number(raw, value):
    raw.qmt(RepetitionTimeExcitation=value)
    refused(65, "RepetitionTimeExcitation of sub-01_acq-a_QMT is", bids_dir=raw.root)


def test_field_strength_that_is_none(raw):
    raw.qmt(MagneticFieldStrength=0)
    refused(65, "MagneticFieldStrength of sub-01_acq-a_QMT is 0", bids_dir=raw.root)


def test_dephasing_is_needed_for_fisp(raw):
    raw.mrf(DephasingPerRepetition=None)
    refused(65, 'No "DephasingPerRepetition" for sub-01_acq-f_MRF', bids_dir=raw.root)


def test_partial_dephasing_is_refused(raw):
    raw.mrf(DephasingPerRepetition=1.5)
    refused(
        65, "DephasingPerRepetition of sub-01_acq-f_MRF is 1.5", "full turn", bids_dir=raw.root
    )


def test_unknown_boundary_condition(raw):
    raw.qmt(BoundaryCondition="open")
    refused(65, 'BoundaryCondition "open" is unknown', bids_dir=raw.root)


def test_phase_units(raw):
    stem = raw.mrf()
    raw.json(f"{stem}_part-phase_MRF.json", {"Units": "arbitrary"})
    refused(
        65,
        'sub-01_acq-f_part-phase_MRF.json: Units is "arbitrary"; radians are needed ("rad").',
        bids_dir=raw.root,
    )
    (raw.root / f"{stem}_part-phase_MRF.json").unlink()
    refused(65, "Units is missing", bids_dir=raw.root)


def test_phase_that_cannot_be_radians(raw):
    stem = raw.mrf()
    raw.image(f"{stem}_part-phase_MRF.nii.gz", np.full((4, 5, 3, 12), 4095, np.int16))
    (series,) = find_acquisitions(raw.root).acquisitions
    with pytest.raises(BidsBrnnError, match="phase reaches 4095; radians"):
        read_coefficients(series)
    turns = np.linspace(-0.5, 0.5, 720).reshape(4, 5, 3, 12)
    for unit, words in ((1, r"-0\.5 and 0\.5"), (2, "-1 and 1")):
        raw.image(f"{stem}_part-phase_MRF.nii.gz", (unit * turns).astype(np.float32))
        with pytest.raises(BidsBrnnError, match=f"phase lies between {words}, as after a div"):
            read_coefficients(series)


@pytest.mark.parametrize("values", [[1.0], [0.0, 1.0], [0.0, 0.5, 2.0], [-1.0, 0.1, 1.0]])
def test_radians_that_happen_to_be_whole_numbers_are_no_other_unit(raw, values):
    stem = raw.mrf()
    phase = np.resize(np.array(values, np.float32), (4, 5, 3, 12))
    raw.image(f"{stem}_part-phase_MRF.nii.gz", phase)
    (series,) = find_acquisitions(raw.root).acquisitions
    turned = read_coefficients(series).data
    np.testing.assert_allclose(np.angle(turned), phase, atol=1e-5)


def test_parts_that_contradict_each_other(raw):
    stem = raw.qmt()
    raw.json(f"{stem}_part-imag_QMT.json", {"MagneticFieldStrength": 7})
    refused(65, "MagneticFieldStrength differs between the parts", bids_dir=raw.root)


def test_parts_may_differ_in_keys_that_are_not_used(raw):
    stem = raw.qmt(EchoTime=0.002)
    for part in ("real", "imag"):
        raw.json(f"{stem}_part-{part}_QMT.json", {"ImageType": ["ORIGINAL", part]})
    (series,) = find_acquisitions(raw.root).acquisitions
    assert series.metadata["EchoTime"] == 0.002
    assert "ImageType" not in series.metadata


def test_the_keys_that_parts_must_share_are_all_that_are_used():
    read = r'(?:metadata(?:\.get\(|, |\[)|_number\()"([A-Z]\w+)"|POINTERS = (\{.*\})'
    sources = [*Path(bids_brnn.__file__).parent.glob("bids/input/*.py")]
    sources += Path(bids_brnn.__file__).parent.glob("workflows/*.py")
    sources += Path(bids_brnn.__file__).parent.glob("bids/output/sidecars.py")
    text = "".join(path.read_text() for path in sources)
    found = {key for key, _ in re.findall(read, text) if key} | {*POINTERS.values()}
    assert len(found) > 8
    of_companions = {"Units", "SpatialReference"}
    assert found - of_companions <= set(USED_KEYS)


def test_two_files_for_one_part(raw):
    raw.qmt()
    raw.random("sub-01/anat/sub-01_acq-a_flip-1_part-real_QMT.nii.gz")
    refused(65, "would be the same series", bids_dir=raw.root)


def test_absent_participant_lists_what_exists(raw):
    for k in range(1, 8):
        (raw.root / f"sub-{k:02d}").mkdir()
    refused(
        18,
        f"participant 42 is not in {raw.root} (there are 7: 01 ... 07).",
        bids_dir=raw.root,
        participants=["sub-42", "01"],
    )


@pytest.mark.parametrize("label", ["a;touch x", "../x", "$(id)", "0.", "sub-"])
def test_labels_that_are_none(raw, label):
    raw.qmt()
    refused(2, "letters and digits only", bids_dir=raw.root, participants=[label])


def test_absent_session(raw):
    raw.qmt(session="1")
    refused(18, "session 9 is not in", "1: 1", bids_dir=raw.root, sessions=["9"])


def test_no_participants_at_all(raw):
    refused(18, "has no sub-<label> folder", bids_dir=raw.root)


def test_missing_dataset_description(raw, recon):
    raw.qmt()
    (recon.root / "dataset_description.json").unlink()
    refused(
        16,
        f"{recon.root}/dataset_description.json is missing; write ",
        '"DatasetType": "derivative"',
        bids_dir=raw.root,
        derivatives={"recon": recon.root},
    )
    (raw.root / "dataset_description.json").unlink()
    refused(16, '{"Name": "...", "BIDSVersion": "1.11.1"}', bids_dir=raw.root)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"Name": "x"}', '{"Name": 1, "BIDSVersion": "1"}']
)
def test_bad_dataset_description(raw, content):
    raw.qmt()
    raw.text("dataset_description.json", content)
    refused(16, "dataset_description.json", bids_dir=raw.root)


def test_input_that_is_not_there(tmp_path):
    refused(16, "is not a folder", bids_dir=tmp_path / "nowhere")


def test_every_message_is_one_paragraph_without_a_traceback(raw):
    raw.qmt(SignalRepresentation=None)
    message = refused(65, bids_dir=raw.root)
    assert not re.search(r"Traceback|\n", message)


def test_outputs_of_another_version(raw, tmp_path):
    out = tmp_path / "out"
    assert earlier_version(out, "0.2.0") is None
    write_dataset_files(out, links={"raw": raw.root}, version="0.1.0")
    assert earlier_version(out, "0.1.0") is None
    assert earlier_version(out, "0.2.0") == (
        f"Pre-existing outputs in {out} are from bids_brnn 0.1.0, this is 0.2.0."
    )
    (out / "dataset_description.json").write_text("{")
    assert "cannot be read" in str(earlier_version(out, "0.2.0"))
