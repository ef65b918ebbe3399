"""The noise of magnitudes of a Z-spectrum, some of them averages."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.imaging.spectrum_noise import check_divided, spectrum_noise, spectrum_snr
from bids_brnn.interfaces.preparation.noise import spectrum_words

SHAPE = (24, 24, 8)


def magnitudes(sigma, signals, repeats, seed=1):
    """Means of magnitudes with noise; a cube in the middle has signal."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    mask[8:16, 8:16, 2:6] = True
    volumes = []
    for signal, n in zip(signals, repeats, strict=True):
        noise = sigma * (rng.standard_normal((n, *SHAPE)) + 1j * rng.standard_normal((n, *SHAPE)))
        volumes.append(np.abs(signal * mask + noise).mean(0))
    return np.stack(volumes, -1).astype(np.complex64), mask


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (4, 4, 4)])
def test_air_tells_the_noise_of_one_repeat(repeats):
    data, mask = magnitudes(3.0, (100, 60, 40), repeats)
    found = spectrum_noise(data, mask, np.array(repeats))
    # Some 3500 voxels of one value tell a standard deviation to 1 % of each; three sigma.
    assert found.std == pytest.approx(3.0, rel=0.03)


def test_what_is_declared_is_kept_and_compared():
    data, mask = magnitudes(3.0, (100, 60), (2, 2))
    assert spectrum_noise(data, mask, np.array([2, 2]), declared=3.0).warning == ""
    found = spectrum_noise(data, mask, np.array([2, 2]), declared=9.0)
    assert found.std == 9.0
    assert "times less" in found.warning


def test_words_tell_levels_of_one_repeat_as_the_sidecar_does():
    data, mask = magnitudes(3.0, (100, 60), (2, 2))
    found = spectrum_noise(data, mask, np.array([2, 2]), declared=9.0)
    declared, told = re.findall(r"(?:is|mask:) (\d+(?:\.\d+)?)", found.warning)
    assert declared == "9"
    assert float(told) == pytest.approx(3.0, rel=0.03)  # as above
    with pytest.raises(DataError, match="is 1000, the largest"):
        spectrum_noise(data, mask, np.array([2, 2]), declared=1000.0)


@pytest.mark.parametrize("repeats", [(1, 1, 1), (4, 4, 4)])
def test_tissue_around_a_mask_of_a_region_is_no_air(repeats):
    shape = (24, 24, 8)
    tissue = 1 + 0.2 * np.sin(np.arange(24) / 3)[:, None, None] * np.ones(shape)
    data = (tissue[..., None] * np.array([1000.0, 900.0, 800.0])).astype(np.complex64)
    mask = np.zeros(shape, bool)
    mask[10:12, 10:12, 4] = True
    assert spectrum_noise(data, mask, np.array(repeats)).std is None
    assert spectrum_noise(data, mask, np.array(repeats), declared=2.0).warning == ""


def test_air_of_divided_images_tells_nothing():
    data, mask = magnitudes(3.0, (100, 60), (1, 1))
    assert spectrum_noise(data, mask, np.array([1, 1]), normalised=True).std is None
    found = spectrum_noise(data, mask, np.array([1, 1]), declared=9.0, normalised=True)
    assert (found.std, found.warning) == (9.0, "")


def test_dark_measurements_are_told_and_dark_series_refused():
    data, mask = magnitudes(3.0, (100, 6), (1, 1))
    dark, bright = spectrum_snr(data, mask, 3.0)
    assert dark < 5 < bright
    assert "biases the maps" in spectrum_words(data, mask, 3.0, "x")
    assert "not known" in spectrum_words(data, mask, None, "x")
    bright, _ = magnitudes(3.0, (100, 60), (1, 1))
    assert "biases" not in spectrum_words(bright, mask, 3.0, "x")
    dark, _ = magnitudes(3.0, (8, 6), (1, 1))
    with pytest.raises(DataError, match="even the brightest images have a signal of"):
        spectrum_words(dark, mask, 3.0, "x")


def test_images_are_divided_or_not_as_they_are_said_to_be():
    data, mask = magnitudes(1.0, (100, 60, 40), (1, 1, 1))
    with np.errstate(all="ignore"):
        quotient = np.where(mask[..., None], data / data[..., :1], 0)
    check_divided(data, mask, "s", normalised=False)
    check_divided(quotient, mask, "s", normalised=True)
    check_divided(quotient[..., 1:], mask, "s", normalised=True)
    for wrong, median in ((data, 100), (100 * quotient, 100)):
        with pytest.raises(
            DataError, match=rf"s: Normalised is true, but the median.* is {median}"
        ):
            check_divided(wrong, mask, "s", normalised=True)
    quotient[8, 8, 2] = 0  # where the image was dark
    with pytest.raises(DataError, match="image 1 is the same in the whole mask"):
        check_divided(1000 * quotient, mask, "s", normalised=False)
