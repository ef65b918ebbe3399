"""The mask for lack of a better one keeps the object and leaves air out."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.imaging.masks import threshold_mask

SHAPES = [(64, 64, 1), (40, 48, 4), (1, 64, 64)]


def disc(shape, radius=0.8):
    """An object, and coordinates from -1 to 1 across and along it."""
    axes = [np.linspace(-1, 1, n) if n > 8 else np.zeros(n) for n in shape]
    x, *rest = (grid for grid, n in zip(np.meshgrid(*axes, indexing="ij"), shape, strict=True)
                if n > 8)  # fmt: skip
    return x**2 + rest[0] ** 2 < radius**2, x / radius, rest[0] / radius


def acquired(signal, sigma, n=15):
    """Mean magnitude of ``n`` complex coefficients of equal size with noise."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, *signal.shape, n)) * sigma
    return np.abs(signal[..., None] + noise[0] + 1j * noise[1]).mean(-1)


def check(image, inside):
    mask = threshold_mask(image)
    assert mask[inside].mean() >= 0.95
    assert mask[~inside].mean() <= 0.05


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("contrast", [2, 5, 10])
@pytest.mark.parametrize("sigma", [0.005, 0.04])
@pytest.mark.parametrize("border", [-0.3, 0.0, 0.3])
def test_of_two_tissues_neither_is_lost(shape, contrast, sigma, border):
    inside, x, _ = disc(shape)
    check(acquired(np.where(x > border, 1, 1 / contrast) * inside, sigma), inside)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("contrast", [1, 4])
def test_shading_loses_nothing(shape, contrast):
    inside, x, y = disc(shape)
    shading = 6 ** ((y - 1) / 2)  # from 1 to a sixth
    check(acquired(np.where(x > 0, 1, 1 / contrast) * shading * inside, 0.005), inside)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("floor", [0.5, 3])
def test_air_need_not_be_dark(shape, floor):
    inside, x, _ = disc(shape)
    check(acquired(np.where(x > 0, 1, 0.5) * inside, 0.02) + floor, inside)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fat", [3, 8])
@pytest.mark.parametrize("skull", [False, True])
def test_fat_may_be_brighter_than_brain(shape, fat, skull):
    inside, x, y = disc(shape)
    radius = x**2 + y**2
    signal = np.where(radius > 0.85, fat, 1) * inside
    signal[(radius > 0.75) & (radius <= 0.85)] *= not skull
    check(acquired(signal / fat, 0.02 / fat), inside)


@pytest.mark.parametrize("contrast", [1, 10])
def test_tubes_apart_are_all_kept(contrast):
    first, second = (disc((64, 64, 1), 0.3)[0] for _ in range(2))
    signal = np.roll(first, 16, 0) * 1.0 + np.roll(second, -16, 0) / contrast
    check(acquired(signal, 0.01), signal > 0)


def test_air_that_was_set_to_zero():
    inside, x, _ = disc((64, 64, 1))
    check(acquired(np.where(x > 0, 1, 0.3), 0.02) * inside, inside)


def test_a_constant_image_has_no_mask():
    assert not threshold_mask(np.ones((4, 4, 4))).any()
