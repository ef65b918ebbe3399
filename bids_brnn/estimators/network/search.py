"""Where else the minimum of a voxel may lie: another valley of off-resonance, usual tissue.

Asked of voxels only whose residual is above the limit near the estimate of the network. Starts are
tried on the surrogate, all at once; the exact signal is asked where the best one ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.network.corrected import Corrected, Minimum
from bids_brnn.estimators.network.lowest import Task, lowest
from bids_brnn.estimators.network.nuisances import scanned
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUE_SETS
from bids_brnn.signals.base import SignalModel

HOPELESS = 15.0
"""Times the limit: so much is left by no other valley of off-resonance."""
_FALLS = 1.0
"""Of the residual of the surrogate, in another valley that is worth a try."""
_FAR = 4.0
"""Times the limit: least squares from there ends below it in few voxels."""
_NEAR = 2.0
"""Times the limit: voxels of tissue whose minimum was missed are rarely further above it."""
_KINDS = 4
"""Starts from usual tissue that are worth a try."""
_WORTH = 2.0
"""Times the limit, beside the error of the surrogate: what it leaves where exact signals are
asked."""
_NOISY = 2.5
"""Times the lowest SNR of training: less noise hides no minimum from a network. (Of the real slice
8 of 19,213 flags would change above it, at twice the time.)"""
_GIVEN_UP = 2.0
"""Times the limit: least squares ends where a parabola promises no less. Rarely is less left than
it promises; of 19,000 voxels of a brain five were given up that would have passed."""
_STEPS = 15
"""Of least squares at most."""


@dataclass(frozen=True)
class Estimates:
    """What is known of the voxels whose residuals are tested."""

    theta: Tensor
    """``(v, P)``."""
    snr: Tensor
    """``(v,)``."""
    rest: Tensor
    """``(v,)``: norm of what the surrogate leaves."""
    told: Sequence[int]
    """Columns of what the network tells."""
    others: Sequence[int]
    """Columns of all else that is free."""
    excused: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """From rows and where to begin to the statistic of :mod:`.fit_test`, and where it is least."""


@dataclass(frozen=True, eq=False)
class Search:
    """What least squares leave of voxels; ``found`` of all methods is changed in place."""

    surrogate: SignalModel
    linearize: Callable[[Tensor], tuple[Tensor, Tensor]]
    """The exact signal and its derivatives."""
    corrected: Corrected
    lowest_snr: float
    """Of training."""

    def __call__(self, task: Task, voxels: Estimates) -> Minimum:
        """Nearby, then elsewhere; the cheapest first."""
        found = self.corrected.minimum(task, voxels.theta)
        rows = (~found.settled).nonzero()[:, 0]
        self._excused(task, voxels, found, rows, voxels.theta[rows])
        names = self.surrogate.parameters.names
        valleys = [column for column in voxels.others if names[column] == "w0"]
        if valleys:
            self._other_valleys(task, voxels, found, valleys[0])
        self._exactly(task, found, _rows(found, task, _FAR) & ~found.settled)
        if valleys:
            self._from_tissue(task, voxels, found, valleys[0])
        return found

    def _other_valleys(self, task: Task, voxels: Estimates, found: Minimum, column: int) -> None:
        rows = _rows(found, task, HOPELESS).nonzero()[:, 0]
        if not len(rows):
            return
        starts, rest = self._scanned(task, voxels, rows, voxels.theta[rows], column)
        worth = rest < _FALLS * voxels.rest[rows, None]
        rows, start = self._tried(task, found, rows, starts, worth)
        unsure = ~found.settled[rows] & (found.left[rows] > task.enough)
        self._excused(task, voxels, found, rows[unsure], start[unsure])

    def _excused(
        self, task: Task, voxels: Estimates, found: Minimum, rows: Tensor, start: Tensor
    ) -> None:
        """Take errors of the network out of ``rows`` by derivatives of the exact signal."""
        if len(rows):
            left, best = voxels.excused(rows, start)
            found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))

    def _from_tissue(self, task: Task, voxels: Estimates, found: Minimum, column: int) -> None:
        """At low SNR an estimate may lie beyond a ridge from the minimum, in any parameter."""
        noisy = voxels.snr < _NOISY * self.lowest_snr
        rows = (noisy & _rows(found, task, _NEAR)).nonzero()[:, 0]
        if not len(rows):
            return
        kinds = usual_tissue(self.surrogate.parameters, voxels.theta[rows], voxels.told)
        parts = [self._scanned(task, voxels, rows, usual, column) for usual in kinds]
        starts, rest = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        rest, place = rest.topk(_KINDS, dim=1, largest=False)
        starts = starts.gather(1, place[..., None].expand(-1, -1, starts.shape[-1]))
        rows, _ = self._tried(task, found, rows, starts, rest.isfinite())
        tried = torch.zeros_like(found.settled)
        tried[rows] = True
        self._exactly(task, found, tried & ~found.settled)

    def _scanned(
        self, task: Task, voxels: Estimates, rows: Tensor, theta: Tensor, column: int
    ) -> tuple[Tensor, Tensor]:
        half, others = self.corrected.half, list(voxels.others)
        return scanned(self.surrogate, task.data[rows], theta, column, others, half=half)

    def _tried(
        self, task: Task, found: Minimum, rows: Tensor, starts: Tensor, worth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Lower ``rows`` ``(r,)`` from the best of ``starts`` ``(r, K, P)`` that are ``worth`` it.

        Returns which rows were tried by exact signals, and their starts.
        """
        voxel, start = worth.nonzero().unbind(1)
        left = torch.full(worth.shape, torch.inf, dtype=torch.float64, device=worth.device)
        ends = starts.float().clone()
        some = task.rows(rows[voxel], hopeless=HOPELESS)
        left[voxel, start], ends[voxel, start] = self.corrected.lowest(some, ends[voxel, start])
        least, place = left.min(dim=1)
        promising = least.sqrt() < (_WORTH * task.enough) ** 0.5 + found.error[rows].sqrt()
        rows, place = rows[promising], place[promising]
        if len(rows):
            end = ends[promising, place]
            found.lower(rows, self.corrected.minimum(task.rows(rows), end))
        return rows, starts[promising, place]

    def _exactly(self, task: Task, found: Minimum, which: Tensor) -> None:
        """Least squares of the exact signal from where voxels are."""
        rows, free = which.nonzero()[:, 0], list(task.free)
        if not len(rows):
            return

        def along(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            signal, slopes = self.linearize(theta)
            return signal, slopes[..., free]

        some = task.rows(rows, hopeless=_GIVEN_UP)
        left, best = lowest(along, some, found.best[rows], _STEPS)
        found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))


def _rows(found: Minimum, task: Task, most: float) -> Tensor:
    """Which voxels are above the limit, and less than ``most`` times above it."""
    return (found.left > task.enough) & (found.left < most * task.enough)


def usual_tissue(parameters: ParameterSet, theta: Tensor, columns: Sequence[int]) -> list[Tensor]:
    """``theta`` ``(v, P)`` with the middle of each kind of tissue in some of its columns.

    On the bounds where those of a train leave it out: the exact signal refuses what is beyond.
    """
    kinds = []
    for ranges in TISSUE_SETS.values():
        usual = theta.clone()
        for column in columns:
            item = parameters[parameters.names[column]]
            if item.name in ranges:
                middle = sum(ranges[item.name]) / 2
                usual[:, column] = min(max(middle, item.lower), item.upper)
        kinds.append(usual)
    return kinds
