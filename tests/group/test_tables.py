"""Tables of the group: what R, pandas and SPM read, and what lies apart."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from bids_brnn.bids.tables import write_table
from bids_brnn.group.quality import quality_table
from bids_brnn.group.tables import (
    GROUP_AGREEMENT_WORDS,
    LONG_WORDS,
    group_agreement,
    joined,
    plain,
    region_frame,
    wide_table,
    with_outliers,
)
from bids_brnn.regions import AGREEMENT_COLUMNS, COLUMNS, agreement_rows, region_rows

NAMES = {1: "Left-Thalamus", 2: "Left Thalamus", 5: "Gyrus précentral", 9: "(?)"}
TEXTS = ("participant_id", "session_id", "acq", "run", "name", "param", "units", "region_source")
R_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def gather_tables(paths):
    return joined([region_frame(path) for path in paths])


def table(path, parameters, shift=0.0):
    """A region table as the participant level writes it: values 10 times the label."""
    labels = np.repeat(list(NAMES), 4)
    rows = []
    for name in parameters:
        values = labels * 10.0 + shift
        values[labels == 9] = np.nan
        rows += region_rows(values, labels, NAMES, parameter=name, units="1/s", voxel_volume=1.0)
    return write_table(path, pd.DataFrame(rows, columns=list(COLUMNS)))


@pytest.fixture
def paths(tmp_path):
    found = []
    for subject in ("01", "02"):
        for session in ("a", "b"):
            head = f"sub-{subject}_ses-{session}"
            shift = {"01": 0.0, "02": 0.5}[subject] + {"a": 0.0, "b": 0.25}[session]
            for acq, parameters in {"hsfp": ["m0s", "M0"], "fisp": ["R1", "M0"]}.items():
                path = tmp_path / f"{head}_acq-{acq}_seg-aseg_desc-brnn_scalarstats.tsv"
                found.append(table(path, parameters, shift))
    return found


def test_one_row_per_visit_and_one_column_per_number(paths):
    long = gather_tables(paths)
    wide, about = wide_table({"brnn": long})
    assert wide["participant_id"].tolist() == ["sub-01", "sub-01", "sub-02", "sub-02"]
    assert wide["session_id"].tolist() == ["ses-a", "ses-b"] * 2
    # Both series of a visit share its row; M0 is no tissue parameter.
    assert wide["m0s_Left_Thalamus_1_brnn"].tolist() == [10.0, 10.25, 10.5, 10.75]
    assert wide["R1_Left_Thalamus_2_brnn"].tolist() == [20.0, 20.25, 20.5, 20.75]
    assert not [name for name in wide if name.startswith("M0")]
    assert wide["R1_region9_brnn"].isna().all()
    assert list(about) == list(wide.columns)
    column = about["m0s_Gyrus_precentral_brnn"]
    assert (column["Region"], column["Units"], column["Acquisition"]) == (
        "Gyrus précentral", "1/s", "hsfp",
    )  # fmt: skip


def test_columns_are_names_in_r_and_spm(paths):
    wide, _ = wide_table({"brnn": gather_tables(paths), "nlls": gather_tables(paths[:2])})
    assert all(R_NAME.fullmatch(name) for name in wide.columns)
    assert len({name.lower() for name in wide.columns}) == len(wide.columns)


def test_two_protocols_of_one_kind_have_columns_of_their_own(tmp_path):
    names = [f"sub-01_acq-{acq}_seg-aseg_desc-brnn_scalarstats.tsv" for acq in ("x", "y")]
    found = [table(tmp_path / name, ["R1"], shift) for shift, name in enumerate(names)]
    wide, _ = wide_table({"brnn": gather_tables(found)})
    assert len(wide) == 1
    assert wide["R1_Gyrus_precentral_brnn_x"].tolist() == [50.0]
    assert wide["R1_Gyrus_precentral_brnn_y"].tolist() == [51.0]


def test_the_file_reads_back_with_one_type_per_column(paths, tmp_path):
    long = with_outliers(gather_tables(paths))
    for name, made in {"wide": wide_table({"brnn": long})[0], "long": long}.items():
        path = write_table(tmp_path / f"{name}.tsv", made)
        text = path.read_text(encoding="utf-8")
        assert "nan" not in text.lower().replace("n/a", "")
        back = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
        assert list(back.columns) == list(made.columns)
        for column in back:
            kinds = {type(value) for value in back[column].dropna()}
            assert len(kinds) <= 1, column
            expects_text = column in TEXTS
            assert all(issubclass(kind, str) == expects_text for kind in kinds), column


def test_every_column_is_described(paths):
    long = with_outliers(gather_tables(paths))
    assert set(long.columns) <= set(LONG_WORDS)
    assert all(LONG_WORDS[name].strip() for name in long.columns)


def test_plain_names():
    assert plain("3rd-Ventricle") == "3rd_Ventricle"
    assert plain("  a--b  ") == "a_b"
    assert plain("(?)") == ""


def test_outliers_are_told_within_one_acquisition(tmp_path):
    frames = []
    for subject in range(9):
        for acq, offset in (("x", 0.0), ("y", 100.0)):
            name = f"sub-{subject}_acq-{acq}_seg-aseg_desc-brnn_scalarstats.tsv"
            shift = offset + 0.1 * subject + (50.0 if (subject, acq) == (4, "y") else 0.0)
            frames.append(table(tmp_path / name, ["R1"], shift))
    found = with_outliers(gather_tables(frames))
    apart = found[found["outlier"] == 1]
    assert set(zip(apart["participant_id"], apart["acq"], strict=True)) == {("sub-4", "y")}
    # A region without values and fewer than five series say nothing.
    assert found[found["name"] == "(?)"]["modified_z"].isna().all()
    assert with_outliers(gather_tables(frames[:8:2]))["modified_z"].isna().all()


def test_agreement_over_the_group_takes_a_region_of_a_series_as_one_pair(tmp_path):
    biases = [0.1, 0.2, 0.3, 0.6]
    labels = np.repeat([1, 2], 5)
    paths = []
    for subject, bias in enumerate(biases):
        reference = np.where(labels == 1, 1.0, 2.0) + 0.1 * subject
        rows = agreement_rows(
            reference + bias, reference, labels, {1: "GM", 2: "WM"}, parameter="R1", units="1/s",
            std=np.full(10, 0.1), flagged=labels == 1,
        )  # fmt: skip
        path = tmp_path / f"sub-{subject}_acq-f_seg-aseg_desc-brnnVsDict_agreement.tsv"
        paths.append(write_table(path, pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))))
    found = group_agreement(gather_tables(paths)).set_index("name")
    assert list(found.index) == ["mask", "GM", "WM"]
    assert found.loc["GM", "n"] == 4
    assert found.loc["GM", "bias"] == pytest.approx(0.3)
    assert found.loc["GM", "sd_diff"] == pytest.approx(np.std(biases, ddof=1))
    assert found.loc["GM", "median_abs_diff_crb"] == pytest.approx(2.5)
    assert found.loc["GM", "share_flagged"] == 1
    assert found.loc["mask", "share_flagged"] == 0.5
    assert set(found.columns) < set(GROUP_AGREEMENT_WORDS)


def test_no_series_no_rows(tmp_path):
    assert quality_table(tmp_path, (), ()).empty
