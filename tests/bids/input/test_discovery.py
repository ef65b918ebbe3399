"""Which series are found, from which files, and with what around them."""

from __future__ import annotations

import json
import os
import pickle

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.bids.input.dataset import ignored, index
from bids_brnn.errors import BidsBrnnError, UsageError


def only(root, **options):
    found = find_acquisitions(root, **options)
    assert found.problems == ()
    (acquisition,) = found.acquisitions
    return acquisition


def test_a_qmt_series_comes_with_train_basis_and_names(raw):
    raw.qmt()
    series = only(raw.root, participants=["sub-01"])
    assert (series.kind, series.model, series.representation) == ("qmt", "gbloch", "subspace")
    assert series.name == "sub-01_acq-a_QMT"
    assert series.entities == {"subject": "01", "acquisition": "a"}
    assert set(series.parts) == {"real", "imag"}
    assert series.shape == (4, 5, 3, 3)
    assert series.basis is not None
    assert series.basis.shape == (12, 3)
    assert series.sequence.n_samples == 12
    assert series.sequence.start == "antiperiodic"
    assert np.rad2deg(series.sequence.flip_angle[0, :2]) == pytest.approx([10, 11])
    assert series.sources == [
        f"bids:raw:sub-01/anat/sub-01_acq-a_part-{part}_QMT.nii.gz" for part in ("real", "imag")
    ]


def test_coefficients_are_real_plus_i_times_imag(raw):
    stem = raw.qmt()
    volume = read_coefficients(only(raw.root))
    real, imag = (
        nib.load(raw.root / f"{stem}_part-{part}_QMT.nii.gz").get_fdata()
        for part in ("real", "imag")
    )
    assert volume.data.dtype == np.complex64
    assert np.array_equal(volume.data, (real + 1j * imag).astype(np.complex64))


def test_an_mrf_series_of_magnitude_and_phase(raw):
    stem = raw.mrf()
    series = only(raw.root)
    assert (series.kind, series.model, series.representation) == ("mrf", "fisp", "time")
    assert series.basis is None
    assert series.sequence.start == "thermal"
    assert set(series.sequence.gradient.ravel()) == {"dephasing"}
    volume = read_coefficients(series)
    mag = nib.load(raw.root / f"{stem}_part-mag_MRF.nii.gz").get_fdata()
    phase = nib.load(raw.root / f"{stem}_part-phase_MRF.nii.gz").get_fdata()
    # float32 exponentials
    assert np.allclose(volume.data, mag * np.exp(1j * phase), atol=1e-6)


def test_balanced_mrf_takes_the_balanced_model(raw):
    raw.mrf(SpoilingState=False, DephasingPerRepetition=None)
    assert only(raw.root).model == "bssfp"


def test_a_moment_per_repetition_counts_more_than_what_a_scanner_says_of_spoiling(raw):
    """FISP has no RF spoiling: a scanner may write false of it."""
    raw.mrf(SpoilingState=False)
    found = find_acquisitions(raw.root)
    assert [series.model for series in found.acquisitions] == ["fisp"]
    assert any("but the gradient of pulses is dephasing" in note for note in found.notes)


def test_a_sidecar_may_name_its_signal_model(raw):
    raw.mrf(SignalModel="fisp")
    assert only(raw.root).model == "fisp"


@pytest.mark.parametrize("name", ["magic", "gbloch"])
def test_a_signal_model_of_another_kind_is_refused(raw, name):
    raw.mrf(SignalModel=name)
    with pytest.raises(
        BidsBrnnError, match=f'SignalModel of .* is "{name}"; use one of fisp, bssfp'
    ):
        only(raw.root)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_one_complex_file_needs_no_part(raw, kind):
    raw.shared_qmt()
    values = np.random.default_rng(0).normal(size=(4, 5, 3, 3, 2)).view(np.complex128)[..., 0]
    path = raw.root / "sub-01/anat/sub-01_acq-a_QMT.nii.gz"
    path.parent.mkdir(parents=True)
    kind(values.astype(np.complex64), np.eye(4)).to_filename(path)
    series = only(raw.root)
    assert set(series.parts) == {"complex"}
    assert np.array_equal(read_coefficients(series).data, values.astype(np.complex64))


