"""Maps of R1 and their standard deviation on the grid of a series; B0 beside the offsets."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids.images import read_grid
from bids_brnn.errors import DataError
from bids_brnn.imaging.fields import check_declared, declared_scale, inverted, supply
from bids_brnn.imaging.spread import check_shift, supply_spread
from bids_brnn.parameters import FIELD_MAPS

R1 = FIELD_MAPS["R1"]


@pytest.fixture
def grid(tmp_path):
    """Write a map; its grid."""

    def write(name, values, edge=2.0):
        path = tmp_path / name
        nib.Nifti1Image(values.astype(np.float32), np.diag([edge] * 3 + [1])).to_filename(path)
        return read_grid(path)

    return write


@pytest.mark.parametrize(
    ("name", "unit", "value"),
    [("a_R1map.nii", "1/s", 0.8), ("a_T1map.nii", "s", 1.25), ("a_T1map.nii", "ms", 1250.0)],
)
def test_rates_and_times_in_any_unit_are_one(grid, name, unit, value):
    source = grid(name, np.full((4, 4, 2), value))
    scale = declared_scale(R1, {"Units": unit}, name)
    mask = np.ones((4, 4, 2), bool)
    found = supply(R1, source, source, mask, inverted if scale.unit.inverse else None)
    assert np.allclose(found.values * scale.factor, 0.8)


@pytest.mark.parametrize(
    ("name", "unit", "known"),
    [("a_R1map.nii", "s", '"1/s"'), ("a_T1map.nii", "1/s", '"s" or "ms"')],
)
def test_the_suffix_and_the_unit_must_agree(name, unit, known):
    with pytest.raises(DataError, match=f"write {known} as Units"):
        declared_scale(R1, {"Units": unit}, name)


def test_values_that_contradict_the_unit_name_the_right_one():
    scale = declared_scale(R1, {"Units": "s"}, "a_T1map.nii")
    with pytest.raises(DataError, match=r'the median inside the mask is 1\.25e\+03.*Write "ms"'):
        check_declared(R1, scale, np.full(5, 1 / 1250), "a_T1map.nii")


def test_rates_are_interpolated_not_times(grid):
    """Halfway between 1 s and 4 s the rate is (1 + 0.25)/2, and the background is no time."""
    times = np.ones((8, 4, 4))
    times[4:], times[0] = 4.0, 0.0
    source = grid("a_T1map.nii", times)
    fine = grid("series.nii", np.zeros((15, 7, 7)), edge=1.0)
    mask = np.zeros((15, 7, 7), bool)
    mask[2:14, 3, 3] = True
    rates = supply(R1, source, fine, mask, inverted).values[:, 3, 3]
    assert rates[7] == pytest.approx(0.625)
    assert np.allclose(rates[2:7], 1)


def test_the_spread_of_a_time_is_that_of_its_rate(grid, tmp_path):
    source = grid("a_T1map.nii", np.full((4, 4, 2), 1.25))
    grid("a_desc-std_T1map.nii", np.full((4, 4, 2), 50.0))
    scale = declared_scale(R1, {"Units": "s"}, "a_T1map.nii")
    mask = np.ones((4, 4, 2), bool)
    other = (tmp_path / "a_desc-std_T1map.nii", {"Units": "ms"})
    spread = supply_spread(R1, (source, scale), other, source, mask)
    assert np.allclose(spread, 0.05 * 0.8**2)


def test_a_spread_on_another_grid_is_refused(grid, tmp_path):
    source = grid("a_R1map.nii", np.ones((4, 4, 2)))
    grid("a_desc-std_R1map.nii", np.ones((4, 5, 2)))
    scale = declared_scale(R1, {"Units": "1/s"}, "a_R1map.nii")
    other = (tmp_path / "a_desc-std_R1map.nii", {"Units": "1/s"})
    with pytest.raises(DataError, match="lies on another grid"):
        supply_spread(R1, (source, scale), other, source, np.ones((4, 4, 2), bool))


@pytest.mark.parametrize(
    ("shift", "offsets", "words"),
    [
        (0.2, (1000, 2000), "less than in any head; is it in ppm or kHz"),
        (0.2, (-1000, 1000), "less than in any head"),
        (1300, (1000, 2000), "beyond the smallest offset of the MT pulses, 1000 Hz"),
        (1300, (-1000, -2000), "all of one sign"),
        (1300, (-1000, 1000), None),
        (30, (1000, 2000), None),
        (0, (1000, 2000), None),
    ],
)
def test_a_field_map_that_cannot_be_in_its_unit(shift, offsets, words):
    scale = declared_scale(FIELD_MAPS["w0"], {"Units": "Hz"}, "a_fieldmap.nii")
    values = 2 * np.pi * shift * np.where(np.arange(100) % 2, 1.0, -1.0)
    if words is None:
        check_shift(values, scale, offsets, "a_fieldmap.nii")
        return
    with pytest.raises(DataError) as caught:
        check_shift(values, scale, offsets, "a_fieldmap.nii")
    assert words in str(caught.value)
