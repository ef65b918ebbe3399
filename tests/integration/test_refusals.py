"""What the command says, and its exit code, where it cannot do what it is asked."""

from __future__ import annotations

import json
import os
import shutil

import nibabel
import numpy as np
import pytest

QMT = "sub-01/anat/sub-01_acq-hsfp_part-{}_QMT.nii.gz"
MRF = "sub-01/anat/sub-01_acq-fisp_part-{}_MRF.nii.gz"


@pytest.fixture
def dataset(phantom, tmp_path):
    """A copy that may be broken, with one participant."""
    copy = tmp_path / "ds"
    shutil.copytree(phantom, copy, ignore=shutil.ignore_patterns("sub-02", "derivatives"))
    return copy


@pytest.fixture
def refused(dataset, app, tmp_path, capsys):
    """Run; check the code, one sentence per problem, no traceback; give the sentences."""

    def run(code, *options, output=None):
        arguments = [dataset, output or tmp_path / "out", "participant", "-w", tmp_path / "work"]
        arguments += ["--nprocs", 1, "--skip-bids-validation", "--level", "minimal", *options]
        assert app(*arguments) == code
        errors = capsys.readouterr().err
        assert "Traceback" not in errors
        return "\n".join(
            line.removeprefix("bids_brnn: ")
            for line in errors.splitlines()
            if line.startswith("bids_brnn: ")
        )

    return run


def edit_json(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(
        json.dumps({key: value for key, value in content.items() if value is not None})
    )


def rewrite(path, change):
    image = nibabel.load(path)
    values = change(np.asanyarray(image.dataobj))
    nibabel.Nifti1Image(values, image.affine, dtype=values.dtype).to_filename(path)


def test_no_series(dataset, refused):
    for path in (dataset / "sub-01" / "anat").glob("*_acq-*"):
        path.unlink()
    assert "No QMT or MRF series for sub-01" in refused(66)


def test_a_missing_partner(dataset, refused):
    (dataset / QMT.format("imag")).unlink()
    assert "has no part-imag partner" in refused(65, "--modality", "qmt")


def test_shapes_that_differ(dataset, refused):
    rewrite(dataset / QMT.format("imag"), lambda values: values[..., :-1])
    assert "Both parts must have one shape" in refused(65, "--modality", "qmt")


def test_a_missing_pulse_table(dataset, refused):
    (dataset / "acq-hsfp_rfpulses.tsv").unlink()
    assert "acq-hsfp_rfpulses.tsv does not exist" in refused(74, "--modality", "qmt")
    edit_json(dataset / "acq-hsfp_QMT.json", PulseTrain=None)
    assert "rfpulses.tsv" in refused(65, "--modality", "qmt")


def test_a_missing_representation(dataset, refused):
    edit_json(dataset / "acq-hsfp_QMT.json", SignalRepresentation=None)
    assert 'Set it to "subspace" or "time"' in refused(65, "--modality", "qmt")


def test_a_basis_of_another_train(dataset, refused):
    path = dataset / "acq-hsfp_basis.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert "rows" in refused(65, "--modality", "qmt")


def test_an_absent_participant(refused):
    assert "participant 07 is not in" in refused(18, "--participant-label", "sub-07")


def test_output_inside_input(dataset, refused):
    said = refused(2, output=dataset)
    assert said == (
        f"Output folder is the input folder. Suggestion: {dataset / 'derivatives' / 'bids_brnn'}."
    )


def test_work_inside_input(dataset, refused):
    assert "lies inside the data set" in refused(2, "-w", dataset / "work")
    assert not (dataset / "work").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(refused, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "Cannot write" in refused(73, output=closed / "out")


def test_an_output_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Cannot write" in refused(73, output=tmp_path / "file" / "out")


def test_a_work_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Choose another with -w" in refused(73, "-w", tmp_path / "file")


def test_no_dataset_description(dataset, refused):
    (dataset / "dataset_description.json").unlink()
    assert "dataset_description.json is missing; write" in refused(16)


def test_a_damaged_image_is_refused_and_the_other_series_is_mapped(dataset, refused, tmp_path):
    path = dataset / QMT.format("real")
    path.write_bytes(path.read_bytes()[:-20])
    said = refused(74, "--ignore", "b1map")
    assert path.name in said
    assert (tmp_path / "out/sub-01/anat/sub-01_acq-fisp_desc-dict_T1map.nii.gz").exists()
    assert not list((tmp_path / "out").rglob("*QMTmap*"))


def test_magnitudes_of_qmt_are_refused_and_those_of_frames_are_mapped(
    dataset, phantom, refused, tmp_path
):
    folder = dataset / "sub-01" / "anat"
    (folder / "sub-01_acq-fisp_part-phase_MRF.nii.gz").unlink()
    (dataset / QMT.format("imag")).unlink()
    (dataset / QMT.format("real")).rename(dataset / QMT.format("mag"))
    fmriprep = f"fmriprep={phantom / 'derivatives' / 'fmriprep'}"
    assert "qMT needs complex coefficients" in refused(65, "-d", fmriprep)
    anat = tmp_path / "out" / "sub-01" / "anat"
    sidecar = json.loads((anat / "sub-01_acq-fisp_desc-dict_T2map.json").read_text())
    (said,) = sidecar["PreparationSteps"]
    assert said.startswith("magnitudes only")
    assert "Rician" in said
    mask = np.asanyarray(nibabel.load(anat / "sub-01_acq-fisp_desc-brain_mask.nii.gz").dataobj) > 0
    t1 = np.asanyarray(nibabel.load(anat / "sub-01_acq-fisp_desc-dict_T1map.nii.gz").dataobj)
    path = phantom / "derivatives/truth/sub-01/anat/sub-01_acq-fisp_desc-truth_T1map.nii.gz"
    truth = np.asanyarray(nibabel.load(path).dataobj)
    mask &= truth > 0
    # The noise floor of this SNR (60, 100 frames) shifts T1 by a few percent.
    assert abs(np.median(t1[mask] / truth[mask]) - 1) < 0.05


def test_one_flipped_bit_is_noticed(dataset, refused):
    path = dataset / MRF.format("mag")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert path.name in refused(74, "--modality", "mrf")


def test_a_mask_on_another_grid(refused, tmp_path):
    mask = tmp_path / "mask.nii"
    nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)).to_filename(mask)
    said = refused(65, "--modality", "mrf", "--mask", mask)
    assert "does not lie on the grid of the series" in said


