"""The record of what a run wrote, which others may have changed or replaced."""

from __future__ import annotations

import json
import os

import pytest

from bids_brnn.bids.output.records import digests, read_record, settle


@pytest.mark.parametrize(
    "name", ["../mine", "/etc/hostname", "a\0b", "\ud800", "a" * 5000, "sub/../../mine", "", "."]
)
def test_a_record_removes_nothing_outside(tmp_path, name):
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_text("precious")
    (digest,) = digests([mine]).values()
    (out / "r.json").write_text(json.dumps({"Files": {name: digest}}))
    assert settle(out, out / "r.json", {}) == []
    assert mine.read_text() == "precious"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[" * 100_000, '{"Files": [1]}', '{"Files": 3}', '{"Files": {"a": ' + "9" * 5000],
)
def test_a_record_that_is_none_tells_nothing(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    (tmp_path / "a").write_text("x")
    assert read_record(tmp_path, tmp_path / "r.json") == {}


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_record_that_is_no_file_is_not_opened(tmp_path, plant):
    plant(tmp_path / "r.json")
    assert read_record(tmp_path, tmp_path / "r.json") == {}
