"""The saved index: built once, believed only if it fits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.input.database import FILE
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


def test_the_index_is_really_used(raw, database):
    # A file that came after the index, in a folder made to look old, stays invisible.
    raw.random("sub-01/anat/sub-01_acq-z_part-real_QMT.nii.gz")
    future = (database / FILE).stat().st_mtime + 100
    os.utime(database / FILE, (future, future))
    found = find_acquisitions(raw.root, participants=["01"], database_dir=database)
    assert names(found) == ["sub-01_acq-a_QMT"]
    assert found.problems == ()


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


def test_an_index_older_than_the_data(raw, database):
    age(database / FILE, 3600)
    found = find_acquisitions(raw.root, database_dir=database)
    assert len(found.acquisitions) == 2
    assert any("is older than the data" in note for note in found.notes)


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
