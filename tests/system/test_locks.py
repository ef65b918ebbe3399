"""Files that are locked: nothing planted in their place is followed, waited for or emptied."""

from __future__ import annotations

import os

import pytest

from bids_brnn.app.folders import locked
from bids_brnn.app.locks import output_locked
from bids_brnn.errors import OutputError
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


def test_what_the_holder_of_a_lock_says_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "a.lock"
    path.write_bytes(b"\x1b[31m 40 %\xff")
    assert told(path).startswith("\\x1b[31m 40 %")
    path.unlink()
    os.mkfifo(path)
    assert told(path) == ""
