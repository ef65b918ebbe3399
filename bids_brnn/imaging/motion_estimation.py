"""Estimation of rigid motion between the time frames of a fingerprint.

The contrast of a fingerprint changes from frame to frame, so no frame can be registered to
another. What all frames have in common is the subspace of signals that tissue can have: at the
right positions, every voxel lies in it. Positions and the projection on the subspace are
estimated together, by Gauss-Newton steps from which the projection is eliminated. (Registering
each frame to its projection in turns hardly converges: the projection follows slow motion.)

All that is needed of the data are sums over windows of frames, one per dimension of the
subspace; they are moved and compared, and the frames themselves are interpolated once, at the
end. No torch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bids_brnn.imaging.motion import HEAD_RADIUS, Array, Motion, move, rotation_of

_THICK = 8
"""Voxels along an axis from which on motion along it, and rotation out of it, can be told."""
_BLUR = (2.5, 2.5, 2.5, 1.5, 1.5, 1.5, 1.0, 1.0)
"""Standard deviation, in shortest voxel edges, of the smoothing in each round."""
_MARGIN = 4
"""Voxels around the mask, which hold what moves in."""
_LOST = 1e-3
"""Fraction of the energy of signals that their subspace may miss."""
_RIDGE = 1e-2
_STEP = 0.5
"""mm: standard deviation of the motion from window to window, before data are seen."""


def window_starts(n_frames: int, window: int = 0) -> NDArray[np.int64]:
    """First frames of windows of about ``window`` frames; by default at most 20 windows."""
    window = window or max(1, math.ceil(n_frames / 20))
    n_windows = max(1, round(n_frames / window))
    return np.asarray(np.linspace(0, n_frames, n_windows + 1)[:-1].round(), dtype=np.int64)


def signal_subspace(atoms: Array) -> NDArray[np.complex64]:
    """Orthonormal ``(N, K)`` that keeps all but a thousandth of the energy of ``(A, N)``."""
    unit = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    _, size, right = np.linalg.svd(unit, full_matrices=False)
    lost = 1 - np.cumsum(size**2) / np.sum(size**2)
    return np.asarray(right[: int((lost > _LOST).sum()) + 1].T, dtype=np.complex64)


def estimate_motion(
    data: Array,
    spacing: Array,
    basis: Array,
    mask: NDArray[np.bool_],
    *,
    noise: float = 0.0,
    window: int = 0,
) -> Motion:
    """Position of the head in each window of frames.

    Parameters
    ----------
    data
        ``(X, Y, Z, N)`` complex time frames.
    spacing
        ``(3,)`` voxel size, mm.
    basis
        ``(N, K)`` from :func:`signal_subspace`. It must not be taken from the data, whose own
        components follow the motion.
    mask
        ``(X, Y, Z)``: where there is signal.
    noise
        Standard deviation per channel: what decides whether a small motion is one.
    window
        Frames that share a position; by default so many that there are 20 windows at most.
    """
    starts = window_starts(data.shape[3], window)
    owns = np.split(basis, starts[1:])
    crop = _around(mask)
    chunks = np.split(np.arange(data.shape[3]), starts[1:])
    parts = [
        np.nan_to_num(data[crop][..., rows] @ own.conj())
        for rows, own in zip(chunks, owns, strict=True)
    ]
    blocks = np.stack([own.conj().T @ own for own in owns])
    centre = np.argwhere(mask[crop]).mean(0) * spacing
    free = _free(mask.shape)
    parameters = np.zeros((len(starts), 6))
    blurred, blur_now = parts, 0.0
    for blur in _BLUR:
        if blur != blur_now:
            widths = [blur * spacing.min() / edge for edge in spacing]
            blurred = [_smooth(part, widths) for part in parts]
            blur_now = blur
        moved = [
            move(part, position, spacing, centre, order=1)
            for part, position in zip(blurred, parameters, strict=True)
        ]
        step = _joint_step(moved, blocks, spacing, centre, free, parameters, noise)
        parameters = _from_most(_composed(parameters, step))
    origin = np.array([part.start for part in crop]) * spacing
    return Motion(parameters, starts, data.shape[3], centre + origin)


def _free(shape: tuple[int, ...]) -> list[int]:
    """Columns that the data can tell: in the plane only where there are few slices."""
    thin = {axis for axis in range(3) if shape[axis] < _THICK}
    turns = [axis for axis in range(3) if thin <= {axis}]
    return [axis for axis in range(3) if axis not in thin] + [3 + axis for axis in turns]


def _around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box of the mask and a margin, which holds what moves in."""
    found = np.argwhere(mask)
    low = np.maximum(found.min(0) - _MARGIN, 0)
    high = np.minimum(found.max(0) + _MARGIN + 1, mask.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _smooth(values: Array, widths: list[float]) -> Array:
    from scipy import ndimage

    widths = [w if n > 1 else 0.0 for w, n in zip(widths, values.shape, strict=False)]
    return np.stack(
        [ndimage.gaussian_filter(values[..., k], widths) for k in range(values.shape[-1])], -1
    )


def _joint_step(
    moved: list[Array],
    blocks: Array,
    spacing: Array,
    centre: Array,
    free: list[int],
    parameters: Array,
    noise: float,
) -> NDArray[np.float64]:
    """``(W, 6)``: what is left of the motion, to first order.

    With coefficients ``c`` of the subspace, frame ``n`` of window ``w`` is ``V_n (c + sum_j p_wj
    d_j c)``, where ``d_j`` moves the image along parameter ``j``; ``c`` is unknown everywhere and
    is projected out. A phase per window (drift of the field) is estimated too and dropped. Where
    noise hides the motion, a random walk of the ``parameters`` so far keeps it small.
    """
    total = np.sum(moved, axis=0)
    slopes = _slopes(total, spacing, centre, free)
    n_windows, n_columns = len(moved), len(slopes)
    flat = slopes.reshape(n_columns, -1, total.shape[-1])
    products = np.einsum("ivk,jvl->ijkl", flat.conj(), flat, optimize=True)
    normal = np.zeros((n_windows, n_columns, n_windows, n_columns))
    right = np.zeros((n_windows, n_columns))
    for w, part in enumerate(moved):
        left = (part - total @ blocks[w].T).reshape(-1, total.shape[-1])
        right[w] = np.einsum("ivk,vk->i", flat.conj(), left, optimize=True).real
        coupling = -np.einsum("kl,wlm->wkm", blocks[w], blocks)
        coupling[w] += blocks[w]
        normal[w] = np.einsum("ijkm,wkm->iwj", products, coupling, optimize=True).real
    size = n_windows * n_columns
    matrix = normal.reshape(size, size)
    prior = _walk(n_windows, n_columns, free) * noise**2
    so_far = np.zeros_like(right)
    so_far[:, : len(free)] = parameters[:, free]
    matrix = matrix + prior
    target = right.ravel() - prior @ so_far.ravel()
    # A motion that all windows share cannot be told; the ridge leaves it out.
    scale = 1 / np.sqrt(np.maximum(matrix.diagonal(), 1e-12 * matrix.diagonal().max()))
    scaled = matrix * scale * scale[:, None] + _RIDGE * np.eye(size)
    found = (scale * np.linalg.solve(scaled, scale * target)).reshape(right.shape)
    step = np.zeros((n_windows, 6))
    step[:, free] = found[:, : len(free)]
    return step


def _walk(n_windows: int, n_columns: int, free: list[int]) -> Array:
    """Precision of a random walk of each free parameter from window to window."""
    steps = np.diff(np.eye(n_windows), axis=0)
    inverse = np.array([(1.0 if column < 3 else HEAD_RADIUS) / _STEP for column in free])
    per_column = np.zeros(n_columns)
    per_column[: len(free)] = inverse**2
    return np.kron(steps.T @ steps, np.diag(per_column))


def _slopes(values: Array, spacing: Array, centre: Array, free: list[int]) -> Array:
    """``(J + 1, X, Y, Z, K)``: change of an image with each free parameter, and with its phase."""
    gradient = [
        np.gradient(values, spacing[axis], axis=axis)
        if values.shape[axis] > 1
        else np.zeros_like(values)
        for axis in range(3)
    ]
    axes = [np.arange(n) * edge for n, edge in zip(values.shape, spacing, strict=False)]
    points = np.meshgrid(*axes, indexing="ij")
    x, y, z = ((point - middle)[..., None] for point, middle in zip(points, centre, strict=True))
    turned = (
        y * gradient[2] - z * gradient[1],
        z * gradient[0] - x * gradient[2],
        x * gradient[1] - y * gradient[0],
    )
    columns = (*gradient, *turned)
    return np.stack([*(-columns[column] for column in free), 1j * values])


def _composed(parameters: Array, step: Array) -> NDArray[np.float64]:
    """First the step, then the position so far."""
    from scipy.spatial.transform import Rotation

    result = np.empty_like(parameters)
    for index, (position, further) in enumerate(zip(parameters, step, strict=True)):
        rotation = rotation_of(position)
        result[index, :3] = position[:3] + rotation @ further[:3]
        turned = rotation @ rotation_of(further)
        result[index, 3:] = Rotation.from_matrix(turned).as_rotvec()
    return result


def _from_most(parameters: Array) -> NDArray[np.float64]:
    """Positions relative to the window that is nearest to all others.

    Most frames are then moved little, and nothing is moved where nothing moved.
    """
    from scipy.spatial.transform import Rotation

    scaled = parameters * np.repeat([1.0, HEAD_RADIUS], 3)
    distance = np.abs(scaled[:, None] - scaled[None]).sum((1, 2))
    reference = parameters[int(distance.argmin())]
    turn = rotation_of(reference)
    relative = np.empty_like(parameters)
    for index, position in enumerate(parameters):
        # x -> R (x - c) + c + t after the inverse of the same of the reference.
        rotation = rotation_of(position) @ turn.T
        relative[index, :3] = position[:3] - rotation @ reference[:3]
        relative[index, 3:] = Rotation.from_matrix(rotation).as_rotvec()
    return relative
