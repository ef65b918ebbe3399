"""Tables: what is read, what is refused, what is written."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bids_brnn.bids.tables import (
    read_columns,
    read_numbers,
    read_records,
    read_table,
    write_records,
    write_table,
)
from bids_brnn.errors import DataError, ReadError


def test_columns_are_text(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes("\ufeffa\tb\r\n1\tn/a\r\n2.50\t x \r\n".encode())
    assert read_columns(path) == {"a": ["1", "2.50"], "b": ["n/a", " x "]}


def test_numbers_keep_single_precision(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    path = tmp_path / "x.tsv"
    write_table(path, pd.DataFrame(values, columns=list("abcd")))
    assert np.array_equal(read_numbers(path).astype(np.float32), values)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty table"),
        ("a\tb\n1\n", "row 1 has 1 cells, the header has 2"),
        ("a\ta\n1\t2\n", "a column name repeats"),
        ("a,b\n1,2\n", "told apart by commas, not by tabs"),
        ("a;b\n1;2\n", "told apart by semicolons, not by tabs"),
        ("a  b\n1  2\n", "told apart by spaces, not by tabs"),
        ("a\tb\t\n1\t2\t\n", "column 3 of the header has no name"),
        ('"a"\t"b"\n"1"\t"2"\n', "quotation marks"),
    ],
)
def test_tables_that_are_none(tmp_path, content, reason):
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=reason):
        read_columns(path)


def test_a_decimal_comma_is_told(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n0.5\t0,25\n")
    with pytest.raises(DataError, match=r"holds '0,25', .* \(decimals are written with a point\)"):
        read_numbers(path)


@pytest.mark.parametrize("content", ["a\tb\n1\tx\n", "a\tb\n1\tn/a\n", "a\n1\n2\t3\n", ""])
def test_numbers_that_are_none(tmp_path, content):
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"x\.tsv"):
        read_numbers(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_columns(path)
    with pytest.raises(ReadError, match="does not exist"):
        read_columns(tmp_path / "y.tsv")


def test_missing_values_are_written_as_bids_wants_them(tmp_path):
    path = tmp_path / "out" / "x.tsv"
    table = pd.DataFrame({"name": ["WM", None], "mean": [0.1234567891234, np.nan]})
    write_table(path, table)
    assert path.read_text() == "name\tmean\nWM\t0.123456789\nn/a\tn/a\n"
    again = read_table(path)
    assert again["mean"].isna().tolist() == [False, True]


def test_a_region_may_be_called_like_nothing(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("name\tmean\nNA\t1\nNone\tn/a\nnull\t3\n")
    table = read_table(path)
    assert table["name"].tolist() == ["NA", "None", "null"]
    assert table["mean"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("cell", ["9" * 400, "1e999", "nan", "1_0", "", "x\0", "\u0661"])
def test_a_cell_that_is_no_finite_number_is_named(tmp_path, cell):
    path = tmp_path / "x.tsv"
    path.write_text(f"c1\tc2\n1\t2\n3\t{cell}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.tsv: row 2, column c2 holds .{0,150} not a finite"):
        read_numbers(path)


def test_names_that_differ_in_blanks_only_repeat(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\t a\n1\t2\n")
    with pytest.raises(DataError, match="a column name repeats"):
        read_columns(path)


RECORDS = [
    {"index": 1, "name": 'left "A"', "mean": 0.123456789, "n": 12, "none": math.nan},
    {"index": 2, "name": "1_0", "mean": math.nan, "n": 1234567, "none": math.nan},
    {"index": 3, "name": "n\ta", "mean": 1e-12, "n": 0, "none": math.nan},
]


def test_records_are_the_same_bytes_as_by_pandas(tmp_path):
    path = write_records(tmp_path / "a.tsv", RECORDS, RECORDS[0])
    pd.DataFrame(RECORDS).to_csv(
        tmp_path / "b.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g",
        lineterminator="\n",
    )  # fmt: skip
    assert path.read_bytes() == (tmp_path / "b.tsv").read_bytes()


def test_records_come_back_without_what_is_missing(tmp_path):
    path = write_records(tmp_path / "a.tsv", RECORDS, RECORDS[0])
    assert read_records(path) == [
        {"index": 1, "name": 'left "A"', "mean": 0.123457, "n": 12},
        {"index": 2, "name": "1_0", "n": 1234567},
        {"index": 3, "name": "n\ta", "mean": 1e-12, "n": 0},
    ]


def test_a_column_of_numbers_and_texts_is_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("name\tvalue\tother\n1\t1\tnan\nGM\t2.5\t1\n\n", encoding="utf-8")
    first, second = read_records(path)
    assert first == {"name": "1", "value": 1.0, "other": "nan"}
    assert second == {"name": "GM", "value": 2.5, "other": "1"}


@pytest.mark.parametrize("text", ["", "a\tb\n1\n", "a\tb\n1\t2\n1\t2\t3\n", 'a\n"1\n'])
def test_broken_records_are_told(tmp_path, text):
    path = tmp_path / "a.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="is not a tab-separated table"):
        read_records(path)
