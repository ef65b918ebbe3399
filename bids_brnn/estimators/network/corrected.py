"""Least squares of many voxels on the surrogate signal, corrected by exact signals.

An exact signal costs as much as a dozen of the surrogate, and with its derivatives as much as
thirty-five. Least squares are therefore those of the surrogate, and an exact signal where they end
tells what really is left, and the error of the surrogate there. Where that matters the surrogate
is moved by it, ``s(theta) = surrogate(theta) + exact(end) - surrogate(end)`` (space mapping,
Bandler 2004, 10.1109/TMTT.2003.820904), and least squares go on. A voxel is settled where no more
is left than the limit, or where the error of the signal that least squares saw is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.network.lowest import Along, Task, lowest
from bids_brnn.estimators.network.nuisances import least_squares_scale, slopes_along
from bids_brnn.signals.base import SignalModel

_ROUNDS = 3
"""Of least squares and an exact signal."""
_STEPS = 15
"""Of least squares in each round, at most; with 6 of them one flagged voxel in thirty was not at
its minimum."""
_USABLE = 0.3
"""Of the limit of chi-squared: larger errors of a surrogate change on the way to the minimum."""
_SETTLED = 0.01
"""Of the limit: square of an error that brings nothing beyond :data:`_DOUBT` below the limit
(roots: 1.095 - 0.1)."""
_DOUBT = 1.2
"""Times the limit: least squares of the moved signal decide beyond it, exact ones below."""


@dataclass(frozen=True)
class Minimum:
    """What is left of ``v`` voxels."""

    left: Tensor
    """``(v,)`` float64: chi-squared of the exact signal at ``best``; of a voxel that is settled
    above the limit, that of the moved signal."""
    best: Tensor
    """``(v, P)``."""
    settled: Tensor
    """``(v,)``: no more is left than the limit, or least squares nearby do not reach it."""
    error: Tensor
    """``(v,)``: squared norm of the error of the surrogate where its least squares end, in units
    of the noise."""

    def lower(self, rows: Tensor, other: Minimum) -> None:
        """Take over what is lower of ``other``, which is of ``rows``."""
        won = other.left < self.left[rows]
        for mine, its in (
            (self.left, other.left), (self.best, other.best), (self.settled, other.settled),
        ):  # fmt: skip
            mine[rows[won]] = its[won].to(mine.dtype)


@dataclass(frozen=True, eq=False)
class Corrected:
    """A surrogate and what it imitates, both in the basis of the data."""

    surrogate: SignalModel
    exact: Callable[[Tensor], Tensor]
    """From ``theta`` ``(v, P)`` to signals ``(v, R)`` at M0 = 1."""
    half: bool
    """Whether derivatives may be computed in bfloat16."""

    def minimum(self, task: Task, theta: Tensor) -> Minimum:
        """Of least squares from ``theta`` ``(v, P)``."""
        best, rows = theta.clone(), torch.arange(len(theta), device=theta.device)
        left = torch.full(theta.shape[:1], torch.inf, dtype=torch.float64, device=theta.device)
        settled, size = torch.zeros_like(left, dtype=torch.bool), torch.zeros_like(left)
        error = task.data.new_zeros(task.data.shape)
        for number in range(_ROUNDS):
            some = task.rows(rows)
            promised, end = lowest(self._moved(task, error, rows), some, best[rows], _STEPS)
            found, there = self._at(some, end)
            change = self._size(some, there - error[rows], end)
            if number == 0:
                size = change
            better = found < left[rows]
            won = rows[better]
            left[won], best[won], error[won] = found[better], end[better], there[better].to(error)
            usable = size[rows] < _USABLE * task.enough
            beyond = (change < _SETTLED * task.enough) & (promised > _DOUBT * task.enough)
            beyond &= (found > task.enough) & usable
            left[rows[beyond]] = promised[beyond]
            settled[rows] = beyond | (left[rows] <= task.enough)
            rows = rows[better & ~settled[rows] & usable]
            if not len(rows):
                break
        return Minimum(left, best, settled, size)

    def lowest(self, task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Chi-squared ``(v,)`` that least squares on the surrogate leave as it is, and where."""
        return lowest(self.along(task.free), task, theta, _STEPS)

    def along(self, free: Sequence[int]) -> Along:
        """The surrogate and its derivatives by the columns ``free``."""

        def along(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            return slopes_along(self.surrogate, theta, list(free), half=self.half)

        return along

    def _moved(self, task: Task, error: Tensor, rows: Tensor) -> Along:
        own, by = self.along(task.free), error[rows]

        def along(theta: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
            signal, slopes = own(theta, some)
            return signal + by[some], slopes

        return along

    def _at(self, task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Chi-squared ``(v,)`` at ``theta``, and the error ``(v, R)`` of the surrogate."""
        signal = self.exact(theta)
        with torch.no_grad():
            error = signal - self.surrogate(theta)
        rest = least_squares_scale(signal, task.data.to(signal.dtype))[1]
        return (rest / task.sigma).double().square(), error

    def _size(self, task: Task, error: Tensor, theta: Tensor) -> Tensor:
        """Squared norm ``(v,)`` of errors of signals, in units of the noise."""
        with torch.no_grad():
            m0 = least_squares_scale(self.surrogate(theta), task.data)[0]
        return (error.abs().square().sum(-1).sqrt() * m0.abs() / task.sigma).double().square()
