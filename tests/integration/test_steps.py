"""Optional steps by the command: what is written, said and refused."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def stepped(phantom, app, tmp_path_factory):
    base = tmp_path_factory.mktemp("stepped")
    options = ["--participant-label", "01", "--modality", "mrf", "--denoise", "mppca"]
    options += ["--motion-correction", "--motion-window", 25, "-w", base / "work", "--nprocs", 1]
    options += ["-d", f"fmriprep={phantom / 'derivatives' / 'fmriprep'}"]
    assert app(phantom, base / "out", "participant", *options) == 0
    return base / "out"


def test_every_sidecar_tells_of_the_steps(stepped):
    anat = stepped / "sub-01" / "anat"
    for name in ("desc-dict_T1map", "desc-dictStd_T2map", "desc-mean_MRFref"):
        steps = json.loads((anat / f"sub-01_acq-fisp_{name}.json").read_text())["PreparationSteps"]
        assert [step.split()[0] for step in steps] == ["denoised", "motion"]
        assert all("standard deviations" in step for step in steps)


def test_the_table_of_motion_has_a_row_per_frame_and_explains_itself(stepped):
    stem = stepped / "sub-01" / "anat" / "sub-01_acq-fisp_desc-motion_timeseries"
    table = pd.read_csv(f"{stem}.tsv", sep="\t", na_values="n/a")
    assert len(table) == 100
    about = json.loads(stem.with_suffix(".json").read_text())
    for column in table.columns:
        assert about[column]["Units"] in ("mm", "rad")
    assert table["framewise_displacement"].isna().tolist() == [True] + [False] * 99
    # Four windows: three steps at most.
    assert (table["framewise_displacement"] > 0).sum() <= 3


def test_the_output_is_valid_and_the_report_shows_motion(stepped, validate):
    assert validate(stepped) == []
    page = (stepped / "sub-01.html").read_text()
    assert "Motion between frames" in page
    assert "Denoised by principal components" in page
    methods = page.partition('id="methods"')[2]
    assert "Marchenko-Pastur law" in methods
    assert "Rigid motion between time frames" in methods
    assert "10.1016/j.neuroimage.2016.08.016" in methods
    assert 'id="s1-motion">Motion between frames</h3>' in page


def test_the_reference_is_that_of_the_corrected_frames(stepped, phantom):
    path = stepped / "sub-01" / "anat" / "sub-01_acq-fisp_desc-mean_MRFref.nii.gz"
    raw = phantom / "sub-01" / "anat" / "sub-01_acq-fisp_part-mag_MRF.nii.gz"
    reference = np.asanyarray(nibabel.load(path).dataobj)
    mean = np.asanyarray(nibabel.load(raw).dataobj).mean(-1)
    # Air has lost its noise.
    assert reference[0, 0, 0] < 0.5 * mean[0, 0, 0]


def test_coefficients_are_refused_and_frames_are_mapped(phantom, app, tmp_path, capsys):
    options = ["--participant-label", "01", "--motion-correction", "-w", tmp_path / "work"]
    options += ["--nprocs", 1, "--level", "minimal", "--skip-bids-validation"]
    assert app(phantom, tmp_path / "out", "participant", *options) == 65
    said = capsys.readouterr().err
    assert (
        "--motion-correction cannot serve sub-01_acq-hsfp_QMT: its coefficients are sums" in said
    )
    assert list((tmp_path / "out").rglob("*_desc-dict_T1map.nii.gz"))
    assert not list((tmp_path / "out").rglob("*QMTmap*"))
