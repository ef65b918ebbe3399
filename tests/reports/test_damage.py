"""Files of an output folder that were damaged, or written by somebody who means harm."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.errors import DataError, ReadError
from bids_brnn.group.quality import quality_table
from bids_brnn.reports.participant import write_reports

MARKUP = '</script><script>alert(1)</script><img src=x onerror=alert(2)>" onfocus="alert(3)'
TEXTS = (
    "Units", "Description", "NoiseSource", "EstimationAlgorithm", "WeightsName", "MaskSource",
    "MaskCheck", "B1Source",
)  # fmt: skip
AFFINE = np.diag([2.0, 2, 3, 1])


@pytest.fixture
def outputs(tmp_path):
    """Two participants with a mask, a map and labels, whose texts are markup."""
    values = np.random.default_rng(0).random((6, 7, 2)).astype(np.float32)
    for label in ("01", "02"):
        anat = tmp_path / f"sub-{label}" / "anat"
        anat.mkdir(parents=True)
        head = f"sub-{label}_acq-fisp"
        about = dict.fromkeys(TEXTS, MARKUP)
        about |= {"PreparationSteps": [MARKUP], "Registration": {"Description": MARKUP}}
        for name in ("desc-brain_mask", "desc-dict_T1map", "seg-x_dseg"):
            nib.Nifti1Image(np.ceil(values), AFFINE).to_filename(anat / f"{head}_{name}.nii.gz")
            (anat / f"{head}_{name}.json").write_text(json.dumps(about))
        (anat / f"{head}_seg-x_dseg.tsv").write_text(f"index\tname\n1\t{MARKUP}\n")
        (anat / f"{head}_seg-x_desc-dict_scalarstats.tsv").write_text(
            f"index\tname\tparam\tunits\tregion_source\tn_voxels\tmean\tstd\tmedian\n"
            f"1\t{MARKUP}\tT1\ts\t{MARKUP}\t9\t1\t0.1\t1\n"
        )
    return tmp_path


def one(folder, pattern):
    (found,) = folder.rglob(pattern)
    return found


def test_texts_of_sidecars_and_tables_cannot_become_markup(outputs):
    pages = write_reports(outputs, ["01"], errors=[f"sub-01: {MARKUP}"])
    text = pages[0].read_text(encoding="utf-8")
    assert "alert(2)" in text
    for part in ("<script>alert", "<img src=x", '" onfocus="'):
        assert part not in text


@pytest.mark.parametrize(
    ("shape", "words"), [((5, 7, 2), r"has \(5, 7, 2\) voxels"), ((6, 7), "voxels|3")]
)
def test_a_map_of_another_grid_is_refused(outputs, shape, words):
    path = one(outputs, "sub-01_*T1map.nii.gz")
    nib.Nifti1Image(np.ones(shape, np.float32), AFFINE).to_filename(path)
    with pytest.raises(DataError, match=words):
        write_reports(outputs, ["01"])
    notes = []
    assert list(quality_table(outputs, (), (), notes)["participant_id"]) == ["sub-02"]
    assert path.name in notes[0]


def test_damage_of_one_participant_costs_its_own_page_only(outputs):
    one(outputs, "sub-01_*T1map.nii.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ReadError, match="sub-01"):
        write_reports(outputs, ["01", "02"])
    assert not (outputs / "sub-01.html").exists()
    assert (outputs / "sub-02.html").is_file()


def test_records_that_cannot_be_read_are_left_out(outputs):
    record = outputs / "sub-01" / "log" / "20260101-000000_a"
    record.mkdir(parents=True)
    (record / "bids_brnn.toml").write_bytes(b"\xff[bids_brnn\n")
    os.mkfifo(record / "crash-a.txt")
    assert write_reports(outputs, ["01"], records={"01": record})


def test_any_number_of_threads_makes_the_same_page(outputs):
    (page,) = write_reports(outputs, ["01"])
    before = page.read_bytes()
    write_reports(outputs, ["01"], threads=3)
    assert page.read_bytes() == before
