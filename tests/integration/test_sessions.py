"""Two sessions of one participant: all of them, one of them, and the table of both."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(
        tmp_path_factory.mktemp("sessions") / "ds",
        n_participants=1,
        sessions=("base", "later"),
        kinds=("mrf",),
        shape=(6, 8, 1),
        mrf_train=jiang_like_train(60),
    )


def test_sessions_are_kept_apart_and_can_be_chosen(dataset, app, tmp_path, validate):
    out = tmp_path / "out"
    options = ["-w", tmp_path / "work", "--nprocs", 1, "--skip-bids-validation", "-d",
               f"fmriprep={dataset / 'derivatives' / 'fmriprep'}"]  # fmt: skip
    one = ["--session-label", "ses-later", "--level", "minimal"]
    assert app(dataset, out, "participant", *options, *one) == 0
    maps = sorted(path.relative_to(out) for path in out.rglob("*_desc-dict_T1map.nii.gz"))
    name = "sub-01/ses-{0}/anat/sub-01_ses-{0}_acq-fisp_desc-dict_T1map.nii.gz"
    assert [str(path) for path in maps] == [name.format("later")]
    assert app(dataset, out, "participant", *options) == 0
    maps = sorted(path.relative_to(out) for path in out.rglob("*_desc-dict_T1map.nii.gz"))
    assert [str(path) for path in maps] == [name.format(label) for label in ("base", "later")]
    assert app(dataset, out, "group", *options) == 0
    table = pd.read_csv(out / "seg-aseg_desc-dict_scalarstats.tsv", sep="\t", na_values="n/a")
    assert list(table["session_id"].unique()) == ["ses-base", "ses-later"]
    assert validate(out) == []


def test_an_absent_session_is_refused(dataset, app, tmp_path, capsys):
    code = app(
        dataset, tmp_path / "out", "participant", "-w", tmp_path / "w", "--session-label", "never"
    )
    assert code == 18
    assert "session never is not in" in capsys.readouterr().err


def test_jobs_for_single_sessions_write_pages_of_their_own(dataset, app, tmp_path):
    out = tmp_path / "out"
    options = ["-w", tmp_path / "work", "--nprocs", 1, "--skip-bids-validation", "--sloppy"]
    for label in ("base", "later"):
        assert app(dataset, out, "participant", *options, "--session-label", label) == 0
    pages = {path.name: path.read_text() for path in out.glob("*.html")}
    assert set(pages) == {"sub-01_ses-base.html", "sub-01_ses-later.html"}
    assert "ses-later" not in pages["sub-01_ses-base.html"].partition('id="run"')[0]
    figures = re.findall(r'<img [^>]*src="([^"]+)"', pages["sub-01_ses-base.html"])
    assert figures
    assert all(figure.startswith("data:image/") for figure in figures)
