"""Signal-to-noise ratio, noise and normalisation."""

from __future__ import annotations

import math

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information.noise import add_noise
from bids_brnn.learning.normalisation import normalise


def _rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("snr", [5.0, 40.0])
def test_noise_has_standard_deviation_one_over_snr_in_each_channel(snr):
    clean = torch.zeros(2000, 10, dtype=torch.complex128)
    noise = add_noise(clean, snr, rng=_rng())
    n = noise.numel()
    bound = 5 / math.sqrt(2 * n)  # five standard errors of a standard deviation
    assert float(noise.real.std()) * snr == pytest.approx(1, abs=bound)
    assert float(noise.imag.std()) * snr == pytest.approx(1, abs=bound)
    correlation = float((noise.real * noise.imag).mean()) * snr**2
    assert abs(correlation) < 5 / math.sqrt(n)
    assert abs(complex(noise.mean())) * snr < 5 * math.sqrt(2 / n)


def test_each_voxel_may_have_its_own_snr():
    clean = torch.ones(2, 50_000, dtype=torch.complex64)
    noisy = add_noise(clean, torch.tensor([10.0, 50.0]), rng=_rng())
    spread = (noisy - clean).real.std(-1)
    assert spread.tolist() == pytest.approx([0.1, 0.02], rel=0.02)
    assert noisy.dtype == torch.complex64


def test_noise_is_reproducible_from_the_generator_alone():
    clean = torch.ones(3, 4, dtype=torch.complex128)
    assert torch.equal(add_noise(clean, 20, rng=_rng(7)), add_noise(clean, 20, rng=_rng(7)))
    assert not torch.equal(add_noise(clean, 20, rng=_rng(7)), add_noise(clean, 20, rng=_rng(8)))


def test_impossible_noise_is_refused():
    with pytest.raises(DataError, match="must be positive, got -1"):
        add_noise(torch.ones(2, 3, dtype=torch.complex64), torch.tensor([10.0, -1]), rng=_rng())
    with pytest.raises(DataError, match="complex"):
        add_noise(torch.ones(2, 3), 10, rng=_rng())


@pytest.mark.parametrize("how", ["first", "norm"])
def test_normalisation_removes_any_complex_scale_and_gives_it_back(how):
    rng = _rng()
    clean = torch.randn(5, 6, dtype=torch.complex128, generator=rng)
    factor = torch.polar(torch.tensor(37.0).double(), torch.tensor(2.1).double())
    scaled, scale = normalise(clean, how)
    again, scale_again = normalise(clean * factor, how)
    torch.testing.assert_close(again, scaled)
    torch.testing.assert_close(scale_again, scale * factor)
    torch.testing.assert_close(scaled * scale[:, None], clean)


def test_first_and_norm_fix_what_they_promise():
    clean = torch.randn(5, 6, dtype=torch.complex128, generator=_rng())
    first, _ = normalise(clean, "first")
    norm, _ = normalise(clean, "norm")
    torch.testing.assert_close(first[:, 0], torch.ones(5, dtype=torch.complex128))
    torch.testing.assert_close((norm.abs() ** 2).sum(-1), torch.ones(5).double())
    torch.testing.assert_close(norm[:, 0].imag, torch.zeros(5).double())
    assert bool((norm[:, 0].real > 0).all())


@pytest.mark.parametrize("how", ["first", "norm"])
def test_zero_and_broken_voxels_become_nan_and_only_they(how):
    data = torch.ones(3, 4, dtype=torch.complex64)
    data[1] = 0
    data[2, 0] = complex(math.nan, 0)
    scaled, _ = normalise(data, how)
    assert torch.isfinite(scaled[0].abs()).all()
    assert torch.isnan(scaled[1:].abs()).all()


def test_unknown_normalisation_is_refused():
    with pytest.raises(DataError, match="first"):
        normalise(torch.ones(1, 2, dtype=torch.complex64), "max")
