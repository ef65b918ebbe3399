"""Tables: what is read, what is refused, what is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_brnn.bids.tables import (
    read_columns,
    read_numbers,
    read_rows,
    read_table,
    write_rows,
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
    ],
)
def test_tables_that_are_none(tmp_path, content, reason):
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=reason):
        read_columns(path)


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


KINDS = {
    "whole": lambda rng: int(rng.integers(-(10**9), 10**9)),
    "number": lambda rng: float(rng.normal() * 10.0 ** rng.integers(-9, 9)),
    "single": lambda rng: np.float32(rng.normal()),
    "text": lambda rng: str(rng.choice(["WM", "a b", 'say "x"', "CSF, left", "\u00e9", "1_000"])),
}


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_written_and_read_as_pandas_does(tmp_path, seed):
    rng = np.random.default_rng(seed)
    kinds = {f"c{k}": str(rng.choice(list(KINDS))) for k in range(6)}
    missing = {name: rng.random() < 0.4 for name in kinds}
    rows = [
        {name: KINDS[kind](rng) for name, kind in kinds.items()
         if not (missing[name] and rng.random() < 0.3)}
        for _ in range(rng.integers(2, 9))
    ]  # fmt: skip
    rows[0] |= dict.fromkeys(list(kinds)[:1], float("nan")) if kinds["c0"] == "number" else {}
    table = pd.DataFrame(rows, columns=list(kinds))
    expected = write_table(tmp_path / "pandas.tsv", table, float_format="%.6g").read_bytes()
    path = write_rows(tmp_path / "own.tsv", rows, kinds)
    assert path.read_bytes() == expected
    there = read_table(path)
    found = read_rows(path)
    assert len(found) == len(there)
    for own, other in zip(found, there.to_dict("records"), strict=True):
        assert own == {name: value for name, value in other.items() if not pd.isna(value)}


def test_rows_of_a_damaged_table_are_refused(tmp_path):
    path = tmp_path / "x.tsv"
    for text, said in (
        ("", "is an empty table"), ("a\tb\n1\n", "row 1 has 1 cells, the header has 2"),
        ('a\n"x', "is not a tab-separated table"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_rows(path)


def test_a_region_may_have_the_name_of_nothing(tmp_path):
    rows = [{"name": "NA", "n": 1}, {"name": "None"}]
    assert read_rows(write_rows(tmp_path / "x.tsv", rows, ["name", "n"])) == rows