def test_units_of_a_field_map(dataset, refused):
    edit_json(dataset / "sub-01" / "fmap" / "sub-01_TB1map.json", Units="furlong")
    assert 'Units is "furlong"' in refused(65, "--modality", "mrf")


def test_a_device_that_is_not_there(refused):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert "no CUDA device" in refused(2, "--modality", "mrf", "--device", "cuda")


def test_a_filter_that_selects_nothing(refused, tmp_path):
    (tmp_path / "filter.json").write_text('{"qmt": {"acquisition": "other"}}')
    said = refused(18, "--modality", "qmt", "--bids-filter-file", tmp_path / "filter.json")
    assert "selects nothing" in said


@pytest.mark.parametrize(("text", "code"), [("[]", 2), ("{", 74), ('{"qmt": 3}', 2)])
def test_a_filter_file_that_is_none(refused, tmp_path, text, code):
    (tmp_path / "filter.json").write_text(text)
    assert "filter.json" in refused(code, "--bids-filter-file", tmp_path / "filter.json")


def test_series_whose_maps_would_have_one_name(dataset, refused):
    # The pointers to the tables stay as they are.
    moved = [dataset / "acq-fisp_MRF.json", *(dataset / "sub-01" / "anat").glob("*acq-fisp*")]
    for path in moved:
        path.rename(path.with_name(path.name.replace("acq-fisp", "acq-hsfp")))
    assert "differ in their suffix only" in refused(65, "--ignore", "b1map")


def test_group_without_tables(dataset, app, tmp_path, capsys):
    assert app(dataset, tmp_path / "out", "group", "-w", tmp_path / "w") == 18
    assert "There is no output folder" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    assert app(dataset, tmp_path / "out", "group", "-w", tmp_path / "w") == 18
    assert "run the participant level with --level full first" in capsys.readouterr().err


def test_a_second_run_of_the_same_participant_is_turned_away(dataset, refused, tmp_path):
    from bids_brnn.app import folders as run_folders
    from bids_brnn.config.run_config import RunConfig

    config = RunConfig(bids_dir=dataset, output_dir=tmp_path / "out", work_dir=tmp_path / "work")
    base = run_folders.base_folder(config)
    run_folders.make_private(base)
    with run_folders.locked(base, ["01"]):
        assert "Another run works on sub-01" in refused(75, "--modality", "mrf")
