"""The noise level is found where there is noise alone, and not told where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_brnn import voxels
from bids_brnn.errors import DataError
from bids_brnn.imaging.noise_level import (
    air_level,
    find_noise_level,
    frame_level,
    marchenko_pastur,
)

SIGMA = 3.0
SHAPE = (24, 30, 2)


def series(n, *, seed=0, rank=5, skull=True):
    """Noise, a low-rank brain inside ``mask``, and a bright rim around it."""
    rng = np.random.default_rng(seed)
    data = SIGMA * (rng.standard_normal((*SHAPE, n)) + 1j * rng.standard_normal((*SHAPE, n)))
    mask = np.zeros(SHAPE, bool)
    mask[6:18, 8:22] = True
    parts = rng.standard_normal((int(mask.sum()), rank)) @ rng.standard_normal((rank, n))
    data[mask] += 20 * parts
    if skull:
        rim = np.zeros(SHAPE, bool)
        rim[3:21, 4:26] = True
        data[rim & ~mask] += 15
    return data, mask


@pytest.mark.parametrize("n", [4, 15, 100])
def test_air_tells_the_level_beside_skull(n):
    data, mask = series(n)
    # About 350 air voxels: the standard error of the level is 1 / sqrt(2 * 2 * 350 * n) of it,
    # 1.4 % for n = 4; three of them.
    found = air_level(data, mask)
    assert found == pytest.approx(SIGMA, rel=3 / math.sqrt(4 * 350 * n))
    # Magnitudes of the same noise: their second moment is the same.
    assert air_level(np.abs(data) + 0j, mask) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("values", [1, 24 * 30 * 4, 10**9])
def test_what_is_looked_at_together_changes_no_level(values, monkeypatch):
    data, mask = series(4)
    data[0, 0, 1] = np.nan
    whole = find_noise_level(data, mask, declared=30.0)
    monkeypatch.setattr(voxels, "_VALUES", values)
    parts = find_noise_level(data, mask, declared=30.0)
    assert parts == whole
    assert "times less" in parts.warning
    assert air_level(data, mask) == pytest.approx(SIGMA, rel=0.05)  # 700 voxels of 4 values
    assert air_level(data[:, :, :0], mask[:, :, :0]) is None


def test_any_number_of_threads_finds_the_same_level(monkeypatch):
    monkeypatch.setattr(voxels, "_VALUES", 1)
    data, mask = series(4)
    assert air_level(data, mask, threads=3) == air_level(data, mask)


def test_air_that_a_reconstruction_emptied_tells_nothing():
    data, mask = series(15)
    data[~mask] = 0
    assert air_level(data, mask) is None
    found = find_noise_level(data, mask)
    assert found.std is None
    assert found.source == "the residual of each voxel"


def test_air_full_of_artefacts_tells_nothing():
    data, mask = series(15, skull=False)
    rng = np.random.default_rng(1)
    data[~mask] *= rng.uniform(0.2, 5, (int((~mask).sum()), 1))
    assert air_level(data, mask) is None


def test_tissue_that_fills_the_image_is_no_air():
    """Scalp and muscle outside the brain mask, of even brightness."""
    data, mask = series(15, skull=False)
    rng = np.random.default_rng(2)
    signal = rng.uniform(0.9, 1.1, (int((~mask).sum()), 1)) * 200 * 0.5 ** np.arange(15)
    data[~mask] += signal
    assert air_level(data, mask) is None
    assert air_level(np.abs(data) + 0j, mask) is None


def test_time_frames_tell_the_level_inside_the_mask():
    data, mask = series(100)
    # Outside the mask it is ten times as loud: only what lies inside counts.
    data[~mask] *= 10
    found = find_noise_level(data, mask, frames=True)
    assert found.std == pytest.approx(SIGMA, rel=0.02)
    assert "time frames" in found.source
    # 8 coefficients of which 5 are signal leave nothing to judge by.
    assert frame_level(*series(8)) is None


@pytest.mark.parametrize("steps", [2**11, 2**15])
def test_frames_that_are_made_of_few_coefficients_do_not_tell_the_noise_that_these_have(steps):
    """Files of integers add rounding, which is white as noise is."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((100, 5)))[0]
    shape = (12, 12, 4, 5)
    frames = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) @ basis.T
    step = np.abs(frames).max() / steps
    stored = step * (np.rint(frames.real / step) + 1j * np.rint(frames.imag / step))
    assert frame_level(stored.astype(np.complex64), np.ones(shape[:3], bool)) is None


def test_the_sidecar_wins_and_magnitudes_look_at_air_first():
    data, mask = series(100)
    told = find_noise_level(data, mask, declared=2.5, frames=True)
    assert (told.std, told.source) == (2.5, "NoiseStandardDeviation of the sidecar")
    found = find_noise_level(np.abs(data) + 0j, mask, frames=True, magnitude=True)
    assert "air" in found.source


@settings(max_examples=20)
@given(
    shape=st.sampled_from([(60, 15), (40, 40), (300, 30)]),
    rank=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_rank_and_variance_of_a_low_rank_matrix_in_noise(shape, rank, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    left, right = rng.standard_normal((shape[0], rank)), rng.standard_normal((rank, shape[1]))
    matrix = noise + 10 * left @ right
    eigenvalues = np.linalg.eigvalsh(matrix.conj().T @ matrix)
    found, variance = marchenko_pastur(eigenvalues, shape[0])
    # A component may sink into the noise, or one of the noise stick out; never more than one.
    assert abs(int(found) - rank) <= 1
    # 2 is the variance of both channels; 15 columns of 60 rows know it to 3.5 %, taken thrice.
    assert float(variance) == pytest.approx(2.0, rel=0.12)


@pytest.mark.parametrize("n", [15, 100])
@pytest.mark.parametrize("frames", [False, True])
def test_a_declared_level_is_used_and_compared_with_the_data(n, frames):
    data, mask = series(n)
    for factor in (0.6, 1.0, 1.7):
        found = find_noise_level(data, mask, declared=factor * SIGMA, frames=frames)
        assert (found.std, found.warning) == (factor * SIGMA, "")
    for factor, way in ((0.001, "more"), (0.45, "more"), (2.3, "less")):
        found = find_noise_level(data, mask, declared=factor * SIGMA, frames=frames)
        assert found.std == factor * SIGMA
        assert f"times {way}; standard deviations of the maps follow the sidecar" in found.warning


def test_a_declared_level_of_data_that_do_not_tell_theirs_is_taken():
    data, mask = series(15)
    data[~mask] = 0
    assert find_noise_level(data, mask, declared=0.1).warning == ""


def test_a_declared_level_above_all_values_is_refused():
    data, mask = series(15)
    data[~mask] = 0
    data[0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"is 1e\+09, the largest value of the images is"):
        find_noise_level(data, mask, declared=1e9)
