"""What MT pulses leave of the free pool, tabulated for a protocol.

For each measurement a Chebyshev series in the flip angle scale, the shift of the offset and R2f,
of as many terms as its own smoothness needs: few far from resonance, some ten thousand near it.
Bloch's equations are then solved once for a protocol instead of at each step in each voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.signals.two_pools.z_spectrum.free_pool import Saturation, pulse_saturation

_TAIL = 1e-9
"""Of the largest coefficient of the last terms: values are then exact to 1e-8, slopes to 1e-6."""
_SMALL = 1e-11
_FIRST = (9, 9, 7)
_MOST_NODES = 300_000
"""Of one measurement; a longer or harder pulse is solved in each voxel instead."""
_BLOCK = 2**22
"""Numbers of a block of voxels."""

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Bounds of the flip angle scale, of the shift of the offset (Hz) and of R2f (1/s)."""


@dataclass(frozen=True, eq=False)
class SaturationTable:
    """``Mz`` after over before the MT pulse of each measurement."""

    box: Box
    coefficients: tuple[Tensor | None, ...]
    """Of each measurement ``(K, L, M)`` float64; None where the pulse is off."""
    angle: tuple[float, ...]
    """Nominal flip angles, rad."""

    def at(self, scale: Tensor, shift: Tensor, R2f: Tensor) -> Saturation:
        """Values ``(..., N)``, and slopes by the three arguments.

        Parameters
        ----------
        scale, shift, R2f
            ``(..., N)`` or ``(..., 1)``, inside the box: B1, offset less its nominal value (Hz),
            1/s; the same for all measurements.
        """
        points = [values.detach()[..., 0].to(torch.float64) for values in (scale, shift, R2f)]
        flat = torch.stack(torch.broadcast_tensors(*points), -1).reshape(-1, 3)
        found = flat.new_empty((len(flat), len(self.angle), 4))
        widest = max([part.numel() // len(part) for part in self.coefficients if part is not None])
        for rows in torch.arange(len(flat), device=flat.device).split(max(1, _BLOCK // widest)):
            self._fill(flat[rows], found, rows)
        shape = (*torch.broadcast_shapes(*(part.shape for part in points)), len(self.angle))
        value, *slopes = (part.reshape(shape) for part in found.unbind(-1))
        return Saturation(value, (slopes[0], slopes[1], slopes[2]), (scale, shift, R2f))

    def _fill(self, points: Tensor, found: Tensor, rows: Tensor) -> None:
        terms = [max(p.shape[d] for p in self.coefficients if p is not None) for d in range(3)]
        bases = [
            _chebyshev(points[:, axis], *self.box[axis], terms[axis])  # values and slopes
            for axis in range(3)
        ]
        for column, part in enumerate(self.coefficients):
            if part is None:
                found[rows, column] = points.new_tensor([1.0, 0.0, 0.0, 0.0])
                continue
            own = part.to(points.device)
            (b, db), (w, dw), (r, dr) = (
                (value[:, :n], slope[:, :n])
                for (value, slope), n in zip(bases, own.shape, strict=True)
            )
            flat = own.permute(1, 0, 2).reshape(own.shape[1], -1)
            inner, moved = (
                (basis @ flat).reshape(len(points), own.shape[0], own.shape[2])
                for basis in (w, dw)
            )
            line = (b[:, None] @ inner)[:, 0]
            found[rows, column, 0] = (line * r).sum(-1)
            found[rows, column, 1] = ((db[:, None] @ inner)[:, 0] * r).sum(-1)
            found[rows, column, 2] = ((b[:, None] @ moved)[:, 0] * r).sum(-1)
            found[rows, column, 3] = (line * dr).sum(-1)


@lru_cache(maxsize=16)
def saturation_table(
    pulse: MTPulse, angle: tuple[float, ...], offset: tuple[float, ...], box: Box
) -> SaturationTable | None:
    """The table of a protocol, or None if a measurement needs too many terms.

    Parameters
    ----------
    pulse
        The envelope.
    angle, offset
        Nominal flip angles (rad; 0: no pulse) and offsets (Hz) of the measurements.
    box
        Where it is to hold.
    """
    coefficients = []
    for one, where in zip(angle, offset, strict=True):
        found = None if one == 0 else _series(pulse, one, where, box)
        if one != 0 and found is None:
            return None
        coefficients.append(found)
    return SaturationTable(box, tuple(coefficients), angle)


def _series(pulse: MTPulse, angle: float, offset: float, box: Box) -> Tensor | None:
    """Coefficients of one measurement, with more nodes along an axis until its tail is small."""
    counts = list(_FIRST)
    while math.prod(counts) <= _MOST_NODES:
        axes = [_nodes(*bounds, n) for bounds, n in zip(box, counts, strict=True)]
        mesh = np.meshgrid(*axes, indexing="ij")
        scale, shift, R2f = (torch.from_numpy(part.reshape(-1, 1)) for part in mesh)
        values = pulse_saturation(
            angle * scale, offset + shift, R2f, pulse, torch.tensor([abs(offset)])
        ).value.numpy()
        series = values.reshape(counts)
        for axis, n in enumerate(counts):
            series = np.moveaxis(np.tensordot(_transform(n), series, (1, axis)), 0, axis)
        size = np.abs(series)
        short = [axis for axis in range(3) if np.take(size, [-1, -2], axis).max() > _TAIL]
        if not short:
            keep = [
                int(np.nonzero(size.max(tuple({0, 1, 2} - {axis})) > _SMALL)[0].max(initial=0)) + 1
                for axis in range(3)
            ]
            return torch.from_numpy(series[: keep[0], : keep[1], : keep[2]].copy())
        for axis in short:
            counts[axis] = 3 * counts[axis] // 2
    return None


def _nodes(low: float, high: float, n: int) -> NDArray[np.float64]:
    x = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    return np.asarray((low + high) / 2 + (high - low) / 2 * x)


def _transform(n: int) -> NDArray[np.float64]:
    """Values at the nodes to Chebyshev coefficients, ``(n, n)``."""
    k = np.arange(n)
    matrix = 2 / n * np.cos(np.pi * k[:, None] * (k + 0.5) / n)
    matrix[0] /= 2
    return np.asarray(matrix)


def _chebyshev(values: Tensor, low: float, high: float, n: int) -> tuple[Tensor, Tensor]:
    """Chebyshev polynomials ``(V, n)`` over an interval, and their derivatives."""
    x = ((2 * values - low - high) / (high - low)).clamp(-1, 1)
    first, second = [torch.ones_like(x), x], [torch.ones_like(x), 2 * x]
    while len(first) < n:
        first.append(2 * x * first[-1] - first[-2])
        second.append(2 * x * second[-1] - second[-2])
    # T_k' = k U_(k-1)
    slopes = [torch.zeros_like(x), *(k * second[k - 1] for k in range(1, n))]
    return torch.stack(first[:n], -1), torch.stack(slopes[:n], -1) * (2 / (high - low))
