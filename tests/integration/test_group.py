"""Tables of both levels as the command writes them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest


def table(path):
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False, encoding="utf-8")


def test_every_column_of_every_table_is_described(finished):
    _, out, *_ = finished
    found = [
        path
        for suffix in ("scalarstats", "agreement", "quality")
        for path in out.rglob(f"*_{suffix}.tsv")
    ]
    assert len(found) > 10
    for path in found:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        for column in table(path):
            assert about[column]["Description"].strip(), (path.name, column)


def test_the_wide_table_has_a_row_per_participant(finished):
    _, out, *_ = finished
    wide = table(out / "seg-probseg_desc-wide_scalarstats.tsv")
    assert wide["participant_id"].tolist() == ["sub-01", "sub-02"]
    for column in ("m0s_WM_nlls", "R1f_GM_nlls", "T1_WM_dict", "R2_GM_dict"):
        assert wide[column].dtype == np.float64, column
    long = table(out / "seg-probseg_desc-dict_scalarstats.tsv")
    row = long[(long["param"] == "T1") & (long["name"] == "WM")].set_index("participant_id")
    assert wide.set_index("participant_id")["T1_WM_dict"].to_dict() == pytest.approx(
        row["median"].to_dict()
    )


def test_the_quality_of_each_series(finished):
    _, out, *_ = finished
    quality = table(out / "desc-series_quality.tsv")
    assert list(zip(quality["participant_id"], quality["estimator"], strict=True)) == [
        ("sub-01", "dict"), ("sub-01", "nlls"), ("sub-02", "dict"), ("sub-02", "nlls"),
    ]  # fmt: skip
    assert quality["kind"].tolist() == ["mrf", "qmt"] * 2
    assert (quality["mask_volume_ml"] == quality["n_voxels"] * 20 * 20 * 5 / 1000).all()
    assert (quality["share_flagged"] >= quality["share_at_bound"]).all()
    # SNR of water is 60, and tissue has about 0.8 of it; 40 pulses do not determine M0 of qMT.
    assert quality["median_snr"][quality["kind"] == "mrf"].between(35, 60).all()
    assert quality["median_residual"].between(0.001, 0.5).all()
    assert quality["noise_sd"].notna().all()
    assert quality["outliers"].isna().all()  # fewer than five series tell nothing


def test_the_page_links_its_tables_and_subjects(finished):
    _, out, *_ = finished
    html = (out / "group.html").read_text(encoding="utf-8")
    for name in ("sub-01.html", "seg-aseg_desc-wide_scalarstats.tsv", "desc-series_quality.tsv"):
        assert f'href="{name}"' in html
        assert (out / name).is_file()
