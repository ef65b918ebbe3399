"""Rigid positions of the head between the time frames of a fingerprint, and what undoes them.

Positions are those along the axes of the image (mm), rotations are about them. Values are complex
throughout, so that noise does not turn into brightness. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
"""Columns of :attr:`Motion.parameters`: mm along, and rad about, the axes of the image."""
HEAD_RADIUS = 50.0
"""mm; turns rotations into displacements (Power 2012, 10.1016/j.neuroimage.2011.10.018)."""
_STILL = 0.02
"""Displacement, in voxels, below which a frame is left alone instead of interpolated."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the head was in each window of frames, relative to most of them."""

    parameters: NDArray[np.float64]
    """``(W, 6)``, columns :data:`COLUMNS`: from the corrected to the acquired position."""
    starts: NDArray[np.int64]
    """``(W,)``: first frame of each window."""
    n_frames: int
    centre: NDArray[np.float64]
    """``(3,)`` mm from the first voxel: what rotations turn about."""

    @property
    def per_frame(self) -> NDArray[np.float64]:
        """``(N, 6)``: all frames of a window have its position."""
        lengths = np.diff(np.append(self.starts, self.n_frames))
        return np.repeat(self.parameters, lengths, axis=0)

    @property
    def displacement(self) -> NDArray[np.float64]:
        """``(N,)`` mm: framewise displacement, the sum of the steps of all six; first 0."""
        steps = np.abs(np.diff(self.per_frame, axis=0, prepend=self.per_frame[:1]))
        return np.asarray(steps[:, :3].sum(1) + HEAD_RADIUS * steps[:, 3:].sum(1))


def correct_motion(data: Array, spacing: Array, motion: Motion) -> NDArray[np.complex64]:
    """Frames ``(X, Y, Z, N)`` at one position, real and imaginary part by cubic splines.

    Frames that are less than a fiftieth of a voxel off are left as they are.
    """
    result = np.array(data, dtype=np.complex64)
    inside = np.isfinite(result)
    for frame, position in enumerate(motion.per_frame):
        if _largest_shift(position, data.shape[:3], spacing, motion.centre) > _STILL:
            values = np.where(inside[..., frame], result[..., frame], 0)[..., None]
            result[..., frame] = move(values, position, spacing, motion.centre, order=3)[..., 0]
    return result


def move(values: Array, position: Array, spacing: Array, centre: Array, *, order: int) -> Array:
    """Images ``(X, Y, Z, K)`` acquired at ``position``, brought back; 0 where nothing was."""
    if not position.any():
        return values
    from scipy import ndimage

    matrix, offset = _voxel_transform(position, spacing, centre)
    if 1 in values.shape[:3]:
        # Round-off must not move a slice out of an image of one slice: there it would be empty.
        matrix, offset = np.round(matrix, 12), np.round(offset, 12)
    moved = [
        ndimage.affine_transform(values[..., k], matrix, offset, order=order)
        for k in range(values.shape[-1])
    ]
    return np.stack(moved, axis=-1)


def rotation_of(position: Array) -> Array:
    """Matrix ``(3, 3)`` of the last three parameters, a rotation vector."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(position[3:]).as_matrix())


def _voxel_transform(position: Array, spacing: Array, centre: Array) -> tuple[Array, Array]:
    """Matrix and offset from indices of the corrected to those of the acquired image."""
    rotation = rotation_of(position)
    offset = (centre - rotation @ centre + position[:3]) / spacing
    return rotation * spacing / spacing[:, None], offset


def _largest_shift(
    position: Array, shape: tuple[int, ...], spacing: Array, centre: Array
) -> float:
    """Largest displacement of a corner, in voxels."""
    matrix, offset = _voxel_transform(position, spacing, centre)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    return float(np.linalg.norm((matrix - np.eye(3)) @ corners + offset[:, None], axis=0).max())
