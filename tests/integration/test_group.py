"""Tables of both levels as the command writes them."""

from __future__ import annotations

import json
import shutil

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


def test_who_is_missing_is_named_and_what_is_alien_left_aside(finished, app, tmp_path, capsys):
    dataset, results, *_ = finished
    out = tmp_path / "out"
    shutil.copytree(results, out)
    shutil.copytree(out / "sub-01", out / "sub-01_old")
    for path in (out / "sub-02" / "anat").glob("*_scalarstats.tsv"):
        path.unlink()
    run = out / "sub-02" / "log" / "99990101-000000_x"
    run.mkdir()
    (run / "crash-nlls.txt").write_text("RuntimeError")
    alien = out / "sub-01" / "anat" / "sub-01_seg-aseg_desc-alien_scalarstats.tsv"
    alien.write_text("roi\tthickness\n1\t2.5\n")
    (out / "sub-02" / "anat" / "sub-02_acq-hsfp_desc-brain_mask.nii.gz").write_bytes(b"")
    assert app(dataset, out, "group", "-w", tmp_path / "w") == 0
    said, page = capsys.readouterr().err, (out / "group.html").read_text(encoding="utf-8")
    for words in ("sub-02 has no results: its last run crashed", "sub-01_old", alien.name):
        assert words in said
        assert words in page
    assert "Traceback" not in said
    wide = table(out / "seg-probseg_desc-wide_scalarstats.tsv")
    assert wide["participant_id"].tolist() == ["sub-01"]
    words = ["--participant-label", "02", "07"]
    assert app(dataset, out, "group", "-w", tmp_path / "w", *words) == 18
    said = capsys.readouterr().err
    assert "neither in the data set nor in the output: sub-07" in said
    assert "run the participant level with --level full first" in said
