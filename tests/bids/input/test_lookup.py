"""Names of regions from the tables that atlases and pipelines have."""

from __future__ import annotations

import pytest

from bids_brnn.bids.input.lookup import missing_names, read_lookup
from bids_brnn.errors import DataError, ReadError


@pytest.fixture
def read(tmp_path):
    def write(content):
        path = tmp_path / "x_dseg.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_lookup(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        "index\tname\n1\tGM\n2\tWM\n",
        "\ufeffindex\tname\r\n1\tGM\r\n2\tWM\r\n",
        "Index\tName\n1.0\tGM\n2.0\tWM\n",
        " index \t name \n 1 \t GM \n 2 \t WM \n",
        "name\tindex\nGM\t1\nWM\t2\nWM\t2\n",
    ],
)
def test_spellings_of_one_table(read, text):
    assert (read(text).names, read(text).notes) == ({1: "GM", 2: "WM"}, ())


@pytest.mark.parametrize(
    ("text", "names", "note"),
    [
        ("", {}, "it is empty"),
        ("\n \n", {}, "it is empty"),
        ("index\tname\n", {}, None),
        ("id\tname\n1\tGM\n", {}, "no column index (its columns are id, name)"),
        ("1\tGM\n2\tWM\n", {}, "no column index"),
        ("index,name\n1,GM\n", {}, "no column index"),
        ("index\tcolor\n7\t#f00\n", {7: "7"}, "no column name"),
        ("index\tlabel\n7\t12\n", {7: "7"}, "no column name"),
        ("index\tlabel\n7\tGM\n", {7: "GM"}, "those of its column label"),
        ("index\tregion\n7\tGM\n", {7: "GM"}, "those of its column region"),
        ("index\tname\n1\tn/a\n2\tWM\n", {1: "1", 2: "WM"}, "label 1 without a name"),
        ("index\tname\n1\tn/a\n1\tGM\n", {1: "GM"}, None),
        ("index\tname\nn/a\tGM\n2\tWM\n", {2: "WM"}, "1 rows have no index"),
    ],
)
def test_what_is_missing_is_noted_and_numbers_are_names(read, text, names, note):
    found = read(text)
    assert found.names == names
    assert len(found.notes) == (note is not None)
    assert note is None or note in found.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index\tname\n1\tGM\n1\tWM\n", 'index 1 has two names, "GM" and "WM"'),
        ("index\tname\n1.5\tGM\n", 'row 1 has "1.5"'),
        ("index\tname\none\tGM\n", 'row 1 has "one"'),
        ("index\tname\ninf\tGM\n", 'row 1 has "inf"'),
        ("index\tname\n1\n", "row 1 has 1 cells"),
        (b"index\tname\n1\t\xff\n", "UTF-8"),
    ],
)
def test_what_is_broken_is_refused(read, text, words):
    with pytest.raises(DataError, match=words):
        read(text)


def test_a_table_that_was_not_downloaded_is_not_an_absent_one(tmp_path):
    (tmp_path / "x.tsv").symlink_to(".git/annex/objects/x")
    with pytest.raises(ReadError, match="not downloaded"):
        read_lookup(tmp_path / "x.tsv")


def test_labels_and_table_need_not_hold_the_same(read, tmp_path):
    lookup = read("index\tname\tcolor\n1\tGM\t#fff\n5\tWM\t#000\n")
    path = tmp_path / "x.tsv"
    assert missing_names(lookup, path, [1, 5]) == missing_names(lookup, path, [1]) == []
    assert "label 7 of its image" in missing_names(lookup, path, [1, 7])[0]
    assert "is it another's table?" in missing_names(lookup, path, [7, 8])[0]
    expected = "index\tname\tcolor\n1\tGM\t#fff\n5\tWM\t#000\n7\t7\tn/a\n"
    assert lookup.text([1, 7]) == expected