def test_real_and_imag_win_over_magnitude_and_phase(raw):
    stem = raw.qmt()
    raw.random(f"{stem}_part-mag_QMT.nii.gz")
    raw.random(f"{stem}_part-phase_QMT.nii.gz")
    found = find_acquisitions(raw.root)
    assert set(found.acquisitions[0].parts) == {"real", "imag"}
    assert any("part-mag_QMT.nii.gz" in note for note in found.notes)


def test_magnitude_only_is_kept_for_mrf(raw):
    stem = raw.mrf()
    (raw.root / f"{stem}_part-phase_MRF.nii.gz").unlink()
    series = only(raw.root)
    assert series.magnitude_only
    assert np.array_equal(read_coefficients(series).data.imag, np.zeros(series.shape))


def test_sessions_and_runs_are_series_of_their_own(raw):
    raw.qmt(session="1")
    raw.qmt(session="2")
    for run in ("01", "02"):
        for part in ("real", "imag"):
            raw.random(f"sub-01/ses-2/anat/sub-01_ses-2_acq-a_run-{run}_part-{part}_QMT.nii.gz")
    names = [item.name for item in find_acquisitions(raw.root).acquisitions]
    assert sorted(names) == [
        "sub-01_ses-1_acq-a_QMT",
        "sub-01_ses-2_acq-a_QMT",
        "sub-01_ses-2_acq-a_run-01_QMT",
        "sub-01_ses-2_acq-a_run-02_QMT",
    ]
    chosen = find_acquisitions(raw.root, sessions=["ses-1"]).acquisitions
    assert [item.entities["session"] for item in chosen] == ["1"]


def test_only_the_kinds_asked_for(raw):
    raw.qmt()
    raw.mrf()
    assert len(find_acquisitions(raw.root).acquisitions) == 2
    assert only(raw.root, kinds=("mrf",)).kind == "mrf"


def test_a_legal_vfa_series_through_a_filter(raw):
    for part in ("real", "imag"):
        raw.random(f"sub-01/anat/sub-01_acq-a_flip-1_part-{part}_VFA.nii.gz")
    raw.shared_qmt()
    pointers = {"PulseTrain": "bids::code/train.tsv", "SubspaceBasis": "bids::code/basis.tsv"}
    raw.json("acq-a_VFA.json", {"SignalRepresentation": "subspace", **pointers})
    raw.pulses("code/train.tsv")
    raw.basis("code/basis.tsv")
    series = only(raw.root, filters={"qmt": {"suffix": "VFA", "acquisition": "a"}})
    assert series.name == "sub-01_acq-a_flip-1_VFA"
    assert series.tables["rfpulses"].name == "train.tsv"
    assert "flip" not in series.entities


@pytest.mark.parametrize(
    ("value", "runs"),
    [
        ("Query.NONE", [None]),
        (None, [None]),
        ("bids.layout.Query.ANY", ["1", "2"]),
        ("*", ["1", "2"]),
        ("Query.OPTIONAL", [None, "1", "2"]),
        (["1"], ["1"]),
        (2, ["2"]),
    ],
)
def test_filters_take_labels_lists_and_queries(raw, value, runs):
    raw.qmt()
    for run in (1, 2):
        for part in ("real", "imag"):
            raw.random(f"sub-01/anat/sub-01_acq-a_run-{run}_part-{part}_QMT.nii.gz")
    found = find_acquisitions(raw.root, filters={"qmt": {"run": value}})
    assert [item.entities.get("run") for item in found.acquisitions] == runs


@pytest.mark.parametrize(
    "filters",
    [
        {"banana": {}},
        {"qmt": "VFA"},
        {"qmt": {"suffix": {"a": 1}}},
        {"qmt": {"acq": "a"}},
        ["qmt"],
    ],
)
def test_filters_that_mean_nothing_are_refused(raw, filters):
    raw.qmt()
    with pytest.raises(UsageError, match="--bids-filter-file"):
        find_acquisitions(raw.root, filters=filters)


def test_a_reconstruction_derivative_wins_and_uses_the_raw_tables(raw, recon):
    stem = raw.qmt()
    for part in ("real", "imag"):
        recon.random(f"{stem}_part-{part}_QMT.nii.gz", seed=7)
    recon.json("acq-a_QMT.json", {"SignalRepresentation": "subspace"})
    found = find_acquisitions(raw.root, derivatives={"recon": recon.root})
    (series,) = found.acquisitions
    assert series.dataset == "recon"
    assert series.sources[0] == f"bids:recon:{stem}_part-real_QMT.nii.gz"
    assert series.tables["rfpulses"] == raw.root / "acq-a_rfpulses.tsv"
    assert any("taken from recon" in note and "not from raw" in note for note in found.notes)


