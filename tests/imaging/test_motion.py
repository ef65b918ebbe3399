"""Known motion between frames of changing contrast is found, and its damage undone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bids_brnn.estimators.dictionary.atoms import log_grid
from bids_brnn.imaging.motion import HEAD_RADIUS, Motion, correct_motion, move
from bids_brnn.imaging.motion_estimation import estimate_motion, signal_subspace, window_starts
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals import build_model

# T1, T2 in s and proton density of white matter, grey matter and fluid.
TISSUES = ((0.85, 0.06, 0.7), (1.33, 0.11, 0.8), (4.1, 1.6, 1.0))
SPACING = np.array([3.0, 3.0, 5.0])
SCALE = 1000.0


def signals_of(theta, n_frames):
    """``(n, N)`` of rows (R1, R2, B1)."""
    return build_model("fisp", jiang_like_train(n_frames))(theta).numpy()


def moving_head(shape, positions, *, snr=np.inf, seed=0):
    """``(X, Y, Z, N)`` complex: frame ``n`` with the head at ``positions[n]`` (mm, rad).

    Drawn at each position by formula, so that nothing here is interpolated.
    """
    n_frames = len(positions)
    rows = [[1 / t1, 1 / t2, 1.0] for t1, t2, _ in TISSUES]
    signals = signals_of(torch.tensor(rows, dtype=torch.float64), n_frames)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) * SPACING
    centre = (np.array(shape) - 1) / 2 * SPACING
    half = np.where(np.array(shape) > 1, centre, centre[0])
    data = np.zeros((*shape, n_frames), complex)
    drawn = None
    for n, position in enumerate(positions):
        if drawn is None or (position != positions[n - 1]).any():
            turn = Rotation.from_rotvec(position[3:]).as_matrix()
            drawn = _tissues(((grid - centre - position[:3]) @ turn) / half)
        data[..., n] = drawn @ signals[:, n]
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(data.shape) + 1j * rng.standard_normal(data.shape)
    return (SCALE * (data + noise / snr)).astype(np.complex64)


def _tissues(points):
    """``(..., 3)``: proton density of each tissue, with the phase of the head."""

    def ellipsoid(x, y, z, a, b, c):
        offset = (points - np.array([x, y, z])) / np.array([a, b, c])
        return 1 / (1 + np.exp((np.linalg.norm(offset, axis=-1) - 1) / 0.04))

    head, inner = ellipsoid(0, 0, 0, 0.8, 0.95, 0.9), ellipsoid(0, 0, 0, 0.74, 0.88, 0.85)
    white = ellipsoid(0.02, 0.05, 0, 0.6, 0.72, 0.7)
    fluid = ellipsoid(-0.12, 0.1, 0, 0.09, 0.3, 0.3) + ellipsoid(0.14, 0.1, 0.1, 0.08, 0.3, 0.3)
    fluid = np.clip(fluid + ellipsoid(0.3, -0.4, 0.1, 0.1, 0.1, 0.2) + head - inner, 0, head)
    white = np.clip(white - fluid, 0, 1)
    densities = np.array([density for _, _, density in TISSUES])
    tissues = np.stack([white, np.clip(head - white - fluid, 0, 1), fluid], -1) * densities
    return tissues * np.exp(1j * (points[..., :1] + 0.5 * points[..., 1:2]))


FLAT = (48, 48, 1)
N = 200


@pytest.fixture(scope="module")
def basis():
    grid = log_grid(400)
    theta = torch.cat([grid, torch.ones_like(grid[:, :1])], 1)
    return signal_subspace(signals_of(theta, N))


def step(n=N, **changes):
    """Positions that change once, after 60 % of the frames."""
    positions = np.zeros((n, 6))
    for column, value in changes.items():
        positions[int(0.6 * n) :, ("x", "y", "z", "rx", "ry", "rz").index(column)] = value
    return positions


def brain(data):
    return np.abs(data).mean(-1) > 0.02 * SCALE


def deviation(motion, positions):
    """Differences to the truth, mm; a position that all frames share cannot be told."""
    scale = np.repeat([1.0, HEAD_RADIUS], 3)
    found, truth = motion.per_frame * scale, positions * scale
    return (found - found.mean(0)) - (truth - truth.mean(0))


IN_PLANE = step(x=2.5, y=-1.5, rz=np.radians(3))


@pytest.mark.parametrize("snr", [np.inf, 50])
def test_a_step_in_the_plane_is_found_and_undone(basis, snr):
    data = moving_head(FLAT, IN_PLANE, snr=snr)
    mask = brain(moving_head(FLAT, 0 * IN_PLANE))
    noise = 0.0 if np.isinf(snr) else SCALE / snr
    motion = estimate_motion(data, SPACING, basis, mask, noise=noise)
    # A tenth of a voxel; without correction the root-mean-square is 1.2, 0.7 and 1.3 mm.
    assert np.sqrt((deviation(motion, IN_PLANE) ** 2).mean(0)).max() < 0.3
    # Frames of one position, with other noise: the position of the reference is that of most.
    still = moving_head(FLAT, 0 * IN_PLANE)
    corrected = correct_motion(moving_head(FLAT, IN_PLANE), SPACING, motion)
    inside = mask & (np.arange(FLAT[0]) > 2)[:, None, None]
    before = np.linalg.norm((moving_head(FLAT, IN_PLANE) - still)[inside])
    after = np.linalg.norm((corrected - still)[inside])
    assert after < 0.35 * before


def test_slices_may_lie_along_any_axis(basis):
    data = moving_head(FLAT, IN_PLANE, snr=50)
    mask = brain(moving_head(FLAT, 0 * IN_PLANE))
    axial = estimate_motion(data, SPACING, basis, mask, noise=SCALE / 50)
    sagittal = estimate_motion(
        np.moveaxis(data, 2, 0), np.roll(SPACING, 1), basis, np.moveaxis(mask, 2, 0),
        noise=SCALE / 50,
    )  # fmt: skip
    order = [1, 2, 0, 4, 5, 3]  # x, y, z of the head are y, z, x of the image
    np.testing.assert_allclose(sagittal.parameters[:, order], axial.parameters, atol=1e-3)


def test_relaxation_times_come_back(basis):
    from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
    from bids_brnn.signals.supplied import SuppliedModel

    model = SuppliedModel(build_model("fisp", jiang_like_train(N)), ("B1",))
    estimator = DictionaryEstimator(model, with_std=False, refine=0)
    still = moving_head(FLAT, 0 * IN_PLANE)
    mask = brain(still)
    data = moving_head(FLAT, IN_PLANE, snr=200)
    motion = estimate_motion(data, SPACING, basis, mask, noise=SCALE / 200)

    def t1(values):
        voxels = torch.from_numpy(np.ascontiguousarray(values[mask]))
        return 1 / estimator.estimate(voxels, {"B1": torch.ones(len(voxels))}).theta[:, 0].numpy()

    truth = t1(still)
    errors = [
        np.sqrt(np.mean((t1(values) / truth - 1) ** 2))
        for values in (data, correct_motion(data, SPACING, motion))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_motion_in_all_directions_of_a_volume():
    shape, n = (24, 24, 14), 200
    positions = step(n, x=2.0, y=-1.5, z=2.0, rx=0.03, ry=-0.02, rz=0.04)
    grid = log_grid(300)
    subspace = signal_subspace(signals_of(torch.cat([grid, torch.ones_like(grid[:, :1])], 1), n))
    data = moving_head(shape, positions, snr=100)
    mask = brain(moving_head(shape, 0 * positions))
    motion = estimate_motion(data, SPACING, subspace, mask, noise=SCALE / 100, window=20)
    assert len(motion.starts) == 10
    # Voxels of 3 x 3 x 5 mm: a tenth of the longest edge.
    assert np.sqrt((deviation(motion, positions) ** 2).mean(0)).max() < 0.5


def test_a_head_that_keeps_still_is_left_in_peace(basis):
    still = np.zeros((N, 6))
    data = moving_head(FLAT, still, snr=50)
    motion = estimate_motion(data, SPACING, basis, brain(data), noise=SCALE / 50)
    assert np.sqrt((deviation(motion, still) ** 2).mean(0)).max() < 0.3
    unmoved = Motion(np.zeros((1, 6)), np.array([0]), N, np.zeros(3))
    assert np.array_equal(correct_motion(data, SPACING, unmoved), data)
    # Through a single slice nothing can be told.
    assert not motion.parameters[:, 2:5].any()


def test_the_contrast_alone_moves_nothing_even_where_it_turns(basis):
    """Signals after the inversion change sign; their images look nothing like the later ones."""
    still = np.zeros((N, 6))
    data = moving_head(FLAT, still)
    motion = estimate_motion(data, SPACING, basis, brain(data))
    assert np.sqrt((deviation(motion, still) ** 2).mean(0)).max() < 0.3


def test_moving_is_undone_by_the_position_it_had():
    rng = np.random.default_rng(0)
    position = np.array([1.5, -2.0, 2.5, 0.05, -0.04, 0.1])
    centre = np.array([30.0, 33.0, 25.0])
    x, y, z = np.meshgrid(*[np.arange(n) for n in (20, 22, 10)], indexing="ij")
    points = np.stack([x, y, z], -1) * SPACING
    direction = rng.standard_normal(3) / 12

    def image(at):
        return np.exp(1j * (at @ direction))[..., None]

    turn = Rotation.from_rotvec(position[3:]).as_matrix()
    # The head point x is seen at R (x - c) + c + t.
    acquired = image((points - centre - position[:3]) @ turn + centre)
    back = move(acquired, position, SPACING, centre, order=3)
    core = (slice(5, 15), slice(5, 17), slice(3, 7))
    # Cubic splines on a wave of 8 voxels per turn and more.
    np.testing.assert_allclose(back[core], image(points)[core], atol=0.01)


def test_windows_and_displacement():
    assert window_starts(1000).tolist() == list(range(0, 1000, 50))
    assert window_starts(7).tolist() == list(range(7))
    assert window_starts(10, 4).tolist() == [0, 5]
    parameters = np.array([[0, 0, 0, 0, 0, 0], [1, -2, 0, 0, 0, 0.01]])
    motion = Motion(parameters, np.array([0, 3]), 5, np.zeros(3))
    assert motion.per_frame[:, 0].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(motion.displacement, [0, 0, 0, 3 + 50 * 0.01, 0])
