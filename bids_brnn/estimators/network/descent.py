"""Least squares of fluid in many valleys of off-resonance.

The first starts come one after the other, as most voxels need no second one. Of the few voxels
that are left many starts race, each with a few steps before the worse are given up: signals of a
single point cost as much as those of thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bids_brnn.estimators.network.lowest import Along, Rounds, Task, lowest, raced
from bids_brnn.estimators.nlls.starts import Starts

if TYPE_CHECKING:
    from bids_brnn.estimators.network.fluid import Fluid

_STEPS = 10
"""Of least squares at most."""
_TRIES = 2
"""Starts of each voxel one after the other; more find few more."""
_APART = {"w0": 0.4, "B1": 0.02}
"""Starts that race differ by so much in one of them, off-resonance in valleys: the most parallel
atoms lie in few valleys, each of which has several minima of B1."""
_REST = 0.35
"""Of the signal: fluid in a wrong valley rarely leaves more (one in ten of those missed).
Signals know no noise: at SNR 80 that is 400 times the limit."""
_FAR = 6.0
"""Times the limit: where noise is more than that, one in ten minima that are missed leaves more,
as do most voxels of fluid that moved."""
_TOGETHER = 2**14
"""Points that race together, at most: bounds the memory."""


class Descent:
    """What least squares have found of the voxels of a task so far.

    Parameters
    ----------
    fluid
        The signal.
    task
        The voxels; data of unit norm.
    theta
        ``(v, P)``: estimates of a network; values of what is not free.
    """

    def __init__(self, fluid: Fluid, task: Task, theta: Tensor) -> None:
        columns = list(fluid.columns)
        inner = [place for place, column in enumerate(columns) if column in task.free]
        bounds = fluid.parameters.bounds(theta)
        self.fluid = fluid
        self.task = replace(task, free=inner, bounds=bounds, hopeless=torch.inf)
        self.best = theta[:, columns].clamp(*bounds)
        self.told = self.best[:, fluid.turning].clone()
        self.least = torch.full_like(task.sigma, torch.inf, dtype=torch.float64)
        self.unit = fluid.parameters.to_unit(self.best.double()).clamp(0, 1)
        weight = task.sigma.double() ** -2
        self.scale, self.far = weight, (_REST**2 * weight).clamp_min(_FAR * task.enough)

    def known(self, rows: Tensor) -> dict[int, Tensor]:
        """Unit coordinates of what is not free."""
        columns = range(len(self.fluid.columns))
        return {c: self.unit[rows, c] for c in columns if c not in self.task.free}

    def above(self) -> Tensor:
        """Rows above the limit."""
        return (self.least > self.task.enough).nonzero()[:, 0]

    def worth(self) -> Tensor:
        """Rows above the limit whose minimum may have been missed."""
        return ((self.least > self.task.enough) & (self.least < self.far)).nonzero()[:, 0]

    def from_here(self) -> None:
        """Least squares from where all voxels are."""
        self._descend(torch.arange(len(self.least), device=self.least.device), self.best)

    def from_starts(self, starts: Starts, rows: Tensor) -> None:
        """Least squares of ``rows`` from the most promising starts."""
        for _ in range(_TRIES):
            point, promise = starts.take_best()
            near = promise * self.scale[rows] < self.far[rows]
            tried = near & (self.least[rows] > self.task.enough)
            start = self.fluid.parameters.from_unit(point[tried]).to(self.best.dtype)
            self._descend(rows[tried], start)

    def from_apart(self, starts: Starts, rows: Tensor, n: int, rounds: Rounds) -> None:
        """Least squares of ``rows`` from the ``n`` most promising starts that are apart."""
        points: list[Tensor] = []
        promises: list[Tensor] = []
        for _ in range(n):
            point, promise = starts.take_best()
            if points and not promise.isfinite().any():
                break
            starts.discard(self._close(starts.unit, point[:, None]))
            points.append(point)
            promises.append(promise)
        worth = promises[0] * self.scale[rows] < self.far[rows]
        start = self.fluid.parameters.from_unit(torch.stack(points, 1)[worth])
        self._race(rows[worth], start.to(self.best.dtype), rounds)

    def beside(self, hops: Sequence[tuple[int, float]], rounds: Rounds) -> None:
        """Least squares from neighbouring valleys.

        Parameters
        ----------
        hops
            How many valleys of off-resonance to go, and how far in B1.
        rounds
            Of the race between them.
        """
        valley, turning = self.fluid.valley, self.fluid.turning
        rows = self.worth()
        if valley is None or turning not in self.task.free or not len(rows):
            return
        field = [c for c in self.task.free if self.fluid.parameters.names[c] == "B1"]
        shifts = self.best.new_tensor([hop for hop in hops if field or not hop[1]])
        start = self.best[rows, None].repeat(1, len(shifts), 1)
        start[..., turning] += shifts[:, 0] * valley
        start[..., field] += shifts[:, 1:]
        self._race(rows, start.clamp(*self.task.bounds), rounds)

    def _close(self, one: Tensor, other: Tensor) -> Tensor:
        """Whether points ``(..., F)`` in unit coordinates are those of one minimum."""
        close = torch.ones_like(one[..., 0], dtype=torch.bool)
        for name, apart in _APART.items():
            if name in self.fluid.parameters.names:
                column, item = self.fluid.parameters.index((name,))[0], self.fluid.parameters[name]
                width = apart * ((self.fluid.valley or 0.0) if name == "w0" else 1.0)
                away = (one[..., column] - other[..., column]).abs()
                close &= away <= width / (item.upper - item.lower)
        return close

    def _race(self, rows: Tensor, start: Tensor, rounds: Rounds) -> None:
        """Least squares of ``rows`` ``(r,)`` from the best of ``start`` ``(r, K, F)``."""
        if not len(rows):
            return
        for part in torch.arange(len(rows), device=rows.device).split(
            max(1, _TOGETHER // start.shape[1])
        ):
            some = rows[part]
            self._lower(some, *raced(self._along, self.task.rows(some), start[part], rounds))

    def _descend(self, rows: Tensor, start: Tensor) -> None:
        """Least squares of ``rows`` ``(r,)`` from ``start`` ``(r, F)``."""
        if len(rows):
            self._lower(rows, *lowest(self._along, self.task.rows(rows), start, _STEPS))

    def _lower(self, rows: Tensor, left: Tensor, point: Tensor) -> None:
        better = left < self.least[rows]
        self.best[rows[better]], self.least[rows[better]] = point[better], left[better]

    @property
    def _along(self) -> Along:
        free = list(self.task.free)

        def along(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            signal, slopes = self.fluid.linearize(theta)
            return signal, slopes[..., free]

        return along
