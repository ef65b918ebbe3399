"""JSON within limits and paths that stay inside."""

from __future__ import annotations

import pytest

from bids_brnn.bids import safe
from bids_brnn.bids.safe import check_inside, read_json, resolve_uri
from bids_brnn.errors import InvalidBidsError, ReadError


def test_an_object_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2.5, null, "\u00b5s"], "b": {"c": true}}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, None, "\u00b5s"], "b": {"c": True}}


def test_a_byte_order_mark_is_read_over_and_other_encodings_are_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(path) == {"a": 1}
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        path.write_text('{"a": 1}', encoding=encoding)
        with pytest.raises(InvalidBidsError, match="in UTF-16 or UTF-32; save it as UTF-8"):
            read_json(path)
    path.write_text('{"a": "\u00b5"}', encoding="latin-1")
    with pytest.raises(InvalidBidsError, match="byte 8 is not UTF-8; save it as UTF-8"):
        read_json(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"1", b'{"a": Infinity}', b'{"a": -1e999}', b"\xff{}",
     b"[" * 200_000, b'{"a": ' + b"9" * 100_000 + b"}"],
)  # fmt: skip
def test_everything_else_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidBidsError, match=r"x\.json is not usable JSON"):
        read_json(path)


def test_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text('{"a": "0123456789"}')
    monkeypatch.setattr(safe, "MAX_JSON_BYTES", 10)
    with pytest.raises(InvalidBidsError, match="more than 10"):
        read_json(path)


def test_absent_files_and_broken_links(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        read_json(tmp_path / "x.json")
    (tmp_path / "y.json").symlink_to("gone")
    with pytest.raises(ReadError, match="not downloaded"):
        read_json(tmp_path / "y.json")
    with pytest.raises(ReadError, match="cannot be read"):
        read_json(tmp_path)


def test_uris_stay_inside(tmp_path):
    root, other, outside = (tmp_path / name for name in ("root", "other", "outside"))
    for folder in (root, other, outside):
        folder.mkdir()
        (folder / "a.tsv").write_text("")
    links = {"raw": root, "recon": other}
    assert resolve_uri("bids::a.tsv", root=root, links=links) == root / "a.tsv"
    assert resolve_uri("bids:recon:a.tsv", root=root, links=links) == other / "a.tsv"
    (root / "link.tsv").symlink_to(outside / "a.tsv")
    for uri in (
        "bids::../outside/a.tsv", f"bids::{outside}/a.tsv", "bids::link.tsv", "bids:x:a.tsv",
        "bids::", "a.tsv", "https://example.org/a.tsv", 5, None,
    ):  # fmt: skip
        with pytest.raises(InvalidBidsError):
            resolve_uri(uri, root=root, links=links)
    allowed = resolve_uri("bids::link.tsv", root=root, links=links, allowed=[outside])
    assert allowed == root / "link.tsv"


def test_a_data_set_may_itself_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("")
    (tmp_path / "link").symlink_to("real")
    root = tmp_path / "link"
    assert check_inside(root / "a", root) == root / "a"
