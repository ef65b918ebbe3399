"""The saved index: built once, believed only if it fits."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from bids.layout import BIDSLayout

from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.grammar import pybids_config
from bids_brnn.bids.input.database import FILE
from bids_brnn.bids.input.dataset import index
from bids_brnn.errors import OutputError


def names(found):
    return [item.name for item in found.acquisitions]


def age(path, seconds):
    """Make a file look older."""
    stat = path.stat()
    os.utime(path, (stat.st_atime, stat.st_mtime - seconds))


@pytest.fixture
def database(raw, tmp_path):
    """An index of two participants."""
    raw.qmt("01")
    raw.qmt("02")
    folder = tmp_path / "db"
    assert len(find_acquisitions(raw.root, database_dir=folder).acquisitions) == 2
    return folder


def test_an_index_is_made_and_used(raw, database):
    assert [path.name for path in database.parent.glob("db*")] == ["db"]
    before = (database / FILE).read_bytes()
    found = find_acquisitions(raw.root, participants=["02"], database_dir=database)
    assert names(found) == ["sub-02_acq-a_QMT"]
    assert found.notes == ()
    assert (database / FILE).read_bytes() == before


def test_the_index_is_really_used(raw, database, monkeypatch):
    given = []
    monkeypatch.setattr(
        "bids_brnn.bids.input.database.index",
        lambda root, patterns, folder=None: given.append(folder) or index(root, patterns, folder),
    )
    find_acquisitions(raw.root, participants=["01"], database_dir=database)
    assert given == [database]


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_file_that_came_after_the_index_is_found_whatever_the_clock_says(raw, database, seconds):
    raw.qmt("01")
    age(database / FILE, seconds)
    (raw.root / "sub-01/anat/sub-01_acq-a_part-real_QMT.nii.gz").unlink()
    raw.image("sub-01/anat/sub-01_T1w.nii.gz", np.ones((4, 5, 3), np.float32))
    found = find_acquisitions(raw.root, database_dir=database)
    assert names(found) == ["sub-02_acq-a_QMT"]
    assert any("does not hold sub-01/anat/sub-01_T1w.nii.gz;" in note for note in found.notes)


def test_an_index_made_by_another_program_is_compared_not_believed(raw, tmp_path):
    raw.qmt("01")
    raw.image("backup/sub-01/anat/sub-01_acq-z_part-real_QMT.nii.gz", np.ones((4, 5, 3, 3)))
    for name, options in {
        "strict": {"config": ["bids", "derivatives", pybids_config()]},
        "plain": {"config": ["bids"], "validate": False},
        "all": {"config": ["bids", "derivatives", pybids_config()], "validate": False},
    }.items():
        BIDSLayout(raw.root, database_path=tmp_path / name, **options)
    said = {}
    for name in ("strict", "plain", "all"):
        found = find_acquisitions(raw.root, database_dir=tmp_path / name)
        assert names(found) == ["sub-01_acq-a_QMT"]
        said[name] = " ".join(note for note in found.notes if "--bids-database-dir" in note)
    assert "does not know participant 01" in said["strict"]  # nothing there it could name
    assert "made without the entities desc" in said["plain"]
    assert said["all"] == ""


@pytest.mark.parametrize("folder", ["db", "code/db", "sub-01/db", "."])
def test_an_index_inside_the_data_set_does_not_outdate_itself(raw, folder):
    raw.qmt("01")
    for _ in range(2):
        found = find_acquisitions(raw.root, database_dir=raw.root / folder)
        assert names(found) == ["sub-01_acq-a_QMT"]
        assert not any("--bids-database-dir" in note for note in found.notes)
    assert (raw.root / folder / FILE).is_file()


def test_sessions_are_chosen_from_the_index(raw, tmp_path):
    for session in ("1", "2"):
        raw.qmt("01", session)
    folder = tmp_path / "db"
    find_acquisitions(raw.root, database_dir=folder)
    found = find_acquisitions(raw.root, sessions=["2"], database_dir=folder)
    assert found.notes == ()
    assert names(found) == ["sub-01_ses-2_acq-a_QMT"]


def test_no_index_without_the_flag(raw, tmp_path):
    raw.qmt()
    before = set(tmp_path.rglob("*"))
    find_acquisitions(raw.root)
    assert set(tmp_path.rglob("*")) == before


def test_an_index_of_other_data(raw, database, tmp_path):
    other = type(raw)(tmp_path / "other")
    other.qmt("05")
    found = find_acquisitions(other.root, database_dir=database)
    assert names(found) == ["sub-05_acq-a_QMT"]
    (note,) = [note for note in found.notes if "database" in note]
    assert note == (
        f"--bids-database-dir {database} was built for {raw.root}, not for {other.root}; "
        "indexing in memory."
    )


def test_an_index_that_misses_a_participant(raw, database):
    raw.qmt("03")
    found = find_acquisitions(raw.root, participants=["03"], database_dir=database)
    assert names(found) == ["sub-03_acq-a_QMT"]
    assert any("does not know participant 03" in note for note in found.notes)


def test_an_old_index_of_unchanged_data_is_used(raw, database):
    age(database / FILE, 3600)
    assert find_acquisitions(raw.root, database_dir=database).notes == ()


@pytest.mark.parametrize("size", [0, 5000])
def test_a_damaged_index(raw, database, size):
    content = (database / FILE).read_bytes()
    (database / FILE).write_bytes(content[:size])
    found = find_acquisitions(raw.root, database_dir=database)
    assert len(found.acquisitions) == 2
    assert any("is damaged" in note for note in found.notes)


def test_a_folder_that_cannot_be_made(raw, tmp_path):
    raw.qmt()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="bids-database-dir"):
        find_acquisitions(raw.root, database_dir=tmp_path / "file" / "db")


def test_many_processes_at_once(raw, tmp_path):
    for subject in ("01", "02", "03"):
        raw.qmt(subject)
    code = (
        "import sys; from bids_brnn.bids import find_acquisitions as f\n"
        "print(len(f(sys.argv[1], participants=[sys.argv[2]], database_dir=sys.argv[3])"
        ".acquisitions))"
    )
    folder = tmp_path / "db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(raw.root), subject, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for subject in ("01", "02", "03")
    ]
    assert [process.communicate()[0].strip() for process in started] == ["1"] * 3
    assert [path.name for path in tmp_path.glob("db*")] == ["db"]
