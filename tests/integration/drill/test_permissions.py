"""A user without rights: what cannot be read costs its participant, and no home is needed."""

from __future__ import annotations

import pytest

QUICK = ("--nprocs", 1, "--modality", "mrf", "--sloppy")
UNREADABLE = 74


@pytest.fixture
def run(start, stranger, owned):
    words, folder = stranger

    def go(*options, environment=None, cwd=None, work=folder / "work"):
        program = start(
            *QUICK, *options, data=owned, out=folder / "out", work=work,
            wrapper=[*words, "env", *(environment or [])], cwd=cwd or folder,
        )  # fmt: skip
        code, _, said = program.finish()
        assert "Traceback" not in said, said
        return code, said

    return go


def maps(folder, participant):
    return list((folder / "out" / f"sub-{participant}").rglob("*_T1map.nii.gz"))


LOST = {
    "image": "sub-01/anat/*part-mag_MRF.nii.gz",
    "T1w image": "derivatives/fmriprep/sub-01/anat/*preproc_T1w.nii.gz",
    "sidecar": "sub-01/anat/*part-phase_MRF.json",
    "field map": "sub-01/fmap/*TB1map.nii.gz",
    "sidecar of the field map": "sub-01/fmap/*TB1map.json",
    "data type": "sub-01/anat",
    "participant": "sub-01",
    "mask": "derivatives/fmriprep/sub-01/anat/*brain_mask.nii.gz",
    "participant of a derivative": "derivatives/fmriprep/sub-01",
}
SHARED = {
    "table": "acq-fisp_rfpulses.tsv",
    "sidecar": "acq-fisp_MRF.json",
    "description": "dataset_description.json",
    "derivative": "derivatives/fmriprep",
    "data set": ".",
}


def first_only(words):
    return [words[0], *(pytest.param(word, marks=pytest.mark.slow) for word in words[1:])]


@pytest.fixture
def lock(owned):
    """Take all rights from what a pattern finds, until the end of the test."""
    locked = []

    def take(pattern):
        found = [owned] if pattern == "." else sorted(owned.glob(pattern))
        assert found
        for path in found:
            path.chmod(0)
            locked.append(path)
        return found[0]

    yield take
    for path in locked:
        path.chmod(0o755)


@pytest.mark.parametrize("what", first_only(list(LOST)))
def test_what_cannot_be_read_costs_its_participant_only(run, lock, owned, stranger, what):
    path = lock(LOST[what])
    code, said = run("-d", f"fmriprep={owned / 'derivatives' / 'fmriprep'}")
    assert code == UNREADABLE, said
    assert "ermission denied" in said
    assert path.name in said
    assert not maps(stranger[1], "01")
    assert maps(stranger[1], "02")


@pytest.mark.slow
@pytest.mark.parametrize("what", list(SHARED))
def test_what_all_share_and_cannot_be_read_is_named(run, lock, owned, stranger, what):
    path = lock(SHARED[what])
    code, said = run("-d", f"fmriprep={owned / 'derivatives' / 'fmriprep'}")
    assert code in (UNREADABLE, 16, 2), said
    assert "ermission denied" in said
    assert path.name in said
    assert not maps(stranger[1], "02")


@pytest.mark.slow  # machine code cannot be kept there, and is made anew by every step
@pytest.mark.parametrize("home", ["unset", "not writable", "absent"])
def test_no_home_is_needed(run, stranger, home):
    """Nobody knows the user, either."""
    value = {"unset": ["-u", "HOME"], "not writable": ["HOME=/"], "absent": ["HOME=/none/at/all"]}
    code, said = run("--level", "full", environment=value[home])
    assert code == 0, said
    assert maps(stranger[1], "01")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["TMPDIR=/none", "TMPDIR=/proc", "MPLCONFIGDIR=/proc/x"])
def test_no_temporary_folder_is_needed(run, variable):
    code, said = run("--level", "full", environment=["-u", "HOME", variable])
    assert code == 0, said


@pytest.mark.slow
def test_the_current_folder_may_be_anywhere(run):
    code, said = run(cwd="/")
    assert code == 0, said


@pytest.mark.slow
def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(run, stranger):
    out = stranger[1] / "out"
    out.mkdir()
    out.chmod(0o755)  # of root
    code, said = run()
    assert code == 73, said
    assert f"Cannot write {out}" in said
    assert not (stranger[1] / "work").exists() or not list((stranger[1] / "work").rglob("*.nii"))
