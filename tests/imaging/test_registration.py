"""A known motion is found; where nothing can be found the headers are believed, and it is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from bids_brnn.imaging import registration as alignment
from bids_brnn.imaging.resampling import affine_of

T1W_AFFINE = np.array([[-3.5, 0, 0, 84], [0, 3.5, 0, -96], [0, 0, 3.5, -70], [0, 0, 0, 1.0]])
T1W_SHAPE = (48, 56, 42)


def rigid(degrees, shift, axis=(1, 2, 3)):
    motion = np.eye(4)
    turn = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    motion[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    motion[:3, 3] = shift
    return motion


def head(points):
    """T1-weighted brightness of a head at points ``(..., 3)``, mm: scalp, brain, fluid inside."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.sqrt((x / 68) ** 2 + (y / 84) ** 2 + ((z - 5) / 62) ** 2)
    image = np.where(radius < 1, 90.0, 0) * (1 + 0.2 * np.tanh(y / 20))
    image[(radius < 0.92) & (radius > 0.86)] = 15
    brain = (radius <= 0.86) & (z > -45)
    image[brain] = 60 + 25 * (np.sin(x[brain] / 9) * np.cos(y[brain] / 11 + z[brain] / 13) > 0)
    inside = ((np.abs(x) - 12) / 9) ** 2 + ((y - 10) / 28) ** 2 + ((z - 12) / 14) ** 2 < 1
    image[inside] = 12
    return image


def sampled(shape, affine, motion=None):
    """The head on a grid; with ``motion`` the head moved by it."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    back = affine if motion is None else np.linalg.inv(motion) @ affine
    return gaussian_filter(head(voxels @ back[:3, :3].T + back[:3, 3]), 0.6)


@pytest.fixture(scope="module")
def t1w():
    return sampled(T1W_SHAPE, T1W_AFFINE)


MOTION = rigid(8, (5.0, -6.0, 4.5))  # 9 mm


def series(shape, size, motion=MOTION, start=-66.0):
    """Inverted contrast (dark scalp, bright fluid) with noise, on its own grid."""
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = [-84, -96, start]
    image = sampled(shape, affine, motion)
    rng = np.random.default_rng(4)
    inverted = np.where(image > 8, 130 - image, 0)
    return np.abs(inverted + 4 * rng.standard_normal(shape)), affine


def error_of(found, motion, affine, shape):
    """Distances (mm) of points of the head from where they belong."""
    voxels = np.stack(np.meshgrid(*(np.linspace(0.2, 0.8, 4) * n for n in shape)), -1)
    points = np.c_[voxels.reshape(-1, 3), np.ones(64)] @ affine.T
    wanted = points @ np.linalg.inv(motion).T
    return np.linalg.norm((points @ affine_of(found.transform).T - wanted)[:, :3], axis=1)


@pytest.mark.parametrize(
    ("shape", "size", "start"),
    [((42, 48, 34), (4.0, 4.0, 4.0), -66.0), ((42, 48, 11), (4.0, 4.0, 5.0), -15.0)],
    ids=["whole head", "slab of 55 mm"],
)
def test_a_motion_of_8_degrees_and_9_mm_is_found(t1w, shape, size, start):
    image, affine = series(shape, size, start=start)
    found = alignment.align(image, affine, t1w, T1W_AFFINE)
    assert found.method == "rigid"
    assert found.rotation == pytest.approx(8, abs=0.5)
    # A quarter of a voxel of 4 mm: noise of 4 % and another contrast; without it 2 mm by header.
    assert error_of(found, MOTION, affine, shape).max() < 1.0
    assert found.after > found.before
    assert "8." in found.reason or "7." in found.reason


def test_images_that_fit_already_stay_where_they_are(t1w):
    image, affine = series((42, 48, 34), (4.0, 4.0, 4.0), np.eye(4))
    found = alignment.align(image, affine, t1w, T1W_AFFINE)
    assert not found.failed
    assert error_of(found, np.eye(4), affine, image.shape).max() < 0.5


def test_a_second_run_gives_the_same_transform(t1w):
    image, affine = series((42, 48, 11), (4.0, 4.0, 5.0), start=-15.0)
    first, second = (
        affine_of(alignment.align(image, affine, t1w, T1W_AFFINE).transform) for _ in range(2)
    )
    # Equal but for the last of the digits that are kept (1e-5 rad, 1e-3 mm).
    np.testing.assert_allclose(first[:3, :3], second[:3, :3], atol=2e-5)
    np.testing.assert_allclose(first[:3, 3], second[:3, 3], atol=2e-3)


@pytest.mark.parametrize("kind", ["noise", "ramp", "empty"])
def test_an_image_of_something_else_is_dropped(kind):
    image, affine = series((42, 48, 34), (4.0, 4.0, 4.0))
    rng = np.random.default_rng(1)
    other = {
        "noise": rng.random(T1W_SHAPE),
        "ramp": np.indices(T1W_SHAPE).sum(0).astype(float),
        "empty": np.zeros(T1W_SHAPE),
    }[kind]
    found = alignment.align(image, affine, other, T1W_AFFINE)
    assert found.method == "header"
    assert found.failed
    assert "registration failed" in found.reason
    np.testing.assert_array_equal(affine_of(found.transform), np.eye(4))


def test_a_motion_beyond_the_limits_is_dropped(t1w, monkeypatch):
    image, affine = series((42, 48, 11), (4.0, 4.0, 5.0), start=-15.0)
    monkeypatch.setattr(alignment, "MAX_ROTATION", 5.0)
    found = alignment.align(image, affine, t1w, T1W_AFFINE)
    assert (found.method, found.failed) == ("header", True)
    assert "it moved by" in found.reason
    assert found.record()["MutualInformation"]["Rigid"] > 0


@pytest.mark.parametrize("shape", [(42, 48, 1), (42, 48, 7), (42, 48, 9)])
def test_slices_and_thin_slabs_are_left_to_the_headers(t1w, shape):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    found = alignment.align(np.ones(shape), affine, t1w, T1W_AFFINE)
    assert (found.method, found.failed) == ("header", False)
    assert "the series is too thin to be registered" in found.reason
    assert "MutualInformation" not in found.record()
