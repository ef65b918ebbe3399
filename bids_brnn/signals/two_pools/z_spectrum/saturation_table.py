"""What MT pulses leave of the free pool, tabulated for a protocol.

For each measurement a Chebyshev series in the flip angle scale, the shift of the offset and R2f,
of as many terms as its own smoothness needs: few far from resonance, some ten thousand near it.
Bloch's equations are then solved once for a protocol instead of at each step in each voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
        """Values ``(V, N)``, and slopes by the three arguments.

        Parameters
        ----------
        scale, shift, R2f
            ``(V, 1)``, inside the box: B1, offset less its nominal value (Hz), 1/s.
        """
        from bids_brnn.signals.two_pools.z_spectrum.table_kernel import series

        points = self._unit(scale, shift, R2f)
        found = np.empty((len(points), len(self.angle), 4))
        series(points, *self._flat, self._work(), found)
        return self._seen(found)

    def lines(self, scale: Tensor, shift: Tensor) -> NDArray[np.float64]:
        """What is left of the table at the fields of voxels ``(V, 1)``, for :meth:`along`."""
        from bids_brnn.signals.two_pools.z_spectrum.table_kernel import series_lines

        points = self._unit(scale, shift)
        found = np.zeros((len(points), len(self.angle), int(self._flat[0][:, 2].max(initial=1))))
        series_lines(points, *self._flat, self._work(), found)
        return found

    def along(
        self, lines: NDArray[np.float64], rows: NDArray[np.int64], R2f: Tensor
    ) -> Saturation:
        """As :meth:`at` at the fields of ``lines[rows]``, by which there are no slopes (0)."""
        from bids_brnn.signals.two_pools.z_spectrum.table_kernel import series_along

        low, high = self.box[2]
        x = _to_unit(R2f, low, high)
        found = np.empty((len(x), len(self.angle), 4))
        shapes, places, _ = self._flat
        series_along(x, lines, rows, shapes, places, np.empty(2 * lines.shape[2]), found)
        return self._seen(found)

    def _unit(self, *values: Tensor) -> NDArray[np.float64]:
        columns = [_to_unit(part, *box) for part, box in zip(values, self.box, strict=False)]
        return np.stack(columns, axis=-1)

    def _seen(self, found: NDArray[np.float64]) -> Saturation:
        for axis, (low, high) in enumerate(self.box, 1):
            found[..., axis] *= 2 / (high - low)
        value, *slopes = torch.from_numpy(found).unbind(-1)
        return Saturation(value, (slopes[0], slopes[1], slopes[2]))

    @cached_property
    def _flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Shapes, places and coefficients as the kernel reads them."""
        parts = [None if part is None else part.numpy() for part in self.coefficients]
        shapes = np.array([(1, 1, 1) if part is None else part.shape for part in parts], np.int64)
        sizes = np.array([0 if part is None else part.size for part in parts], np.int64)
        places = np.where(sizes > 0, np.cumsum(sizes) - sizes, -1)
        flat = [part.ravel() for part in parts if part is not None]
        return shapes, places, np.concatenate(flat) if flat else np.empty(0)

    def _work(self) -> NDArray[np.float64]:
        shapes = self._flat[0]
        return np.empty((6, max(int((shapes[:, 1] * shapes[:, 2]).max()), 2 * int(shapes.max()))))


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


def _to_unit(values: Tensor, low: float, high: float) -> NDArray[np.float64]:
    """Values ``(V, 1)`` in [-1, 1] of an interval."""
    x = (2 * values.detach().double().cpu()[:, 0] - low - high) / (high - low)
    return np.asarray(x.clamp(-1, 1).numpy())
