"""Measurements of a Z-spectrum, read by one thread or several."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.bids.magnitudes import read_magnitudes
from bids_brnn.errors import DataError

RNG = np.random.default_rng(8)
SHAPE = (3, 4, 2)


@pytest.fixture
def measured(image):
    """Seven measurements with one to three repeats: their files, and what they hold."""
    values = [RNG.random((1 + n % 3, *SHAPE)).astype(np.float32) for n in range(7)]
    values[4][0, 1, 2, 0] = np.nan
    files = [
        [{"mag": image(one, f"m{n}_{k}.nii.gz")} for k, one in enumerate(repeats)]
        for n, repeats in enumerate(values)
    ]
    return files, values


@pytest.mark.parametrize("threads", [1, 2, 20])
def test_measurements_stay_in_order_and_repeats_are_averaged(measured, threads):
    files, values = measured
    found = read_magnitudes(files, threads)
    wanted = np.stack([repeats.mean(0, dtype=np.float64) for repeats in values], -1)
    np.testing.assert_allclose(found.data, wanted, rtol=1e-7)  # single precision
    assert found.n_invalid == 1
    assert found.data.tobytes() == read_magnitudes(files).data.tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_file_that_cannot_serve_is_told_whatever_reads_it(measured, image, threads):
    files, _ = measured
    files[2][0] = {"mag": image(-np.ones(SHAPE), "first.nii.gz")}
    files[3][0] = {"mag": image(-np.ones(SHAPE), "second.nii.gz")}
    with pytest.raises(DataError, match=r"first\.nii\.gz holds 24 negative values, down to -1"):
        read_magnitudes(files, threads)
    files[2][0] = {"mag": image(np.ones((3, 4, 3)), "other.nii.gz")}
    with pytest.raises(DataError, match=r"other\.nii\.gz \(3x4x3\) do not lie on one grid"):
        read_magnitudes(files, threads)
