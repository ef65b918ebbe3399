"""Patches of low rank lose their noise; noise alone is lost altogether."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.imaging.denoising import denoise, patch_extent

SIGMA = 5.0


def series(shape, n, rank=3, seed=0):
    """A smooth low-rank series and complex noise of ``SIGMA`` per channel."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, size) for size in shape]
    x, y, _ = np.meshgrid(*axes, indexing="ij")
    maps = np.stack([np.sin(2 * x * (k + 1) + k) * np.cos(y * (k + 1)) for k in range(rank)], -1)
    basis = np.linalg.qr(rng.standard_normal((n, rank)))[0]
    clean = 100 * np.exp(1j * x)[..., None] * (maps @ basis.T)
    noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    return clean, SIGMA * noise


def rms(values):
    """Root-mean-square per channel."""
    return np.sqrt(np.mean(np.abs(values) ** 2) / 2)


@pytest.mark.parametrize(("shape", "n"), [((24, 24, 1), 15), ((12, 12, 8), 15), ((20, 20, 1), 60)])
def test_error_falls_to_what_the_kept_components_carry(shape, n):
    clean, noise = series(shape, n)
    found = denoise(clean + noise)
    # The phase ramp and the curvature within a patch need at most as many components as there are
    # maps and gradients; each patch of m values keeps about sqrt(rank / m + rank / voxels) of the
    # noise, and overlapping patches average it further.
    voxels = np.prod(patch_extent(shape, n))
    limit = np.sqrt(found.n_kept * (1 / n + 1 / voxels)) * SIGMA
    assert rms(found.values - clean) < limit < SIGMA
    assert found.n_kept < n / 3


def test_noise_alone_is_recognised_at_its_level():
    _, noise = series((24, 24, 1), 15)
    found = denoise(noise)
    # One patch in fifty keeps a component by chance.
    assert found.n_kept < 0.1
    assert rms(found.values) < 0.1 * SIGMA


def test_signed_and_real_data_keep_their_sign():
    """What rules out programs that clip negative values."""
    clean, noise = series((20, 20, 1), 15)
    real = clean.real + noise.real
    found = denoise(real + 0j).values
    assert not found.imag.any()
    assert np.corrcoef(found.real.ravel(), clean.real.ravel())[0, 1] > 0.99
    assert found.real.min() < 0.5 * clean.real.min()


def test_empty_and_broken_voxels_stay_as_they_are():
    clean, noise = series((12, 12, 2), 10)
    data = clean + noise
    data[:4] = 0
    data[5, 5, 0, 3] = np.nan
    found = denoise(data).values
    assert not found[:4].any()
    assert np.isnan(found[5, 5, 0, 3])
    assert np.isfinite(found[6:]).all()
    assert rms((found - clean)[6:]) < SIGMA


@pytest.mark.parametrize(
    ("shape", "n", "extent"),
    [
        ((160, 160, 120), 27, (3, 3, 3)),
        ((160, 160, 120), 28, (5, 5, 5)),
        ((160, 160, 2), 1000, (33, 33, 1)),
        ((4, 6, 2), 100, (3, 5, 1)),
    ],
)
def test_patches_have_more_voxels_than_values_where_the_image_allows(shape, n, extent):
    assert patch_extent(shape, n) == extent
