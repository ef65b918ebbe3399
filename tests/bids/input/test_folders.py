"""What belongs to a raw data set, and which folder was meant."""

from __future__ import annotations

import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import BidsBrnnError


def copy(raw, folder):
    """The files of participant 01 once more, in ``folder``."""
    for path in list((raw.root / "sub-01").rglob("*.nii.gz")):
        target = raw.root / folder / path.relative_to(raw.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    "folder",
    ["backup", "fmriprep", "bids_brnn", "sourcedata", "sub-01_old", "sub-02 (copy)", "derivatives",
     "sub-01/backup", "sub-01/anat/old", "sub-01/sub-01", "rawdata", ".git", "sub-01.bak"],
)  # fmt: skip
def test_only_what_bids_names_is_raw_data(raw, folder):
    raw.qmt("01")
    expected = [item.parts for item in find_acquisitions(raw.root).acquisitions]
    copy(raw, folder)
    found = find_acquisitions(raw.root)
    assert [item.parts for item in found.acquisitions] == expected
    assert found.problems == ()


def test_masks_in_other_folders_of_the_data_set_are_not_companions(raw):
    raw.qmt("01")
    raw.random("old_results/sub-01/anat/sub-01_acq-a_desc-brain_mask.nii.gz", volumes=1)
    raw.random("sub-01_T1w.nii.gz", volumes=1)
    (series,) = find_acquisitions(raw.root).acquisitions
    assert (series.mask, series.t1w) == (None, None)


def test_folders_left_aside_are_named_once(raw):
    raw.qmt("01")
    for folder in ("backup", "sub-01/extra", "code", "derivatives/x", "sub-01/func", ".hidden"):
        raw.text(f"{folder}/x.txt", "")
    (note,) = [note for note in find_acquisitions(raw.root).notes if "Not read as raw" in note]
    assert note == (f"Not read as raw data: backup, sub-01/extra in {raw.root}.")


def test_a_derivative_inside_the_data_set_is_read_when_it_is_given(raw):
    stem = raw.qmt("01")
    inner = type(raw)(raw.root / "results", derivative=True)
    inner.random(f"{stem}_desc-brain_mask.nii.gz", volumes=1)
    (series,) = find_acquisitions(raw.root, derivatives={"x": inner.root}).acquisitions
    assert series.mask == inner.root / f"{stem}_desc-brain_mask.nii.gz"


def refusal(*arguments, **options):
    with pytest.raises(BidsBrnnError) as caught:
        find_acquisitions(*arguments, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def project(raw, tmp_path):
    """A project: ``raw``, ``derivatives/{fmriprep,recon}``, and FreeSurfer in two places."""
    raw.qmt("01")
    for name in ("fmriprep", "recon"):
        made = type(raw)(tmp_path / "derivatives" / name, derivative=True)
        made.random("sub-01/anat/sub-01_T1w.nii.gz", volumes=1)
    for folder in ("derivatives/freesurfer", "derivatives/fmriprep/sourcedata/freesurfer"):
        path = tmp_path / folder / "sub-01" / "mri" / "orig.mgz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    return tmp_path


def test_a_folder_of_data_sets_is_refused_with_those_in_it(raw, project):
    derivatives = project / "derivatives"
    assert refusal(raw.root, derivatives={"x": derivatives}) == (
        f"{derivatives} is not a data set with participants but holds {derivatives / 'fmriprep'}, "
        f"{derivatives / 'recon'}; give one of them instead."
    )
    assert f"holds {raw.root}; give that instead" in refusal(project)


def test_a_described_folder_of_data_sets_is_refused_too(raw, project):
    type(raw)(project / "derivatives", derivative=True)
    assert "give one of them" in refusal(raw.root, derivatives={"x": project / "derivatives"})


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        ("derivatives/freesurfer", "derivatives/fmriprep"),
        ("derivatives/freesurfer/sub-01", ""),
        ("derivatives/fmriprep/sourcedata/freesurfer", "derivatives/fmriprep."),
    ],
)
def test_freesurfer_is_refused_with_fmriprep_named(raw, project, folder, named):
    message = refusal(raw.root, derivatives={"fs": project / folder})
    assert message.startswith(f"{project / folder} holds results of FreeSurfer")
    assert named in message


def test_a_folder_inside_a_data_set_is_refused_with_the_data_set(raw, project):
    inner = project / "derivatives" / "fmriprep" / "sub-01"
    assert f"give {inner.parent}." in refusal(raw.root, derivatives={"x": inner})
    assert f"give {raw.root}." in refusal(raw.root / "sub-01" / "anat")


def test_raw_is_no_name_for_a_derivative(raw, project):
    assert '"raw" names' in refusal(raw.root, derivatives={"raw": project / "derivatives/recon"})


def test_a_derivative_without_participants_is_noted(raw, recon):
    raw.qmt()
    found = find_acquisitions(raw.root, derivatives={"recon": recon.root})
    assert any("no sub-<label> folder" in note for note in found.notes)
