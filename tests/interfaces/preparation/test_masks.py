"""Which mask is taken, where it ends up, and what is said of its size."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from bids_brnn.errors import DataError
from bids_brnn.imaging.masks import check_mask, threshold_mask
from bids_brnn.imaging.resampling import write_transform
from bids_brnn.interfaces.preparation import masks
from bids_brnn.interfaces.preparation.align import AlignSeries
from bids_brnn.interfaces.preparation.masks import BrainMask, StripSkull, SynthesiseT1w


@pytest.fixture
def scene(tmp_path, write_nifti):
    """A head mask on the series, and a T1w image shifted by one voxel along x."""
    head = np.zeros((6, 6, 4), bool)
    head[1:5, 1:5] = True
    brain = np.zeros((6, 6, 4), bool)
    brain[2:4, 2:5, 1:3] = True
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((2.0, 0.0, 0.0))  # LPS: the voxel before, at 2 mm a voxel
    write_transform(shift, tmp_path / "to_series.txt")
    (tmp_path / "alignment.json").write_text(json.dumps({"Method": "rigid"}))
    return {
        "head": write_nifti("head.nii", head),
        "brain": write_nifti("brain.nii", brain),
        "to_series": tmp_path / "to_series.txt",
        "alignment": tmp_path / "alignment.json",
        "values": brain,
    }


def choose(tmp_path, scene, **inputs):
    folder = tmp_path / "node"
    folder.mkdir(exist_ok=True)
    given = {name: str(scene[name]) for name in ("head", "to_series", "alignment")}
    node = BrainMask(**given, head_source="an intensity threshold", label="s", **inputs)
    outputs = node.run(cwd=str(folder)).outputs
    mask = np.asanyarray(nibabel.load(outputs.mask).dataobj) > 0
    return mask, outputs.mask_source, json.loads(Path(outputs.record).read_text())


def test_a_mask_of_the_t1w_image_moves_with_it(tmp_path, scene):
    mask, source, record = choose(tmp_path, scene, found=str(scene["brain"]), in_t1w=True)
    # Points of the series go 2 mm to the left (towards smaller x): the mask appears one on.
    np.testing.assert_array_equal(mask, np.roll(scene["values"], 1, axis=0))
    assert source == "the mask brain.nii"
    assert record["MaskMethod"] == "found"
    assert record["MaskSpace"] == "T1w"
    assert record["Registration"] == {"Method": "rigid"}


def test_a_mask_of_the_series_stays(tmp_path, scene):
    mask, _, record = choose(tmp_path, scene, found=str(scene["brain"]))
    np.testing.assert_array_equal(mask, scene["values"])
    assert record["MaskSpace"] == "series"


def test_a_mask_that_was_found_wins_over_one_that_was_made(tmp_path, scene, write_nifti):
    other = write_nifti("other.nii", np.ones((6, 6, 4), bool))
    mask, *_ = choose(tmp_path, scene, found=str(scene["brain"]), stripped=str(other))
    assert mask.sum() == scene["values"].sum()
    _, source, record = choose(
        tmp_path, scene, stripped=str(other), stripped_source="the T1w image"
    )
    assert source == "deepbet on the T1w image"
    assert record["MaskMethod"] == "deepbet"


def test_without_a_brain_the_threshold_is_taken_with_a_warning(
    tmp_path, scene, write_nifti, caplog
):
    empty = write_nifti("empty.nii", np.zeros((6, 6, 4), bool))
    mask, source, record = choose(
        tmp_path, scene, stripped=str(empty), stripped_source="the T1w image", hint="Do this."
    )
    assert mask.sum() == 4 * 4 * 4
    assert (source, record["MaskMethod"]) == ("an intensity threshold", "threshold")
    assert "deepbet found no brain in the T1w image" in caplog.text
    assert "no brain mask was found" in caplog.text
    assert "Do this." in caplog.text


def test_the_mask_of_the_user_is_neither_replaced_nor_checked(tmp_path, scene, caplog):
    mask, _, record = choose(tmp_path, scene, given=True, found=str(scene["brain"]))
    assert mask.sum() == 4 * 4 * 4
    assert (record["MaskMethod"], record["MaskCheck"]) == ("user", "not checked")
    # Earlier tests may have turned on messages about progress.
    assert not [item for item in caplog.records if item.levelname == "WARNING"]


def test_a_mask_beside_the_series_is_refused(tmp_path, scene):
    far = sitk.AffineTransform(3)
    far.SetTranslation((500.0, 0.0, 0.0))
    write_transform(far, scene["to_series"])
    with pytest.raises(DataError, match="does not overlap"):
        choose(tmp_path, scene, found=str(scene["brain"]), in_t1w=True)


@pytest.mark.parametrize(
    ("litres", "fine"), [(0.8, False), (1.0, True), (1.4, True), (1.9, True), (2.2, False)]
)
def test_a_whole_brain_has_a_volume(litres, fine):
    mask = np.zeros((50, 50, 50), bool)
    mask.ravel()[: round(litres * 1e6 / 64)] = True  # 4 mm voxels, 200 mm
    problem = check_mask(mask, np.full(3, 4.0))
    assert (problem == "") == fine
    assert fine or f"{litres:.2f} l is outside 0.9 to 2 l" in problem


@pytest.mark.parametrize(("area", "fine"), [(10, False), (60, True), (170, True), (300, False)])
def test_a_slab_has_a_mean_section(area, fine):
    mask = np.zeros((100, 100, 3), bool)
    mask[..., :].reshape(-1, 3)[: area * 100 // 4] = True  # 2 mm voxels in the plane
    problem = check_mask(mask, np.array([2.0, 2.0, 5.0]))
    assert (problem == "") == fine
    assert fine or "cm2" in problem


def test_a_suspicious_mask_is_told_in_log_and_record(tmp_path, scene, caplog):
    _, _, record = choose(tmp_path, scene, found=str(scene["brain"]))
    assert "check the mask" in caplog.text
    assert "cm2" in record["MaskCheck"]


def test_the_threshold_finds_tissue_beside_bright_fluid():
    rng = np.random.default_rng(0)
    image = np.abs(rng.standard_normal((20, 20, 6, 15))).mean(3)  # noise, mean 0.8
    image[4:16, 4:16] += 4  # tissue
    image[8:12, 8:12] += 30  # fluid
    expected = np.zeros(image.shape, bool)
    expected[4:16, 4:16] = True
    np.testing.assert_array_equal(threshold_mask(image), expected)


def test_the_threshold_does_not_split_noise():
    rng = np.random.default_rng(0)
    image = np.abs(rng.standard_normal((20, 20, 6, 15))).mean(3)
    image[6:14, 6:14] += 10
    assert threshold_mask(image).sum() == 8 * 8 * 6


def test_a_t1_weighted_image_is_made_of_maps(tmp_path, write_nifti):
    tissue = {"CSF": (0.25, 0.6, 1.0), "GM": (0.75, 9.0, 0.85), "WM": (1.2, 12.5, 0.75)}
    maps = {
        name: write_nifti(f"{name}.nii", np.array([[[v[k] for v in tissue.values()] + [np.nan]]]))
        for k, name in enumerate(("R1", "R2", "M0"))
    }
    rows = [{"name": n, "kind": "estimate", "file": p.name} for n, p in maps.items()]
    (tmp_path / "maps.json").write_text(json.dumps(rows))
    node = SynthesiseT1w(
        maps_file=str(tmp_path / "maps.json"), maps=[str(p) for p in maps.values()]
    )
    made = nibabel.load(node.run(cwd=str(tmp_path)).outputs.out_file).get_fdata().ravel()
    csf, gm, wm, nothing = made
    assert 0 < csf < gm < wm
    assert nothing == 0
    assert wm == pytest.approx(0.75 * (1 - np.exp(-0.72)) * np.exp(-0.0375), rel=1e-6)


def test_two_pools_give_the_mean_rate():
    two = {"m0s": 0.2, "R1f": 0.5, "R1s": 3.0, "R2f": 12.0, "M0": 1.0}
    one = {"R1": 1.0, "R2": 12.0, "M0": 1.0}
    contrast = [masks.t1_contrast({k: np.array([v]) for k, v in m.items()}) for m in (two, one)]
    np.testing.assert_allclose(*contrast, rtol=1e-6)


@pytest.mark.slow
def test_no_brain_in_an_empty_image(tmp_path, write_nifti):
    pytest.importorskip("deepbet")
    pytest.importorskip("cc3d")
    pytest.importorskip("fill_voids")
    path = write_nifti("t1w.nii", np.zeros((20, 20, 20), np.float32))
    outputs = StripSkull(in_file=str(path)).run(cwd=str(tmp_path)).outputs
    mask = nibabel.load(outputs.mask)
    assert mask.shape == (20, 20, 20)
    assert not np.asanyarray(mask.dataobj).any()


def test_without_a_t1w_image_nothing_is_aligned(tmp_path, write_nifti):
    reference = write_nifti("reference.nii", np.ones((6, 6, 4), np.float32))
    outputs = AlignSeries(reference=str(reference)).run(cwd=str(tmp_path)).outputs
    assert json.loads(Path(outputs.alignment).read_text()) == {}
    assert "t1w_moved" not in {n for n, v in outputs.get().items() if isinstance(v, str)}


def test_headers_are_believed_where_asked_for(tmp_path, write_nifti, caplog):
    caplog.set_level("INFO", logger="bids_brnn")
    values = np.arange(6 * 6 * 4, dtype=np.float32).reshape(6, 6, 4)
    reference, t1w = write_nifti("reference.nii", values), write_nifti("t1w.nii", values)
    node = AlignSeries(reference=str(reference), t1w=str(t1w), registration="header", label="s")
    outputs = node.run(cwd=str(tmp_path)).outputs
    assert json.loads(Path(outputs.alignment).read_text())["Method"] == "header"
    assert "as asked for" in caplog.text
    np.testing.assert_array_equal(nibabel.load(outputs.t1w_moved).get_fdata(), values)