def test_a_derivative_names_tables_of_the_raw_data_by_its_own_link(raw, recon):
    stem = raw.qmt()
    for part in ("real", "imag"):
        recon.random(f"{stem}_part-{part}_QMT.nii.gz")
    content = json.loads((recon.root / "dataset_description.json").read_text())
    recon.json("dataset_description.json", {**content, "DatasetLinks": {"scans": "../raw"}})
    raw.pulses("other.tsv")
    recon.json(
        "acq-a_QMT.json",
        {"SignalRepresentation": "subspace", "PulseTrain": "bids:scans:other.tsv"},
    )
    series = only(raw.root, derivatives={"recon": recon.root})
    assert series.tables["rfpulses"] == raw.root / "other.tsv"


def test_the_nearest_table_wins(raw):
    raw.qmt()
    raw.pulses("rfpulses.tsv")
    assert only(raw.root).tables["rfpulses"].name == "acq-a_rfpulses.tsv"
    raw.pulses("sub-01/sub-01_acq-a_rfpulses.tsv")
    assert only(raw.root).tables["rfpulses"].name == "sub-01_acq-a_rfpulses.tsv"
    raw.pulses("explicit.tsv")
    raw.json("sub-01/anat/sub-01_acq-a_QMT.json", {"PulseTrain": "bids::explicit.tsv"})
    assert only(raw.root).tables["rfpulses"].name == "explicit.tsv"


def test_the_last_interval_of_a_train_is_the_repetition_time(raw):
    raw.mrf(RepetitionTimeExcitation=0.012)
    onsets = [0.0, *(0.02 + 0.012 * k for k in range(10)), 0.142]
    raw.pulses(
        "acq-f_rfpulses.tsv",
        onset=[round(t, 6) for t in onsets],
        duration=None,
        phase=None,
        pulse_type=["inversion", *["excitation"] * 11],
    )
    intervals = only(raw.root).sequence.repetition_time[0]
    assert intervals[[0, 1, -2, -1]] == pytest.approx([0.02, 0.012, 0.014, 0.012])


def test_defaults_and_gaps_are_noted(raw):
    raw.qmt(BoundaryCondition=None, MagneticFieldStrength=None)
    found = find_acquisitions(raw.root)
    assert found.acquisitions[0].sequence.start == "antiperiodic"
    assert any("BoundaryCondition" in note and "antiperiodic" in note for note in found.notes)
    assert any("MagneticFieldStrength is missing" in note for note in found.notes)


def test_only_requested_folders_are_indexed(raw):
    for subject in ("01", "011", "02"):
        for session in ("1", "2"):
            raw.qmt(subject, session)
    raw.text("sub-01/ses-1/func/sub-01_ses-1_bold.json", "{}")
    raw.text("code/sub-01_x.json", "{}")

    def indexed(*arguments):
        files = index(raw.root, ignored(*arguments)).get(return_type="filename")
        return {str(os.path.relpath(file, raw.root)).rsplit("/anat/")[0] for file in files}

    folders = {name for name in indexed(["01"], ["2"]) if name.startswith(("sub", "code"))}
    # Of other sessions the anatomy only, which may serve this one too.
    assert folders == {"sub-01/ses-1", "sub-01/ses-2"}
    folders = {name for name in indexed(["01"], None, ["func"]) if "/" in name}
    assert folders == {"sub-01/ses-1", "sub-01/ses-2", "sub-01/ses-1/func/sub-01_ses-1_bold.json"}
    assert "acq-a_rfpulses.tsv" in indexed(["02"], None)


def test_only_requested_participants_are_read(raw):
    raw.qmt("01")
    raw.qmt("02")
    raw.text("sub-02/anat/sub-02_acq-a_QMT.json", "{broken")
    (raw.root / "sub-02/anat/sub-02_acq-a_part-real_QMT.nii.gz").write_bytes(b"")
    assert only(raw.root, participants=["01"]).entities["subject"] == "01"


