"""A small complex series on disk."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[2.0, 0, 0, -4], [0, 2.0, 0, -6], [0, 0, 3.0, 1], [0, 0, 0, 1]])


@pytest.fixture
def affine():
    return AFFINE.copy()


@pytest.fixture
def write_nifti(tmp_path):
    def write(name, values, affine=AFFINE):
        path = tmp_path / name
        array = values.astype(np.uint8) if values.dtype == bool else values
        nibabel.Nifti1Image(array, affine, dtype=array.dtype).to_filename(path)
        return path

    return write


@pytest.fixture
def series():
    """``(4, 6, 2, 3)`` complex: bright inside, dark outside."""
    rng = np.random.default_rng(5)
    values = 0.01 * (rng.standard_normal((4, 6, 2, 3)) + 1j * rng.standard_normal((4, 6, 2, 3)))
    values[1:3, 1:5] += 1 + 2j
    return values.astype(np.complex64)
