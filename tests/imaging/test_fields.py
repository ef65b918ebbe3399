"""Field maps: units as declared, never guessed; no value is made of what was not measured."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids.images import read_grid
from bids_brnn.errors import DataError
from bids_brnn.imaging.fields import REACH, check_declared, declared_scale, measured, supply
from bids_brnn.parameters import FIELD_MAPS

B1, B0 = FIELD_MAPS["B1"], FIELD_MAPS["w0"]
TURN = 2 * math.pi


@pytest.mark.parametrize(
    ("field", "sidecar", "factor", "words"),
    [
        (B1, {"Units": "percent"}, 0.01, "percent"),
        (B1, {"Units": " % "}, 0.01, "percent"),
        (B1, {"Units": "1"}, 1.0, "1"),
        (B1, {"Units": 1}, 1.0, "1"),
        (B1, {"Units": "Unitless"}, 1.0, "1"),
        (B1, {"Units": "degree", "FlipAngle": 60}, 1 / 60, "degree over FlipAngle 60"),
        # dcm2niix writes the angle of the readout as FlipAngle where a pulse before it counts.
        (B1, {"Units": "deg", "FlipAngle": 8, "NominalFlipAngle": 90}, 1 / 90,
         "degree over NominalFlipAngle 90"),
        (B1, {"Units": "rad", "NominalFlipAngle": 90}, 2 / math.pi,
         "rad over NominalFlipAngle 90"),
        (B0, {"Units": "Hz"}, TURN, "Hz"),
        (B0, {"Units": "kHz"}, 1000 * TURN, "kHz"),
        (B0, {"Units": "rad/s"}, 1.0, "rad/s"),
        (B0, {"Units": "T"}, TURN * 42.577478518e6, "T"),
    ],
)  # fmt: skip
def test_units_come_from_the_sidecar(field, sidecar, factor, words):
    scale = declared_scale(field, sidecar, "x.nii")
    assert (scale.factor, scale.words) == (pytest.approx(factor), words)


@pytest.mark.parametrize("field", [B1, B0])
@pytest.mark.parametrize("units", [None, "", "arbitrary", "n/a", "p.u.", "ppm", ["Hz"], True])
def test_units_that_say_nothing_are_refused_with_those_that_do(field, units):
    words = " or ".join(['"percent" .*"rad"', '"Hz".*"uT"'][field is B0].split(" or "))
    with pytest.raises(DataError, match=rf"x\.nii: Units is .*never guessed; write {words}"):
        declared_scale(field, {} if units is None else {"Units": units}, "x.nii")


@pytest.mark.parametrize("angle", [None, 0, -60, [60, 120], "sixty", True])
def test_degrees_need_one_nominal_angle(angle):
    sidecar = {"Units": "degree", "FlipAngle": angle}
    with pytest.raises(DataError, match=r"x\.nii: .*nominal angle.*NominalFlipAngle"):
        declared_scale(B1, sidecar, "x.nii")


@pytest.mark.parametrize(
    ("field", "sidecar", "value", "cure"),
    [
        (B1, {"Units": "percent"}, 0.9, 'Write "1" if that is their unit'),
        (B1, {"Units": "1"}, 92.0, 'Write "percent" if that is their unit'),
        (B1, {"Units": "1"}, 1000.0, "Correct it or the values"),
        (B1, {"Units": "degree", "FlipAngle": 8}, 80.0, 'Write "percent" if'),
        (B1, {"Units": "degree", "FlipAngle": 60}, 0.9, 'Write "1" if'),
        (B0, {"Units": "T"}, 30.0, '"Hz" or "rad/s"'),
        (B0, {"Units": "kHz"}, -80.0, '"Hz" or "rad/s"'),
        (B0, {"Units": "Hz"}, 1e-6, '"T"'),
        (B0, {"Units": "Hz"}, 20000.0, "Correct it"),
    ],
)
def test_values_may_contradict_a_unit(field, sidecar, value, cure):
    scale = declared_scale(field, sidecar, "x.nii")
    values = np.array([value, value, np.nan, 0.0]) * scale.factor
    with pytest.raises(DataError) as caught:
        check_declared(field, scale, values, "x.nii")
    said = str(caught.value)
    assert f'x.nii: Units is "{scale.words}", but the median inside the mask is' in said
    assert f"{abs(value):.3g}" in said
    assert cure in said


@pytest.mark.parametrize(
    ("field", "units", "values"),
    [
        (B1, "percent", [45.0, 92, 160]),
        (B1, "1", [0.4, 1.0]),
        (B0, "Hz", [0.0, 0.0]),  # a field without deviation
        (B0, "Hz", [-400.0, 30, 3]),
        (B0, "T", [1e-6, -2e-6]),
    ],
)
def test_possible_values_pass(field, units, values):
    scale = declared_scale(field, {"Units": units}, "x.nii")
    check_declared(field, scale, np.array(values) * scale.factor, "x.nii")


def test_zero_is_no_b1():
    values = np.array([0.0, np.nan, np.inf, -1, 0.9])
    assert measured(B1, values).tolist() == [False, False, False, False, True]


def test_zero_is_a_b0_unless_it_is_the_background():
    values = np.ones((10, 10, 4))
    values[5, 5, 1] = 0
    values[2, 2, 2] = np.nan
    assert measured(B0, values).sum() == 399
    values[:2] = 0
    found = measured(B0, values)
    assert not found[:2].any()
    assert found[5, 5, 1]
    assert measured(B0, np.zeros((4, 4, 4))).all()
    ramp = np.broadcast_to(np.arange(-1.0, 3)[:, None, None], (4, 6, 2))
    assert measured(B0, ramp).all()  # it passes through 0


# A head of 68 x 86 x 62 mm half axes, and the transmit field of 3 T: 1.1 in the middle, 0.7 at the
# edge, steepest there, with 1 % per mm.


def points(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def transmit(at):
    x, y, z = np.moveaxis(at, -1, 0)
    return 1.12 - 0.32 * (x / 75) ** 2 - 0.28 * (y / 95) ** 2 - 0.2 * (z / 70) ** 2 + 0.0012 * x


def inside(at):
    return ((at / [68, 86, 62]) ** 2).sum(axis=-1) < 1


def centred(size, shape, shift=(0, 0, 0)):
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = -np.array(size) * (np.array(shape) - 1) / 2 + shift
    return affine


@pytest.fixture
def scene(tmp_path):
    """A function: map and series as grids, the mask, and the truth on the series."""

    def make(values_of, size=(6, 6, 6), shape=(34, 34, 34), shift=(0, 0, 0)):
        target_shape = (36, 44, 32)
        target = centred((4, 4, 4), target_shape, (0.3, 0.7, -0.4))
        at = points(target_shape, target)
        source = centred(size, shape, shift)
        values = values_of(points(shape, source)).astype(np.float32)
        for name, array, affine in (("m", inside(at), target), ("b1", values, source)):
            array = array.astype(np.uint8) if array.dtype == bool else array
            nib.Nifti1Image(array, affine).to_filename(tmp_path / f"{name}.nii")
        return read_grid(tmp_path / "b1.nii"), read_grid(tmp_path / "m.nii"), inside(at), at

    return make


@pytest.mark.parametrize(
    ("size", "shape"),
    [((6, 6, 6), (34, 34, 34)), ((8, 8, 8), (25, 25, 25)), ((3, 3, 10), (67, 67, 20))],
)
@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_a_map_that_ends_with_the_brain_is_true_everywhere_in_it(scene, size, shape, missing):
    source, target, mask, at = scene(
        lambda p: np.where(inside(p), transmit(p), missing), size, shape
    )
    found = supply(B1, source, target, mask)
    # A plane through neighbours at most a voxel away; the field bends by 0.01 % per mm squared.
    np.testing.assert_allclose(found.values[mask], transmit(at)[mask], rtol=0.01)
    assert found.absent == 0
    assert 0.1 * mask.sum() < found.continued < 0.5 * mask.sum()
    assert "continued from the nearest values" in found.words(mask.sum())


def test_a_whole_map_is_interpolated_as_ever(scene):
    source, target, mask, at = scene(transmit)
    found = supply(B1, source, target, mask)
    assert (found.continued, found.absent, found.words(mask.sum())) == (0, 0, "")
    np.testing.assert_allclose(found.values[mask], transmit(at)[mask], rtol=0.002)


def test_beyond_the_field_of_view_a_map_goes_on_for_a_centimetre(scene):
    # 20 slices of 6 mm end 57 mm above the middle; moved down by 30 mm, 27 mm above it.
    source, target, mask, at = scene(transmit, shape=(34, 34, 20), shift=(0, 0, -30))
    found = supply(B1, source, target, mask)
    above = at[..., 2] - (57 - 30 + 3)  # mm beyond the edge of the last voxel
    assert np.isnan(found.values[mask & (above > REACH)]).all()
    near = mask & (above <= REACH)
    # 13 mm beyond the last centre: 1 % of bend.
    np.testing.assert_allclose(found.values[near], transmit(at)[near], rtol=0.02)
    assert found.absent == (mask & (above > REACH)).sum() > 0
    assert "without any value within 10 mm, not estimated" in found.words(mask.sum())


def test_holes_on_the_same_grid_are_filled(scene):
    source, target, mask, at = scene(transmit, (4, 4, 4), (36, 44, 32), (0.3, 0.7, -0.4))
    values = transmit(at)
    values[18, 22, 16] = 0
    values[10:12, 20, 16] = np.nan
    nib.Nifti1Image(values, source.affine).to_filename(source.path)
    found = supply(B1, read_grid(source.path), target, mask)
    assert found.continued == 3
    np.testing.assert_allclose(found.values[mask], transmit(at)[mask], rtol=0.002)


def test_a_masked_b0_map_keeps_its_values_at_the_rim(scene):
    def field(p):
        return 40 + 0.5 * p[..., 0] + 0.2 * p[..., 2]  # Hz

    source, target, mask, at = scene(lambda p: np.where(inside(p), field(p), 0))
    found = supply(B0, source, target, mask)
    # A plane is continued exactly, but for the pull that keeps flat neighbourhoods solvable.
    np.testing.assert_allclose(found.values[mask], field(at)[mask], atol=0.5)


def test_a_map_of_one_slice_serves_its_slice(scene):
    source, target, mask, at = scene(transmit, (6, 6, 4), (34, 34, 1), (0, 0, -2.4))
    found = supply(B1, source, target, mask)
    k = int(np.argmin(np.abs(at[0, 0, :, 2] + 2.4)))
    np.testing.assert_allclose(
        found.values[:, :, k][mask[:, :, k]], transmit(at)[:, :, k][mask[:, :, k]], rtol=0.01
    )
    assert np.isnan(found.values[mask]).any()


def test_a_map_that_reaches_no_voxel_is_refused(scene):
    for make in ((lambda p: 0 * p[..., 0], (0, 0, 0)), (transmit, (900, 0, 0))):
        source, target, mask, _ = scene(make[0], shift=make[1])
        with pytest.raises(DataError, match=r"b1\.nii has no value within 10 mm of the mask"):
            supply(B1, source, target, mask)
