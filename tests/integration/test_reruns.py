"""A run with other options leaves what a clean run with them would make, and nothing else."""

from __future__ import annotations

import re
import shutil

import pytest

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("reruns") / "ds",
        n_participants=1,
        shape=(6, 8, 1),
        mrf_train=jiang_like_train(40),
        qmt_train=hybrid_state_train(n_pulses=30),
        qmt_rank=6,
    )


@pytest.fixture
def run(dataset, app, tmp_path):
    def go(*options, out="out", work="work", dataset=dataset):
        arguments = [dataset, tmp_path / out, "participant", "-w", tmp_path / work, "--nprocs", 1]
        fmriprep = f"fmriprep={dataset / 'derivatives' / 'fmriprep'}"
        return app(*arguments, "--skip-bids-validation", "--sloppy", "-d", fmriprep, *options)

    return go


@pytest.fixture
def results(tmp_path):
    """Files that are no log, with what depends on the number of the run left out."""

    def listed(out="out"):
        found = [path.relative_to(tmp_path / out) for path in (tmp_path / out).rglob("*")]
        kept = [path for path in found if (tmp_path / out / path).is_file()]
        return {str(path) for path in kept if not re.search(r"(^|/)logs?/", str(path))}

    return listed


MRF = ["--modality", "mrf"]
MINIMAL = [*MRF, "--level", "minimal"]


def test_a_rerun_with_other_options_equals_a_clean_run(run, results, tmp_path):
    assert run(*MRF) == 0
    mine = tmp_path / "out" / "sub-01" / "anat" / "sub-01_acq-fisp_desc-mine_T1map.nii.gz"
    mine.write_bytes(b"made by the user, named as ours")
    fuller = results()
    # Fewer inputs, no tables, no page: what is left must be that of a clean run.
    fewer = [*MINIMAL, "--ignore", "b1map", "dseg"]
    assert run(*fewer) == 0
    assert run(*fewer, out="clean", work="other") == 0
    assert results() - results("clean") == {str(mine.relative_to(tmp_path / "out"))}
    assert results("clean") < results() < fuller
    # Back again: everything is there again.
    mine.unlink()
    assert run(*MRF) == 0
    assert results() == fuller - {str(mine.relative_to(tmp_path / "out"))}


def test_series_that_are_not_asked_for_stay_and_the_page_says_so(run, results, tmp_path):
    assert run("--level", "minimal") == 0
    before = results()
    assert run(*MRF) == 0
    assert results() > before
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert page.count("Not part of the last run") == 1
    assert page.index('id="s2"') < page.index("Not part of the last run")


def test_a_failed_run_removes_nothing(dataset, run, results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    assert run(*MINIMAL, dataset=copy) == 0
    before = results()
    image = copy / "sub-01" / "anat" / "sub-01_acq-fisp_part-mag_MRF.nii.gz"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    assert run(*MINIMAL, "--ignore", "b1map", dataset=copy) == 74
    assert results() == before


def test_what_a_killed_run_wrote_is_known_from_its_work(run, results, tmp_path):
    assert run(*MINIMAL) == 0
    assert [name for name in results() if "TB1map" in name]
    for record in (tmp_path / "out").rglob("*MRF_outputs.json"):
        record.unlink()  # as if it had been killed at its end
    assert run(*MINIMAL, "--ignore", "b1map") == 0
    assert not [name for name in results() if "TB1map" in name]


def test_group_tables_follow_those_of_the_participants(finished, results, app, tmp_path):
    dataset, out, work, _, _ = finished
    shutil.copytree(out, tmp_path / "out")
    assert "seg-aseg_desc-dict_scalarstats.tsv" in results()
    for path in (tmp_path / "out").glob("sub-*/anat/*desc-dict_scalarstats.*"):
        path.unlink()
    assert app(dataset, tmp_path / "out", "group", "-w", work) == 0
    assert "seg-aseg_desc-dict_scalarstats.tsv" not in results()
    assert "dict, regions of aseg" not in (tmp_path / "out" / "group.html").read_text()
    assert {"group.html", "seg-aseg_desc-nlls_scalarstats.tsv"} < results()
