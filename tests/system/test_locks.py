"""Files that are locked: nothing planted in their place is followed, waited for or emptied."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from bids_brnn.app.folders import locked
from bids_brnn.app.locks import output_locked
from bids_brnn.errors import OutputError
from bids_brnn.system import locks
from bids_brnn.system.locks import remove_lock, take_lock
from bids_brnn.zoo.cache import holding, told

PLANTED = {
    "link": lambda path: path.symlink_to(path.parents[2] / "mine"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
}
LOCKS = {
    "of outputs": ("logs/.sub-01.lock", lambda root: output_locked(root, ["01"])),
    "of a work folder": ("work/sub-01.lock", lambda root: locked(root / "work", ["01"])),
    "of a training": (
        "training/a.lock", lambda root: holding(root / "training" / "a.lock"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("kind", LOCKS)
def test_what_is_planted_in_the_place_of_a_lock_is_refused(tmp_path, kind, planted):
    name, lock = LOCKS[kind]
    mine, path = tmp_path / "mine", tmp_path / "root" / name
    mine.write_text("precious")
    path.parent.mkdir(parents=True)
    PLANTED[planted](path)
    with pytest.raises(OutputError, match="has to be a file"), lock(tmp_path / "root"):
        pass
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("kind", ["of a work folder", "of a training"])
def test_a_disk_that_cannot_lock_is_not_taken_for_another_run(tmp_path, kind, monkeypatch):
    def refuse(handle, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    name, lock = LOCKS[kind]
    (tmp_path / name).parent.mkdir(parents=True)
    with pytest.raises(OutputError, match=r"lock .*hoose another"), lock(tmp_path):
        pass


def test_a_lock_is_held_by_one_and_leaves_no_file(tmp_path):
    path = tmp_path / "a.lock"
    first = take_lock(path, fcntl.LOCK_SH)
    second = take_lock(path, fcntl.LOCK_SH)
    assert None not in (first, second)
    assert take_lock(path) is None
    remove_lock(first, path)
    assert path.exists(), "the other one shares it still"
    third = take_lock(path, fcntl.LOCK_SH)
    remove_lock(second, path)
    remove_lock(third, path)
    assert not path.exists()


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path, monkeypatch):
    path = tmp_path / "a.lock"
    holder, waits = take_lock(path), [os.open(path, os.O_RDWR)]
    remove_lock(holder, path)
    opened = locks.open_lock
    monkeypatch.setattr(locks, "open_lock", lambda path: waits.pop() if waits else opened(path))
    handle = take_lock(path)
    assert os.path.samestat(os.fstat(handle), path.stat())
    remove_lock(handle, path)


def test_what_the_holder_of_a_lock_says_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "a.lock"
    path.write_bytes(b"\x1b[31m 40 %\xff")
    assert told(path).startswith("\\x1b[31m 40 %")
    path.unlink()
    os.mkfifo(path)
    assert told(path) == ""
