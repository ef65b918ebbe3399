"""Finished maps in other spaces: one interpolation, no bleeding, the right direction."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from bids_brnn.bids.images import Volume
from bids_brnn.errors import DataError
from bids_brnn.imaging.resampling import (
    affine_of,
    chained,
    read_transform,
    warp_grid,
    write_transform,
)
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.interfaces.sinks.spaces import Mover, WriteSpace
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.zoo.recipe import EstimatorRecipe

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2.0, 0, -12], [0, 0, 3.0, -9], [0, 0, 0, 1]])
SHAPE = (10, 12, 6)
LPS = np.diag([-1.0, -1.0, 1.0])


def volume(shape, affine):
    header = nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine).header
    return Volume(np.zeros((*shape, 0), np.complex64), affine, header)


def ramp():
    """A map that is linear in scanner coordinates (RAS, mm)."""
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    points = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    return 100 + points @ [1.0, 2.0, -0.5]


def box(margin=1):
    mask = np.zeros(SHAPE, bool)
    mask[margin:-margin, margin:-margin, margin:-margin] = True
    return mask


def rotated(degrees=10.0, shift=(1.0, -2.0, 0.5)):
    transform = sitk.AffineTransform(3)
    transform.Rotate(0, 1, np.radians(degrees))
    transform.SetTranslation(shift)
    return transform


def target(step=1.5, n=14):
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = -step * (n - 1) / 2
    return volume((n, n, n), affine)


def test_a_linear_map_is_moved_exactly_and_without_its_border():
    transform, there = rotated(), target()
    mover = Mover(box(), AFFINE, there, transform)
    moved = mover(ramp())
    voxels = np.argwhere(mover.mask)
    points = voxels @ there.affine[:3, :3].T + there.affine[:3, 3]
    here = points @ affine_of(transform)[:3, :3].T + affine_of(transform)[:3, 3]
    wanted = 100 + here @ [1.0, 2.0, -0.5]
    # Within the mask by a voxel, interpolation of a linear function is exact; at its border the
    # value is that of the voxels inside, at most half a voxel (3 mm, slope 2.3) away.
    found = moved[mover.mask]
    index = (here - AFFINE[:3, 3]) @ np.linalg.inv(AFFINE[:3, :3]).T
    deep = ((index >= 1) & (index <= np.array(SHAPE) - 2)).all(1)
    assert deep.sum() > 200
    np.testing.assert_allclose(found[deep], wanted[deep], rtol=1e-5)
    assert np.abs(found - wanted).max() < 4
    # Zeros around the mask would have pulled values of about 100 down by half.
    assert found.min() > 70
    assert not moved[~mover.mask].any()


def test_voxels_without_an_estimate_do_not_spread():
    values = np.full(SHAPE, 5.0)
    values[5, 6, 3] = np.nan
    mover = Mover(box(), AFFINE, target(), rotated())
    moved = mover(values)[mover.mask]
    holes = np.isnan(moved)
    # One voxel of 12 mm3 in voxels of 3.4 mm3.
    assert 1 <= holes.sum() <= 8
    np.testing.assert_allclose(moved[~holes], 5.0, rtol=1e-6)


def test_flags_stay_whole_numbers():
    rng = np.random.default_rng(0)
    flags = rng.choice([0.0, 1.0, 4.0, 5.0], SHAPE)
    mover = Mover(box(), AFFINE, target(), rotated())
    moved = mover(flags, labels=True)[mover.mask]
    assert set(np.unique(moved[np.isfinite(moved)])) <= {0.0, 1.0, 4.0, 5.0}


@pytest.fixture
def warp(tmp_path):
    """A composite as fMRIPrep writes: template points to T1w points, affine and warp."""
    field = sitk.Image([9, 9, 9], sitk.sitkVectorFloat64)
    field.SetSpacing((5.0, 5.0, 5.0))
    field.SetOrigin((-20.0, -20.0, -20.0))
    values = np.zeros((9, 9, 9, 3))
    values[..., 0] = 4.0  # everywhere 4 mm to the left, in ITK's axes
    filled = sitk.GetImageFromArray(values, isVector=True)
    filled.CopyInformation(field)
    affine = sitk.AffineTransform(3)
    affine.Scale(1.1)
    # ITK applies the last one first: warp, then affine.
    composite = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(filled)])
    path = tmp_path / "sub-01_from-T1w_to-MNI_mode-image_xfm.h5"
    sitk.WriteTransform(composite, str(path))
    return path


def test_a_composite_is_read_in_its_order_and_chained_the_right_way(warp):
    template_to_t1w = read_transform(warp)
    point = (1.0, 2.0, 3.0)
    in_t1w = ((1 + 4) * 1.1, 2 * 1.1, 3 * 1.1)
    assert template_to_t1w.TransformPoint(point) == pytest.approx(in_t1w)
    t1w_to_series = sitk.AffineTransform(3)
    t1w_to_series.SetTranslation((0.0, 0.0, 10.0))
    both = chained(template_to_t1w, t1w_to_series)
    assert both.TransformPoint(point) == pytest.approx((in_t1w[0], in_t1w[1], in_t1w[2] + 10))


def test_the_grid_of_a_warp_is_found(warp):
    shape, affine = warp_grid(read_transform(warp))
    assert shape == (9, 9, 9)
    np.testing.assert_allclose(affine[:3, :3], np.diag([-5, -5, 5]))
    np.testing.assert_allclose(affine[:3, 3], [20, 20, -20])
    assert warp_grid(sitk.AffineTransform(3)) is None


@pytest.fixture
def node(tmp_path):
    """A node with one map of one estimator, ready to run."""

    def image(name, values, affine=AFFINE):
        nibabel.Nifti1Image(values, affine).to_filename(tmp_path / name)
        return str(tmp_path / name)

    values = np.where(box(), ramp(), np.nan).astype(np.float32)
    rows = [
        {"name": "T1", "unit": "s", "suffix": "T1map", "description": "T1", "kind": kind,
         "file": f"{kind}.nii"} for kind in ("estimate", "std")
    ]  # fmt: skip
    (tmp_path / "maps.json").write_text(json.dumps(rows))
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((-6.0, 0.0, 0.0))  # the head lies 6 mm further right in the T1w image
    write_transform(shift, tmp_path / "to_series.txt")
    (tmp_path / "record.json").write_text(json.dumps({"MaskCheck": "passed", "MaskSpace": "T1w"}))
    series = SeriesRecord(
        "sub-01_MRF", "mrf", "fisp", {"subject": "01"}, {}, ["bids:raw:a"], {"t1w": "bids:raw:t"}
    )
    recipe = EstimatorRecipe(estimator="dict", model="fisp", sequence=jiang_like_train(10))
    return WriteSpace(
        series=str(series.to_file(tmp_path / "series.json")),
        recipe=str(recipe.to_file(tmp_path / "recipe.json")),
        desc="dict",
        output_dir=str(tmp_path / "out"),
        maps_file=str(tmp_path / "maps.json"),
        maps=[image("estimate.nii", values), image("std.nii", values / 10)],
        mask=image("mask.nii", box().astype(np.uint8)),
        mask_source="the mask m.nii",
        record=str(tmp_path / "record.json"),
        to_series=str(tmp_path / "to_series.txt"),
        space="T1w",
        target=image("t1w.nii", np.zeros(SHAPE, np.float32)),
        target_uri="bids:raw:t",
    )


def run(node, tmp_path):
    folder = tmp_path / "node"
    folder.mkdir()
    node.run(cwd=str(folder))
    return tmp_path / "out" / "sub-01" / "anat"


def test_maps_std_and_mask_are_written_in_the_space_of_the_t1w_image(node, tmp_path):
    anat = run(node, tmp_path)
    assert sorted(path.name for path in anat.iterdir()) == [
        f"sub-01_space-T1w_desc-{name}.{extension}"
        for name in ("brain_mask", "dictStd_T1map", "dict_T1map")
        for extension in ("json", "nii.gz")
    ]
    moved = nibabel.load(anat / "sub-01_space-T1w_desc-dict_T1map.nii.gz").get_fdata()
    expected = np.where(box(), ramp(), 0)
    # to_series maps a point of the series to 6 mm more in RAS x: three voxels of 2 mm.
    np.testing.assert_allclose(moved[3:], expected[:-3], rtol=1e-5)
    assert not moved[:3].any()
    mask = nibabel.load(anat / "sub-01_space-T1w_desc-brain_mask.nii.gz").get_fdata() > 0
    np.testing.assert_array_equal(mask[3:], box()[:-3])
    sidecar = json.loads((anat / "sub-01_space-T1w_desc-dictStd_T1map.json").read_text())
    assert sidecar["SpatialReference"] == "bids:raw:t"
    assert sidecar["Uncertainty"]["Of"] == (
        "bids::sub-01/anat/sub-01_space-T1w_desc-dict_T1map.nii.gz"
    )
    assert sidecar["Sources"].count("bids:raw:t") == 1
    assert sidecar["MaskCheck"] == "passed"


def test_a_template_without_an_image_takes_the_grid_of_the_warp(node, tmp_path, warp):
    node.inputs.space = "MNI"
    node.inputs.target = type(node.inputs)().target
    node.inputs.transform = str(warp)
    node.inputs.transform_uri = "bids:fmriprep:x"
    anat = run(node, tmp_path)
    image = nibabel.load(anat / "sub-01_space-MNI_desc-dict_T1map.nii.gz")
    assert image.shape == (9, 9, 9)
    sidecar = json.loads((anat / "sub-01_space-MNI_desc-dict_T1map.json").read_text())
    assert sidecar["Transform"] == "bids:fmriprep:x"
    # The map is linear, so each value tells which point it was taken from.
    index = np.array([2, 4, 4])
    point = image.affine[:3, :3] @ index + image.affine[:3, 3]
    in_t1w = LPS @ ((LPS @ point + [4, 0, 0]) * 1.1)
    in_series = in_t1w - np.array([6.0, 0, 0])
    wanted = 100 + in_series @ [1.0, 2.0, -0.5]
    assert image.get_fdata()[tuple(index)] == pytest.approx(wanted, rel=1e-4)


def test_a_space_without_a_grid_or_without_overlap_is_refused(node, tmp_path):
    node.inputs.space = "MNI"
    affine = sitk.AffineTransform(3)
    affine.SetTranslation((900.0, 0.0, 0.0))
    write_transform(affine, tmp_path / "far.txt")
    node.inputs.transform = str(tmp_path / "far.txt")
    with pytest.raises(DataError, match="does not overlap with the space MNI"):
        run(node, tmp_path)
    node.inputs.target = type(node.inputs)().target
    (tmp_path / "again").mkdir()
    with pytest.raises(DataError, match="no warp whose grid could be used"):
        node.run(cwd=str(tmp_path / "again"))
