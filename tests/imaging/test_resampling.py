import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from bids_brnn.errors import DataError
from bids_brnn.imaging import resampling as spatial

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.0, 0, -28], [0, 0, 2.5, -25], [0, 0, 0, 1]])


def rotation(degrees):
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def head(shape=(30, 32, 22)):
    """An asymmetric head: skull, brain and one lesion, so that no rotation fits by chance."""
    x, y, z = np.indices(shape)
    centre = np.array(shape) / 2
    radius = ((x - centre[0]) / 12) ** 2 + ((y - centre[1]) / 14) ** 2 + ((z - centre[2]) / 9) ** 2
    image = np.where(radius < 1, 60.0, 0) + np.where(radius < 0.7, 40.0, 0)
    lesion = (x - 10) ** 2 + (y - 20) ** 2 + (z - 12) ** 2 < 16
    return gaussian_filter(image + 50.0 * lesion, 0.7)


def test_identity_resampling_returns_the_image_on_flipped_axes():
    image = head()
    moved = spatial.resample(image, AFFINE, image.shape, AFFINE)
    # Linear interpolation on the grid itself; float64 all the way.
    assert np.allclose(moved, image, atol=1e-6)


def test_known_shift_moves_by_whole_voxels():
    image = head()
    target = AFFINE.copy()
    target[:3, 3] += AFFINE[:3, 1] * 3  # the grid starts three voxels further along y
    moved = spatial.resample(image, AFFINE, image.shape, target)
    assert np.allclose(moved[:, :-3], image[:, 3:], atol=1e-6)
    assert (moved[:, -3:] == 0).all()


def test_labels_keep_their_values():
    labels = (head() > 50).astype(np.uint8) * 7
    target = rotation(10) @ AFFINE
    for interpolation in ("nearest", "label"):
        moved = spatial.resample(labels, AFFINE, labels.shape, target, interpolation=interpolation)
        assert set(np.unique(moved)) == {0, 7}
        assert moved.dtype == labels.dtype


@pytest.mark.parametrize("inverted", [False, True])
def test_registration_recovers_a_known_motion(inverted):
    fixed = head()
    moving = 130.0 - fixed if inverted else fixed
    motion = rotation(6.0)
    motion[:3, 3] = [3.0, -2.0, 1.5]
    moving_affine = motion @ AFFINE  # same voxels, other place in the world
    transform = spatial.register_rigid(moving, moving_affine, fixed, AFFINE)
    brain = np.argwhere(fixed > 80)[::50]
    points = np.c_[brain, np.ones(len(brain))] @ AFFINE.T
    expected = points @ motion.T
    flip = np.array([-1, -1, 1])
    found = np.array([transform.TransformPoint(p) for p in (points[:, :3] * flip).tolist()]) * flip
    error = np.linalg.norm(found - expected[:, :3], axis=1)
    # A fifth of a voxel; the images are noise-free and the contrast is one to one.
    assert error.mean() < 0.4


def test_registration_is_reproducible():
    fixed = head()
    results = [
        spatial.register_rigid(fixed, rotation(4) @ AFFINE, fixed, AFFINE).GetParameters()
        for _ in range(2)
    ]
    # Threads may add in another order; 1e-6 rad or mm is far below any voxel.
    assert np.allclose(*results, atol=1e-6)


def test_transform_file_round_trip(tmp_path):
    transform = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, 0.3, (1, 2, 3))
    path = tmp_path / "a_xfm.txt"
    spatial.write_transform(transform, path)
    assert np.allclose(spatial.read_transform(path).GetParameters(), transform.GetParameters())
    path.write_text("no transform")
    with pytest.raises(DataError, match="is not a transform that ITK can read"):
        spatial.read_transform(path)


def test_impossible_affines_are_refused():
    with pytest.raises(DataError, match="singular"):
        spatial.to_itk(np.zeros((2, 2, 2)), np.zeros((4, 4)))
    sheared = AFFINE.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(DataError, match="shear"):
        spatial.to_itk(np.zeros((2, 2, 2)), sheared)
