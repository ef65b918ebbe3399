"""Images beside a series: one volume, real, and one rule for what a mask selects."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients, read_mask
from bids_brnn.bids.images import read_grid
from bids_brnn.bids.volumes import as_mask, read_map, read_volume
from bids_brnn.errors import DataError

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 4, 2, 1), (3, 4, 2, 1, 1), (3, 4), (3, 4, 1)])
def test_axes_of_length_one_are_dropped(image, shape):
    values = RNG.normal(size=shape).astype(np.float32)
    read = read_volume(read_grid(image(values)))
    assert read.shape == (3, 4, 1 if len(shape) < 3 else shape[2])
    assert np.array_equal(read.ravel(), values.ravel())


@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (3, 4, 2, 1, 3)])
def test_several_volumes_are_refused(image, shape):
    message = rf"x\.nii\.gz has {shape[-1]} volumes \({'x'.join(map(str, shape))}\); one is needed"
    with pytest.raises(DataError, match=message):
        read_volume(read_grid(image(np.ones(shape, np.float32))))


def test_complex_voxels_are_refused(image):
    with pytest.raises(DataError, match="holds complex voxels; a real image is needed"):
        read_volume(read_grid(image(np.ones((3, 4, 2), np.complex64))))


INSIDE = RNG.random((3, 4, 2)) > 0.5


@pytest.mark.parametrize(
    "values",
    [
        INSIDE,
        255 * INSIDE.astype(np.int16),
        2.0 * INSIDE,
        np.where(INSIDE, 0.6, 0.4),
        np.where(INSIDE, 0.5, 0.49),
        np.where(INSIDE, 1.04, -0.04),  # overshoot of splines
        np.where(INSIDE, 1, np.nan),
    ],
)
def test_what_a_mask_selects(values):
    assert np.array_equal(as_mask(np.asarray(values), "m.nii"), INSIDE)


def test_a_mask_may_hold_one_value_only():
    assert as_mask(np.full(5, 255), "m.nii").all()
    assert not as_mask(np.zeros(5), "m.nii").any()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 1, 2, 3], "0, 1, 2, 3"),
        ([0, -1], "-1, 0"),
        (np.arange(100), r"0, 1, 2, 3, 4 \.\.\., 99"),
        (np.linspace(0, 255, 9), r"0, 31\.875.*255"),
    ],
)
def test_values_of_no_mask_are_refused_by_name(values, words):
    with pytest.raises(DataError, match=rf"m\.nii is no mask, it holds {words}; a mask holds 0"):
        as_mask(np.asarray(values), "m.nii")


def test_masks(image):
    like = read_grid(image(np.zeros((3, 4, 2, 5), np.float32), "series.nii"))
    inside = RNG.random((3, 4, 2)) > 0.5
    assert np.array_equal(read_mask(image(inside.astype(np.uint8)), like), inside)
    assert np.array_equal(read_mask(image(255 * inside.astype(np.int16)), like), inside)
    assert np.array_equal(read_mask(image(inside.astype(np.uint8)[..., None]), like), inside)
    share = np.where(inside, 0.6, 0.4).astype(np.float32)
    assert np.array_equal(read_mask(image(share), like), inside)
    with pytest.raises(DataError, match="selects no voxel"):
        read_mask(image(np.zeros((3, 4, 2), np.uint8)), like)
    with pytest.raises(DataError, match="2 volumes"):
        read_mask(image(np.ones((3, 4, 2, 2), np.uint8)), like)
    message = r"x.nii.gz \(3x4x3\) does not lie on the grid of the series \(3x4x2\); resample"
    with pytest.raises(DataError, match=message):
        read_mask(image(np.ones((3, 4, 3), np.uint8)), like)
    with pytest.raises(DataError, match="resample"):
        read_mask(image(np.ones((3, 4, 2), np.uint8), affine=np.eye(4)), like)


def test_maps_on_the_grid_of_a_volume(image, raw):
    raw.qmt()
    volume = read_coefficients(find_acquisitions(raw.root).acquisitions[0])
    values = RNG.normal(size=(4, 5, 3))
    assert np.allclose(read_map(image(values, affine=volume.affine), volume), values)
