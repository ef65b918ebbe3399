"""Outputs of earlier runs are removed if, and only if, our record says that they are ours."""

from __future__ import annotations

import json

import pytest

from bids_brnn.bids.output.records import digests, read_record, record_file, settle, settled
from bids_brnn.files import recorded, write_text


@pytest.fixture
def out(tmp_path):
    """Two files of an earlier run on record, and one of the user beside them."""
    folder = tmp_path / "out"
    for name in ("anat/a.nii.gz", "anat/a.json", "fmap/b.nii.gz"):
        write_text(folder / name, name)
    settle(folder, record_file(folder / "log", "x"), digests(folder.rglob("*.*")))
    write_text(folder / "anat" / "mine.nii.gz", "of the user")
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nii.gz"))


def test_what_is_not_made_any_more_is_removed(out):
    record = record_file(out / "log", "x")
    removed = settle(out, record, digests([out / "fmap" / "b.nii.gz"]))
    # The image before its sidecar.
    assert removed == [out / "anat" / "a.nii.gz", out / "anat" / "a.json"]
    assert names(out) == ["anat/mine.nii.gz", "fmap/b.nii.gz"]
    assert list(read_record(out, record)) == [out / "fmap" / "b.nii.gz"]
    assert settle(out, record, {}) == [out / "fmap" / "b.nii.gz"]
    assert not (out / "fmap").exists()


def test_a_file_changed_since_stays(out, caplog):
    write_text(out / "anat" / "a.nii.gz", "edited")
    settle(out, record_file(out / "log", "x"), {})
    assert names(out) == ["anat/a.nii.gz", "anat/mine.nii.gz"]
    assert "changed since; it stays" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"Files": 3}', "{" * 100_000])
def test_a_broken_record_removes_nothing(out, text):
    record = record_file(out / "log", "x")
    record.write_text(text)
    before = names(out)
    assert settle(out, record, digests([out / "fmap" / "b.nii.gz"])) == []
    assert names(out) == before


def test_nothing_outside_of_the_output_is_removed(out, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    (out / "link").symlink_to(tmp_path)
    (out / "soft.txt").symlink_to(outside)
    found = digests([outside])[outside]
    record = record_file(out / "log", "x")
    rows = dict.fromkeys(("../outside.txt", str(outside), "link/outside.txt", "soft.txt"), found)
    record.write_text(json.dumps({"Files": rows}))
    assert settle(out, record, {}) == []
    assert outside.exists()
    assert (out / "soft.txt").is_symlink()


def test_files_of_the_data_set_as_a_whole_are_never_removed(out):
    record = record_file(out / "log", "x")
    with settled(out, record):
        write_text(out / "dataset_description.json", "{}")
        write_text(out / ".bidsignore", "*.html")
    assert settle(out, record, {}) == []
    assert (out / "dataset_description.json").exists()
    assert (out / ".bidsignore").exists()


def test_a_failure_removes_nothing(out):
    record = record_file(out / "log", "x")
    with pytest.raises(ZeroDivisionError), settled(out, record):
        1 / 0  # noqa: B018
    assert "anat/a.nii.gz" in names(out)
    with settled(out, record):
        write_text(out / "anat" / "a.json", "anat/a.json")  # equal content counts as written
    assert names(out) == ["anat/mine.nii.gz"]
    assert (out / "anat" / "a.json").exists()


def test_recording_ends_with_its_block(tmp_path):
    with recorded() as written:
        write_text(tmp_path / "a", "1")
    write_text(tmp_path / "b", "1")
    assert written == {tmp_path / "a"}
