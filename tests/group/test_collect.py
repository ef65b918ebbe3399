"""Which region tables of a derivative count for the group."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_brnn.group import collect
from bids_brnn.group.collect import find_tables, group_tables


@pytest.fixture
def derivative(tmp_path):
    for subject in ("01", "02"):
        for session in ("a", "b"):
            folder = tmp_path / f"sub-{subject}" / f"ses-{session}" / "anat"
            folder.mkdir(parents=True)
            head = f"sub-{subject}_ses-{session}_seg-aseg_desc-nlls"
            for suffix in ("scalarstats", "agreement"):
                (folder / f"{head}_{suffix}.tsv").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("labels", "heads"),
    [
        ({}, ["sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-02_ses-b"]),
        ({"participants": ["02"]}, ["sub-02_ses-a", "sub-02_ses-b"]),
        ({"sessions": ("a",)}, ["sub-01_ses-a", "sub-02_ses-a"]),
        ({"participants": ("01",), "sessions": ("b",)}, ["sub-01_ses-b"]),
    ],
)
def test_labels_choose_tables(derivative, labels, heads):
    found = find_tables(derivative, "scalarstats", **labels)
    assert list(found) == [("aseg", "nlls")]
    assert [path.name.partition("_seg")[0] for path in found["aseg", "nlls"]] == heads


def test_a_folder_without_tables_has_none(tmp_path):
    assert find_tables(tmp_path, "scalarstats") == {}


def test_tables_read_in_portions_are_the_same(tmp_path, monkeypatch):
    head = "index\tname\tparam\tunits\tmedian\tmean_crb_std\tregion_source\n"
    for k in range(7):
        folder = tmp_path / f"sub-{k}" / "anat"
        folder.mkdir(parents=True)
        # Columns without any value, and with whole numbers alone, in some of them.
        rows = [
            f"{i}\tr{i}\tT1\ts\t{1 + i * k}\t{'n/a' if k < 3 else 0.5}\tlabels" for i in (1, 2)
        ]
        name = f"sub-{k}_seg-aseg_desc-nlls_scalarstats.tsv"
        (folder / name).write_text(head + "\n".join(rows) + "\n")
    whole = [item.table for item in group_tables(tmp_path)]
    monkeypatch.setattr(collect, "_TOGETHER", 2)
    for table, expected in zip(group_tables(tmp_path), whole, strict=True):
        pd.testing.assert_frame_equal(table.table, expected, check_exact=True)
