"""74: a file cannot be read; 65: it can, and its content is wrong; 16: it may not be used."""

from __future__ import annotations

import os

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.errors import BidsBrnnError

TABLES = ("rfpulses", "basis")


@pytest.fixture(params=["inherited", "named"])
def refusal(raw, request):
    """Break a table with ``change(path)``; the error of the series."""

    def refused(table, change):
        named = {
            "PulseTrain": "bids::acq-a_rfpulses.tsv",
            "SubspaceBasis": "bids::acq-a_basis.tsv",
        }
        raw.qmt(**(named if request.param == "named" else {}))
        path = raw.root / f"acq-a_{table}.tsv"
        change(path)
        with pytest.raises(BidsBrnnError) as caught:
            find_acquisitions(raw.root)
        return caught.value

    return refused


def dangling(path):
    path.unlink()
    path.symlink_to(path.parent / ".git" / "annex" / "objects" / "x")


def folder(path):
    path.unlink()
    path.mkdir()


def closed(path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.chmod(0)


def annex_pointer(path):
    path.write_text("/annex/objects/MD5E-s1400000--0123.tsv\n")


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 12\n")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", [dangling, folder, closed, annex_pointer, lfs_pointer])
def test_a_table_that_cannot_be_read_is_74(refusal, table, change):
    error = refusal(table, change)
    assert error.exit_code == 74, error
    assert f"acq-a_{table}.tsv" in str(error)


def empty(path):
    path.write_text("")


def binary(path):
    path.write_bytes(b"\x1f\x8b\xff\xfe\x00")


def words(path):
    path.write_text("a\tb\nx\ty\n")


def shorter(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", [empty, binary, words, shorter])
def test_a_table_with_wrong_content_is_65(refusal, table, change):
    error = refusal(table, change)
    assert error.exit_code == 65, error
    assert f"acq-a_{table}.tsv" in str(error)


@pytest.mark.parametrize(
    ("key", "table"), [("PulseTrain", "rfpulses"), ("SubspaceBasis", "basis")]
)
@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("bids::acq-none_{}.tsv", 74),
        ("bids::../acq-a_{}.tsv", 16),
        ("bids:unknown:acq-a_{}.tsv", 16),
        ("acq-a_{}.tsv", 16),
        (3, 16),
    ],
)
def test_a_pointer_to_nothing_is_74_and_one_that_is_none_is_16(raw, key, table, uri, code):
    raw.qmt(**{key: uri.format(table) if isinstance(uri, str) else uri})
    with pytest.raises(BidsBrnnError) as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == code, caught.value


def test_no_table_and_no_pointer_is_65(raw):
    raw.qmt()
    (raw.root / "acq-a_rfpulses.tsv").unlink()
    with pytest.raises(BidsBrnnError, match="No pulse table") as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 65


def test_a_sidecar_that_is_a_pointer_is_74(raw):
    raw.qmt()
    annex_pointer(raw.root / "acq-a_QMT.json")
    with pytest.raises(BidsBrnnError, match="not downloaded") as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 74


@pytest.mark.parametrize(
    ("name", "word"), [("anat/sub-01_T1w", "t1w"), ("fmap/sub-01_TB1map", "b1map")]
)
def test_an_image_that_was_not_downloaded_is_74_before_any_work(raw, name, word):
    raw.qmt()
    image = raw.image(f"sub-01/{name}.nii.gz", np.ones((4, 5, 3), np.float32))
    image.unlink()
    image.symlink_to("../../.git/annex/objects/x")
    with pytest.raises(BidsBrnnError, match=f"or leave it out with --ignore {word}") as caught:
        find_acquisitions(raw.root)
    assert caught.value.exit_code == 74
    assert find_acquisitions(raw.root, ignore=[word]).problems == ()
