"""Machine code is kept between processes, and not taken where it is not the right one."""

from __future__ import annotations

import pytest

from bids_brnn.signals import kept_code
from bids_brnn.signals.kept_code import kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


def refuse():
    raise AssertionError("made again")


def test_what_was_made_is_read_again(folder):
    assert kept("key", lambda: b"code") == b"code"
    assert kept("key", refuse) == b"code"
    assert kept("another", lambda: b"other") == b"other"
    assert kept("key", refuse) == b"code"
    assert len(list(folder.rglob("*.object"))) == 2


@pytest.mark.parametrize("damage", [lambda code: code[:-1], lambda code: code[:-1] + b"!",
                                    lambda code: b"", lambda code: b"!" + code[1:]])  # fmt: skip
def test_what_is_damaged_is_made_anew(folder, damage):
    kept("key", lambda: b"code")
    (path,) = folder.rglob("*.object")
    path.write_bytes(damage(path.read_bytes()))
    assert kept("key", lambda: b"again") == b"again"
    assert kept("key", refuse) == b"again"


def test_other_sources_are_compiled(folder, monkeypatch):
    kept("key", lambda: b"code")
    monkeypatch.setattr(kept_code, "sources", lambda: "changed")
    assert kept("key", lambda: b"new") == b"new"
    assert len(list(folder.rglob("*.object"))) == 1  # in its place: files do not pile up


def test_nothing_needs_to_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    assert kept("key", lambda: b"code") == b"code"
    assert kept("key", lambda: b"again") == b"again"
