"""Tables beside the maps that pages are drawn from, by a process that loads no PyTorch."""

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.reports.collect import series_views
from bids_brnn.reports.content import Bound, Bounds, Spectra
from bids_brnn.reports.stored import (
    BOUNDS_FILE,
    SPECTRA_FILE,
    bounds_as_table,
    read_bounds,
    read_spectra,
    spectra_as_table,
)

BOUNDS = Bounds(
    37.5, True, 7.0, ["R1", "B1 (assumed)"],
    [Bound("WM", "m0s", "1", 0.2, 0.01, 0.02), Bound("CSF", "T2s", "s", 1e-5, np.inf, np.inf)],
)  # fmt: skip
SPECTRA = Spectra(
    np.array([[0, 1, 2], [0, 1, 3]]),
    np.array([np.nan, -1000.0, 2000.0]),
    np.array([0.0, 220.0, 628.5]),
    np.array([[100.0, 70.0, 50.0], [90.0, 60.5, np.nan]]),
    {"brnn": np.array([[99.0, 71.0, 49.0], [np.nan] * 3]), "nlls": np.full((2, 3), 12.25)},
)


def write(folder, name, table):
    path = folder / name
    path.with_suffix(".json").write_text(json.dumps(table[0]))
    path.write_text(table[1])
    return path


def test_bounds_come_back_as_they_were(tmp_path):
    assert read_bounds(write(tmp_path, BOUNDS_FILE, bounds_as_table(BOUNDS))) == BOUNDS


def test_spectra_come_back_as_they_were(tmp_path):
    found = read_spectra(write(tmp_path, SPECTRA_FILE, spectra_as_table(SPECTRA)))
    for name in ("voxels", "offset", "angle", "measured"):
        np.testing.assert_array_equal(getattr(found, name), getattr(SPECTRA, name))
    assert list(found.fitted) == ["brnn", "nlls"]
    for key, values in SPECTRA.fitted.items():
        np.testing.assert_array_equal(found.fitted[key], values)


def test_every_column_is_described():
    for about, text in (bounds_as_table(BOUNDS), spectra_as_table(SPECTRA)):
        for name in text.partition("\n")[0].split("\t"):
            assert about[name]["Description"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace("measured", "seen"), "column measured is missing or empty"),
        (lambda text: text.partition("\n")[0] + "\n", "column i is missing or empty"),
        (lambda text: text.rstrip("\n").rpartition("\n")[0], "unequal numbers of measurements"),
        (lambda text: text.replace("0\t1\t3", "0\t1\t1e300", 1), "column k holds '1e300'"),
        (lambda text: text.replace("0\t1\t3", "0\tn/a\t3"), "column j holds 'n/a'"),
        (lambda text: text.replace("60.5", "sixty"), "column measured holds 'sixty'"),
        (lambda text: text.replace("12.25", "inf", 1), "column fit_nlls holds 'inf'"),
        (lambda text: text.replace("-1000", "1000", 1), "different offsets or flip angles"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, damage, words):
    about, text = spectra_as_table(SPECTRA)
    path = write(tmp_path, SPECTRA_FILE, (about, damage(text)))
    with pytest.raises(DataError, match=words):
        read_spectra(path)


def test_bounds_without_their_description_are_refused(tmp_path):
    about, text = bounds_as_table(BOUNDS)
    for wrong in ({}, {**about, "SNR": True}, {**about, "MagneticFieldStrength": -3}):
        path = write(tmp_path, BOUNDS_FILE, (wrong, text))
        with pytest.raises(DataError, match="lacks SNR or MagneticFieldStrength"):
            read_bounds(path)
    path = write(tmp_path, BOUNDS_FILE, (about, text.replace("0.01", "small")))
    with pytest.raises(DataError, match="column crb_std holds 'small'"):
        read_bounds(path)


PAGE = """
import sys
from pathlib import Path
from bids_brnn.reports.participant import write_reports
write_reports(Path(sys.argv[1]), ["01"])
print([name for name in ("torch", "numba", "nipype") if name in sys.modules])
"""


@pytest.fixture
def maps(tmp_path):
    """Folder of a series with a map and both tables."""
    anat = tmp_path / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for name in ("desc-brain_mask", "model-ramani_param-m0s_desc-nlls_QMTmap", "desc-mean_QMTref"):
        image = nibabel.Nifti1Image(np.ones((6, 5, 4), np.float32), np.eye(4))
        image.to_filename(anat / f"sub-01_acq-x_{name}.nii.gz")
        (anat / f"sub-01_acq-x_{name}.json").write_text("{}")
    write(anat, f"sub-01_acq-x_{BOUNDS_FILE}", bounds_as_table(BOUNDS))
    write(anat, f"sub-01_acq-x_{SPECTRA_FILE}", spectra_as_table(SPECTRA))
    return anat


@pytest.mark.parametrize("file", [BOUNDS_FILE, SPECTRA_FILE])
@pytest.mark.parametrize("content", ["", "a\tb\n1\n", "\0"])
def test_a_damaged_table_costs_its_panel_and_is_named(maps, tmp_path, file, content):
    path = maps / f"sub-01_acq-x_{file}"
    path.write_text(content)
    (view,) = series_views(tmp_path, "01")
    assert (view.bounds is None, view.spectra is None) == (
        file == BOUNDS_FILE, file == SPECTRA_FILE
    )  # fmt: skip
    (note,) = [note for note in view.notes if note.startswith("Not shown")]
    assert path.name in note
    assert str(tmp_path) not in note
    assert [item.name for item in view.estimators[0].estimates] == ["m0s"]


def test_bounds_whose_description_is_gone_are_not_shown(maps, tmp_path):
    (maps / f"sub-01_acq-x_{BOUNDS_FILE}").with_suffix(".json").unlink()
    (view,) = series_views(tmp_path, "01")
    assert view.bounds is None
    assert any(note.startswith("Not shown") for note in view.notes)


def test_a_page_with_bounds_and_spectra_is_written_without_pytorch(maps, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", PAGE, str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
    html = (tmp_path / "sub-01.html").read_text("utf-8")
    assert "usual tissue at 7 T, SNR 37.5 (median of the maps; known: R1, B1 (assumed))" in html
    assert '"spectra":{"voxels":[[0,1,2],[0,1,3]]' in html