@pytest.mark.parametrize(
    "content",
    ["{broken", "[1, 2]", "[" * 100_000, '{"TR": NaN}', '{"TR": 1e999}', '{"a": "\xe9"}'],
    ids=["syntax", "list", "deep", "nan", "infinite", "latin1"],
)
def test_a_bad_sidecar_stops_its_own_series_only(raw, content):
    raw.qmt("01")
    raw.qmt("02")
    path = raw.root / "sub-02/anat/sub-02_acq-a_QMT.json"
    path.write_bytes(content.encode("latin-1"))
    found = find_acquisitions(raw.root)
    assert [item.entities["subject"] for item in found.acquisitions] == ["01"]
    (problem,) = found.problems
    assert problem.exit_code == 16
    assert str(path) in str(problem)


def test_a_bad_file_name_stops_its_own_series_only(raw):
    raw.qmt()
    raw.random("sub-01/anat/sub-01_acq-b;c_part-real_QMT.nii.gz")
    found = find_acquisitions(raw.root)
    assert len(found.acquisitions) == 1
    assert "acq-b;c" in str(found.problems[0])


def test_a_bad_participant_folder_is_noted(raw):
    raw.qmt()
    raw.random("sub-1;touch x/anat/sub-1;touch x_acq-a_part-real_QMT.nii.gz")
    found = find_acquisitions(raw.root)
    assert len(found.acquisitions) == 1
    assert any("sub-1;touch x" in note for note in found.notes)


def test_folder_and_name_must_agree(raw):
    raw.qmt("01")
    for part in ("real", "imag"):
        raw.random(f"sub-01/anat/sub-02_acq-b_part-{part}_QMT.nii.gz")
    (problem,) = find_acquisitions(raw.root).problems
    assert "sub-02_acq-b_part-imag_QMT.nii.gz lies in sub-01" in str(problem)


def test_links_out_of_the_data_set_are_refused_unless_allowed(raw, tmp_path):
    stem = raw.qmt()
    inside = raw.root / f"{stem}_part-real_QMT.nii.gz"
    outside = tmp_path / "elsewhere" / "secret.nii.gz"
    outside.parent.mkdir()
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(BidsBrnnError, match="leads out of the data set") as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 16
    series = only(raw.root, allowed_links=[outside.parent])
    assert series.parts["real"] == inside


def test_annexed_images_are_followed(raw):
    stem = raw.qmt()
    inside = raw.root / f"{stem}_part-real_QMT.nii.gz"
    stored = raw.root.parent / ".git" / "annex" / "objects" / "SHA256E-s1.nii.gz"
    stored.parent.mkdir(parents=True)
    inside.rename(stored)
    inside.symlink_to(stored)
    series = only(raw.root)
    assert series.parts["real"].name == "sub-01_acq-a_part-real_QMT.nii.gz"
    assert np.isfinite(read_coefficients(series).data).all()


def test_circular_links_and_deeper_copies_are_left_alone(raw):
    stem = raw.qmt()
    raw.random("sub-01/anat/backup/sub-01_acq-a_part-real_QMT.nii.gz")
    (raw.root / "sub-01" / "loop").symlink_to("..")
    (raw.root / "sub-01" / "anat" / "loop").symlink_to(".")
    assert only(raw.root).parts["real"] == raw.root / f"{stem}_part-real_QMT.nii.gz"


def test_nothing_is_written_into_the_input(raw, tmp_path):
    raw.qmt()
    raw.mrf()
    before = raw.files()
    os.chdir(tmp_path)
    for series in find_acquisitions(raw.root).acquisitions:
        read_coefficients(series)
    assert raw.files() == before


def test_an_acquisition_survives_a_process_border(raw):
    raw.qmt()
    series = only(raw.root)
    copy = pickle.loads(pickle.dumps(series))
    assert copy.name == series.name
    assert copy.sequence.digest == series.sequence.digest


def test_the_real_slice(shared):
    root = shared / "data" / "qmt_invivo"
    if not root.is_dir():
        pytest.skip("no data/qmt_invivo in the shared folder")
    found = find_acquisitions(root, derivatives={"recon": root / "derivatives" / "recon"})
    (series,) = found.acquisitions
    assert series.name == "sub-01_acq-hsfp_QMT"
    assert series.shape == (146, 176, 1, 15)
    assert series.sequence.n_trains == 6
    assert series.sequence.n_samples == 6852
    assert series.basis is not None
    assert series.basis.shape == (6852, 15)
    assert series.mask is not None
    assert series.mask.name == "sub-01_acq-hsfp_desc-brain_mask.nii.gz"
    assert series.uri(series.mask).startswith("bids:recon:sub-01/anat/")
