"""What an import leaves behind: a whole data set, a longer one, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from bids_brnn.app.validation import find_program, run_validator
from bids_brnn.bids.tables import read_columns
from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import DataError
from bids_brnn.importing import dataset, staging


@pytest.fixture
def folder(bench, qmrlab, stated):
    """Import the same folder of qMRLab as any participant."""
    qmrlab()

    def run(*words, out=None):
        return bench.run("qmrlab", bench.path("q"), *stated, *words, out=out)

    return run


def tree(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def test_a_dry_run_says_what_the_run_writes_and_writes_nothing(bench, folder):
    before = tree(bench.folder)
    dry = folder("--dry-run", "--session", "2", "--run", "1", "--label", "a")
    assert dry.code == 0, dry.err
    assert tree(bench.folder) == before
    wet = folder("--session", "2", "--run", "1", "--label", "a")
    assert dry.out.replace("would write", "wrote") == wet.out.partition("next:")[0]
    said = {line.split("  (")[0].strip() for line in dry.out.splitlines()[2:]}
    made = {str(path.relative_to(bench.out)) for path in bench.out.rglob("*") if path.is_file()}
    assert said == made
    assert "sub-01/ses-2/anat/sub-01_ses-2_acq-a_run-1_part-mag_QMT.nii.gz" in said


def test_an_imported_data_set_is_valid(bench, folder):
    program = find_program()
    if program is None:
        pytest.skip("the BIDS validator is not installed")
    assert folder().code == 0
    assert run_validator(program, bench.out) == []


def test_what_the_validator_refuses_is_not_written(bench, folder, monkeypatch, qmrlab):
    monkeypatch.setattr("bids_brnn.cli.toolbox.import_data.find_program", lambda: "x")
    issue = {"code": "FILENAME_MISMATCH", "location": "/sub-01/anat/x.nii.gz"}
    monkeypatch.setattr("bids_brnn.cli.toolbox.import_data.run_validator", lambda *_: [issue])
    words = ["import", "qmrlab", str(bench.path("q")), str(bench.out), "--subject", "01"]
    assert main([*words, "--voxel-size", "1", "1", "1", "--orientation", "unknown"]) == 16
    assert "sub-01/anat/x.nii.gz: FILENAME_MISMATCH" in bench.capsys.readouterr().err
    assert not bench.out.exists()


def test_a_data_set_grows_and_what_was_there_stays(bench, folder):
    assert folder().code == 0
    (bench.out / "participants.tsv").write_text("participant_id\tage\nsub-01\t31\n")
    (bench.out / ".bidsignore").write_text("extra/\n*_QMT.*\n")
    (bench.out / "README.md").write_text("ours\n")
    before = tree(bench.out)
    assert folder("--subject", "02").code == 0
    after = tree(bench.out)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"participants.tsv", ".bidsignore"}
    columns = read_columns(bench.out / "participants.tsv")
    assert columns == {"participant_id": ["sub-01", "sub-02"], "age": ["31", "n/a"]}
    ignored = (bench.out / ".bidsignore").read_text().splitlines()
    assert ignored[:2] == ["extra/", "*_QMT.*"]
    assert "*_zspectrum.*" in ignored
    assert ignored.count("*_QMT.*") == 1


def test_a_data_set_without_a_list_of_participants_gets_no_list_of_one(bench, folder):
    assert folder().code == 0
    (bench.out / "participants.tsv").unlink()
    (bench.out / "README.md").rename(bench.out / "README")
    assert folder("--subject", "02").code == 0
    assert not (bench.out / "participants.tsv").exists()
    assert not (bench.out / "README.md").exists()  # a second README is against BIDS


def test_two_imports_do_not_lengthen_a_list_at_once(bench, folder, monkeypatch):
    monkeypatch.setattr(dataset, "_PATIENCE", 0.0)
    with dataset.alone(bench.out, print):
        said = folder()
    assert (said.code, "another import has held" in said.err) == (73, True)
    assert not bench.out.exists()
    assert folder().code == 0


def test_an_import_waits_minutes_for_another_one_and_says_so(bench, folder, monkeypatch):
    other, clock = ExitStack(), iter(range(0, 10**9, 1000))  # s
    other.enter_context(dataset.alone(bench.out, print))

    def sleep(_seconds: float) -> None:
        other.close()

    monkeypatch.setattr(dataset, "time", SimpleNamespace(monotonic=clock.__next__, sleep=sleep))
    said = folder()
    assert said.code == 0
    assert said.err.count(f"waiting for another import into {bench.out.parent}") == 1


@pytest.mark.parametrize("is_link", [False, True])
def test_a_folder_that_is_there_and_empty_becomes_the_data_set(bench, folder, is_link):
    disk = bench.path("disk/x").parent
    if is_link:
        bench.out.symlink_to(disk)
    else:
        bench.out.mkdir()
    number = (disk if is_link else bench.out).stat().st_ino
    assert folder().code == 0
    assert bench.out.stat().st_ino == number
    assert bench.read()[0].name == "sub-01_acq-qmrlab_QMT"
    assert not list(bench.out.glob(".tmp*"))


def test_a_data_set_in_a_folder_that_may_not_be_written_grows(bench, folder, monkeypatch):
    real = os.access
    closed = bench.out.parent
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real(path, mode))
    bench.out.mkdir()
    seen = []
    make = staging.tempfile.mkdtemp
    monkeypatch.setattr(
        staging.tempfile, "mkdtemp", lambda **words: seen.append(words["dir"]) or make(**words)
    )
    assert folder().code == 0
    assert folder("--subject", "02").code == 0
    assert seen == [bench.out] * 2
    assert not list(bench.out.glob(".tmp*"))


def test_nothing_is_overwritten(bench, folder, qmrlab):
    assert folder().code == 0
    before = tree(bench.out)
    again = folder()
    assert (again.code, "already" in again.err) == (73, True)
    qmrlab()  # other images under the same name
    other = folder()
    assert (other.code, "nothing is overwritten" in other.err) == (73, True)
    qmrlab(Readpulsealpha=9.0)  # another protocol for the same label
    other = folder("--subject", "02")
    assert (other.code, "acq-qmrlab_zspectrum.json is there already" in other.err) == (73, True)
    assert tree(bench.out) == before
    assert folder("--subject", "02", "--label", "nine").code == 0


def test_a_series_that_cannot_be_read_beside_the_others_leaves_no_trace(bench, folder):
    assert folder().code == 0
    # Of all series of the data set; it contradicts the protocol of the new one.
    (bench.out / "QMT.json").write_text(json.dumps({"FlipAngle": 40}))
    before = tree(bench.out)
    said = folder("--label", "b", "--subject", "02")
    assert (said.code, "FlipAngle" in said.err) == (65, True), said.err
    assert tree(bench.out) == before
    assert not [path for path in bench.folder.iterdir() if path.name.startswith(".tmp")]


def test_an_import_that_breaks_half_way_leaves_no_trace(bench, folder, monkeypatch):
    assert folder().code == 0
    before = tree(bench.out)
    real, count = dataset.check_read, []

    def second_time(*words):
        count.append(1)
        if len(count) == 2:
            raise DataError("it does not fit")
        return real(*words)

    for place in ("bids_brnn.importing.dataset", "bids_brnn.cli.toolbox.import_data"):
        monkeypatch.setattr(f"{place}.check_read", second_time)
    said = folder("--subject", "02")
    assert (said.code, said.err.strip()) == (65, "brnn import: it does not fit")
    assert tree(bench.out) == before


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--subject", "a_b"], 2, "--subject 'a_b': labels of BIDS are letters and digits"),
        (["--subject", ""], 2, "--subject ''"),
        (["--subject", "../x"], 2, "labels of BIDS"),
        (["--session", "pre-1"], 2, "--session 'pre-1'"),
        (["--label", "x.y"], 2, "--label 'x.y'"),
        (["--run", "one"], 2, "runs are numbered"),
        (["--field-strength", "30000"], 2, "0.01 to 25 T"),
        (["--voxel-size", "2", "2", "0"], 2, "three sizes in mm"),
        (["--orientation", "RRS"], 2, "three letters"),
        (["--basis", "x.tsv"], 2, "--basis: not for qmrlab"),
        (["--t1-map", "q/R1map.mat"], 2, "give --t1-unit"),
    ],
)
def test_labels_and_numbers_are_checked(bench, folder, words, code, text, monkeypatch):
    monkeypatch.chdir(bench.folder)
    said = folder(*words)
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1), said.err
    assert text in said.err
    assert not bench.out.exists()


def test_prefixes_of_labels_are_taken_off(bench, folder):
    said = folder("--subject", "sub-07", "--session", "ses-a", "--dry-run")
    assert "sub-07_ses-a_acq-qmrlab_QMT" in said.out


def test_a_folder_that_is_no_data_set_is_left_alone(bench, folder):
    bench.text("ds/notes.txt", "mine")
    said = folder()
    assert (said.code, "it is no BIDS data set" in said.err) == (73, True)
    assert tree(bench.out).keys() == {"notes.txt"}
    said = folder(out=bench.path("ds/notes.txt"))
    assert (said.code, "is a file" in said.err) == (73, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(bench, folder):
    locked = bench.path("locked/x").parent
    locked.chmod(0o500)
    said = folder(out=locked / "ds")
    assert (said.code, str(locked) in said.err) == (73, True)


def test_the_position_of_an_image_like_it_is_taken(bench, qmrlab):
    qmrlab()
    like = bench.nifti("like.nii.gz", bench.rng.random(bench.shape))
    words = ["qmrlab", bench.path("q"), "--like"]
    assert bench.run(*words, like).code == 0
    assert (bench.read()[1].affine == bench.affine).all()
    other = bench.nifti("other.nii", bench.rng.random((4, 3, 3)))
    said = bench.run(*words, other, "--subject", "02")
    assert (said.code, "--like needs an image on the same grid" in said.err) == (65, True)
