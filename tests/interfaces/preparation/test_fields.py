"""Field maps reach the models in their units, or not at all."""

from __future__ import annotations

import math

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.interfaces.preparation.fields import PrepareFields, field_scale

ONES = np.ones(10)


@pytest.mark.parametrize(
    ("name", "units", "values", "factor", "words"),
    [
        ("B1", "percent", ONES, 0.01, "percent"),
        ("B1", "%", ONES, 0.01, "percent"),
        ("B1", "1", 100 * ONES, 1.0, "fraction"),
        ("B1", "Fraction", ONES, 1.0, "fraction"),
        ("B1", "arbitrary", 97 * ONES, 0.01, "percent (by its median)"),
        ("B1", "", 0.97 * ONES, 1.0, "fraction (by its median)"),
        ("B1", "", np.array([0.9, 1.1, np.nan, 1.0]), 1.0, "fraction (by its median)"),
        ("w0", "Hz", ONES, 2 * math.pi, "Hz"),
        ("w0", "rad/s", ONES, 1.0, "rad/s"),
    ],
)
def test_units(name, units, values, factor, words):
    assert field_scale(name, units, values, "x.nii") == (pytest.approx(factor), words)


@pytest.mark.parametrize(
    ("name", "units", "values"),
    [
        ("B1", "arbitrary", 0.02 * ONES),
        ("B1", "", 300 * ONES),
        ("B1", "", np.full(3, np.nan)),
        ("B1", "degrees", ONES),
        ("w0", "", ONES),
        ("w0", "T", ONES),
    ],
)
def test_units_that_cannot_be_told_are_refused_by_file(name, units, values):
    with pytest.raises(DataError, match=r"x\.nii: .*write|x\.nii: .*Write"):
        field_scale(name, units, values, "x.nii")


def test_maps_come_to_the_grid_scaled(tmp_path, write_nifti):
    mask = write_nifti("mask.nii", np.ones((4, 6, 2), bool))
    b1 = write_nifti("b1.nii.gz", np.full((4, 6, 2), 90.0, np.float32))
    ramp = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 6, 2)).astype(np.float32)
    b0 = write_nifti("b0.nii", ramp)
    (tmp_path / "node").mkdir()
    node = PrepareFields(
        fields=[str(b1), str(b0)], names=["B1", "w0"], units=["", "Hz"], mask=str(mask)
    )
    outputs = node.run(cwd=str(tmp_path / "node")).outputs
    first, second = (np.asanyarray(nibabel.load(path).dataobj) for path in outputs.supplied)
    np.testing.assert_allclose(first, 0.9, rtol=1e-6)
    np.testing.assert_allclose(second, 2 * math.pi * ramp, rtol=1e-6)
    assert outputs.decisions == ["b1.nii.gz, percent (by its median)", "b0.nii, Hz"]
