"""Long tables of the group as Parquet beside TSV."""

import numpy as np
import pandas as pd
import pytest

from bids_brnn.app import group
from bids_brnn.bids import tables
from bids_brnn.group.collect import GroupTable


@pytest.fixture
def item(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "_LONG", 3)
    table = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-2", "sub-3"], "session_id": [None, "ses-a", None],
         "median": [1 / 3, np.nan, 2.0], "index": [1, 2, 3]}
    )  # fmt: skip
    return GroupTable("statistics", tmp_path / "seg-x_desc-nlls_scalarstats.tsv", table, {})


def test_parquet_holds_the_table_with_numbers_in_full(item):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    group._write_fast(item)
    found = pd.read_parquet(item.path.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(found, item.table, check_exact=True)


def test_numbers_among_texts_are_texts_in_parquet(item):
    """Regions are numbers in the table of a series without names, and names in another."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    mixed = item.table.assign(name=pd.Series([7, "GM", None], dtype=object))
    assert tables.write_parquet(item.path, mixed)
    found = pd.read_parquet(item.path)
    assert found["name"].tolist()[:2] == ["7", "GM"]
    assert found["name"].isna().tolist() == [False, False, True]
    assert found["index"].tolist() == [1, 2, 3]


def test_a_table_that_became_short_leaves_no_old_parquet(item, monkeypatch):
    old = item.path.with_suffix(".parquet")
    old.write_bytes(b"of an earlier run")
    monkeypatch.setattr(group, "_LONG", 4)
    group._write_fast(item)
    assert not old.exists()


def test_without_pyarrow_the_log_tells_what_to_install(item, monkeypatch, caplog):
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    old = item.path.with_suffix(".parquet")
    old.write_bytes(b"of an earlier run")
    with caplog.at_level("INFO", "bids_brnn.group"):
        group._write_fast(item)
    assert "pip install 'bids_brnn[parquet]'" in caplog.text
    assert not old.exists()
