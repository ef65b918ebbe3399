"""Where else the minimum of a voxel may lie: another valley of off-resonance, usual tissue.

Asked of voxels only whose residual is above the limit near the estimate of the network. Starts in
other valleys, and at atoms of usual tissue, are tried on the surrogate; the exact signal is asked
where the best one ends. Of fluid, whose valleys no surrogate knows, least squares are exact, and
come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bids_brnn.estimators.network.corrected import Corrected, Minimum
from bids_brnn.estimators.network.fluid import Fluid, found_fluid
from bids_brnn.estimators.network.lowest import Along, Task, lowest
from bids_brnn.estimators.network.nuisances import SPACING, scanned
from bids_brnn.estimators.network.usual import Usual, least_from_atoms
from bids_brnn.signals.base import SignalModel

HOPELESS = 15.0
"""Times the limit: so much is left by no other valley of off-resonance."""
_FALLS = 1.0
"""Of the residual of the surrogate, in another valley that is worth a try."""
_FAR = 4.0
"""Times the limit: least squares from there ends below it in few voxels."""
_NEAR = 3.0
"""Times the limit: voxels of tissue whose minimum was missed are rarely further above it."""
_LONG_R2 = 6.0
"""1/s: below it a network may be in a valley beside the deepest, as in oedema."""
_BESIDE = 60.0
"""rad/s: how far such valleys are looked for, every 3 rad/s; those that were missed in oedema of
qmt-demo are 17 to 36 away."""
_WORTH = 2.0
"""Times the limit, beside the error of the surrogate: what it leaves where exact signals are
asked."""
_NOISY = 2.5
"""Times the lowest SNR of training: less noise rarely hides a minimum from a network."""
_GIVEN_UP = 2.0
"""Times the limit: least squares ends where a parabola promises no less. Rarely is less left than
it promises; of 19,000 voxels of a brain five were given up that would have passed."""
_STEPS = 15
"""Of least squares at most."""


Least = Callable[[Task, Tensor], tuple[Tensor, Tensor]]
"""(task, ``theta`` ``(v, P)``) -> chi-squared ``(v,)`` and where it is left."""


@dataclass(frozen=True)
class Estimates:
    """What is known of the voxels whose residuals are tested."""

    theta: Tensor
    """``(v, P)``."""
    rest: Tensor
    """``(v,)``: norm of what the surrogate leaves."""
    others: Sequence[int]
    """Columns of all that is free and that the network does not tell."""
    excused: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """From rows and where to begin to the statistic of :mod:`.fit_test`, and where it is least."""
    white: bool
    """Whether residuals of the series are white noise."""
    limit: Callable[[int], float]
    """Of chi-squared, from how many parameters are free; of all of them it is that of the task."""


@dataclass(frozen=True, eq=False)
class Search:
    """What least squares leave of voxels; ``found`` of all methods is changed in place."""

    surrogate: SignalModel
    linearize: Callable[[Tensor], tuple[Tensor, Tensor]]
    """The exact signal and its derivatives."""
    corrected: Corrected
    usual: Usual
    fluids: Sequence[Fluid]
    """Of the free pool, and of the whole model, for what must have another pool."""
    lowest_snr: float
    """Of training."""

    def __call__(self, task: Task, voxels: Estimates) -> Minimum:
        """Nearby, then elsewhere; the cheapest first."""
        fluid = self._fluid(voxels)
        found = self._of_fluid(task, voxels, fluid)
        rows = (~found.settled).nonzero()[:, 0]
        near = self.corrected.minimum(task.rows(rows), voxels.theta[rows])
        found.lower(rows, near)
        found.error[rows] = near.error
        rows = (~found.settled).nonzero()[:, 0]
        self._excused(task, voxels, found, rows, voxels.theta[rows])
        names = self.surrogate.parameters.names
        valleys = [column for column in voxels.others if names[column] == "w0"]
        if valleys:  # of fluid the surrogate does not know them
            rows = (_rows(found, task, HOPELESS) & ~fluid).nonzero()[:, 0]
            self._other_valleys(task, voxels, found, rows, valleys[0])
        self._exactly(task, found, _rows(found, task, _FAR) & ~found.settled & ~fluid)
        if valleys:
            self._beside(task, voxels, found, ~fluid, valleys[0])
        if self.fluids:
            self._emptied(task, voxels, found, ~fluid)
        if "w0" in names:
            self._from_usual(task, voxels, found)
        return found

    def _fluid(self, voxels: Estimates) -> Tensor:
        """Where the network found fluid, whose valleys of off-resonance are narrow at any SNR.

        But nowhere if residuals are no white noise, so that errors of the model decide (of the
        real slice 6 of 188 voxels, for half of the time).
        """
        return found_fluid(self.surrogate.parameters, voxels.theta) & voxels.white

    def fluid_alone(
        self, task: Task, theta: Tensor, usual: Callable[[int], float]
    ) -> tuple[Tensor, int]:
        """Chi-squared ``(v,)`` that fluid leaves, and how many parameters it is fitted by.

        ``usual`` tells from that number how much is no reason to look for another minimum: the
        lowest of all that there are explains noise too, and would tell too little of it.
        """
        pool = self._pool(task)
        fitted = pool.fitted(task)
        searched = replace(task, enough=usual(fitted))
        best = pool.least(searched, theta, thorough=False)[1]
        return pool.least_here(task, best)[0], fitted

    def _pool(self, task: Task) -> Fluid:
        """The free pool, if nothing is known of the other one."""
        return next(pool for pool in self.fluids if set(pool.empty) <= set(task.free))

    def _of_fluid(self, task: Task, voxels: Estimates, fluid: Tensor) -> Minimum:
        """What is left of fluid; of all other voxels nothing is known yet."""
        left = torch.full_like(task.sigma, torch.inf, dtype=torch.float64)
        nowhere = torch.zeros_like(left, dtype=torch.bool)
        found = Minimum(left, voxels.theta.clone(), nowhere, torch.zeros_like(left))
        rows = fluid.nonzero()[:, 0]
        if not len(rows):
            return found
        pool = self._pool(task)
        self._alone(task, voxels, found, rows, pool.least)
        self._exactly(task, found, _rows(found, task, _FAR))
        whole = self.fluids[-1]
        rows = rows[~found.settled[rows]]
        if pool is not whole and len(rows):
            # With another pool after all, or its estimate is no fluid's.
            left, best = whole.least_beside(task.rows(rows), voxels.theta[rows])
            found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))
        return found

    def _emptied(self, task: Task, voxels: Estimates, found: Minimum, which: Tensor) -> None:
        """Lower voxels whose other pool is empty, such as fat and aqueous phantoms."""
        rows = (which & voxels.white & (found.left > task.enough)).nonzero()[:, 0]
        if len(rows) and self._pool(task).empty:
            self._alone(task, voxels, found, rows, self._pool(task).least_here)

    def _alone(
        self, task: Task, voxels: Estimates, found: Minimum, rows: Tensor, least: Least
    ) -> None:
        """Lower ``rows`` by a free pool alone.

        Four parameters leave more of the noise than eight do: each has a limit of its own.
        """
        enough = voxels.limit(self._pool(task).fitted(task))
        left, best = least(replace(task.rows(rows), enough=enough), voxels.theta[rows])
        left *= task.enough / enough
        found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))

    def _other_valleys(
        self, task: Task, voxels: Estimates, found: Minimum, rows: Tensor, column: int
    ) -> None:
        if not len(rows):
            return
        data, theta, half = task.data[rows], voxels.theta[rows], self.corrected.half
        starts, rest = scanned(self.surrogate, data, theta, column, voxels.others, half=half)
        worth = rest < _FALLS * voxels.rest[rows, None]
        # Not the valley that was looked into.
        lower, upper = (float(bound[column]) for bound in task.bounds)
        away = (starts[..., column] - found.best[rows, None, column]).abs()
        worth &= away > SPACING * (upper - lower)
        rows, start = self._tried(task, found, rows, starts, worth)
        unsure = ~found.settled[rows] & (found.left[rows] > task.enough)
        self._excused(task, voxels, found, rows[unsure], start[unsure])

    def _beside(
        self, task: Task, voxels: Estimates, found: Minimum, which: Tensor, column: int
    ) -> None:
        """Lower voxels of long T2 from valleys nearer than those of all off-resonances are."""
        long = found_fluid(self.surrogate.parameters, voxels.theta, _LONG_R2) & voxels.white
        rows = (which & long & _rows(found, task, _FAR)).nonzero()[:, 0]
        if not len(rows):
            return
        starts, rest = scanned(
            self.surrogate, task.data[rows], found.best[rows], column, voxels.others,
            half=self.corrected.half, within=_BESIDE,
        )  # fmt: skip
        self._tried(task, found, rows, starts, rest.isfinite())

    def _excused(
        self, task: Task, voxels: Estimates, found: Minimum, rows: Tensor, start: Tensor
    ) -> None:
        """Take errors of the network out of ``rows`` by derivatives of the exact signal."""
        if len(rows):
            left, best = voxels.excused(rows, start)
            found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))

    def _from_usual(self, task: Task, voxels: Estimates, found: Minimum) -> None:
        """Lower voxels near the limit by least squares from usual tissue.

        At high SNR an estimate is a start as good, but for one voxel in 200 of oedema; where
        residuals are no white noise that is not worth a fifth of the time (13 of 3350 flags of the
        real slice).
        """
        near = _rows(found, task, _NEAR)
        if not near.any():
            return
        norm = self.usual.atoms(task.data.device)[1]
        noisy = norm * _NOISY * self.lowest_snr * task.sigma > 1
        rows = (near & (noisy | voxels.white)).nonzero()[:, 0]
        if not len(rows):
            return
        columns = range(voxels.theta.shape[1])
        known = {c: voxels.theta[rows, c] for c in columns if c not in task.free}
        some, along = task.rows(rows, hopeless=_GIVEN_UP), self.corrected.along(task.free)
        ends = least_from_atoms(along, some, known, self.usual, _STEPS)
        self._checked(task, found, rows, *ends)

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
        order = torch.arange(len(rows), device=rows.device)
        promising = self._checked(task, found, rows, least, ends[order, place])
        return rows[promising], starts[promising, place[promising]]

    def _checked(
        self, task: Task, found: Minimum, rows: Tensor, least: Tensor, ends: Tensor
    ) -> Tensor:
        """Lower ``rows`` from ``ends`` on the surrogate, where ``least`` of it is promising."""
        reach = (_WORTH * task.enough) ** 0.5 + found.error[rows].sqrt()
        promising: Tensor = least.sqrt() < reach
        rows, ends = rows[promising], ends[promising]
        if len(rows):
            found.lower(rows, self.corrected.minimum(task.rows(rows), ends))
        return promising

    def _exactly(self, task: Task, found: Minimum, which: Tensor) -> None:
        """Least squares of the exact signal from where voxels are."""
        rows = which.nonzero()[:, 0]
        if not len(rows):
            return
        some = task.rows(rows, hopeless=_GIVEN_UP)
        left, best = lowest(self._along(task), some, found.best[rows], _STEPS)
        found.lower(rows, Minimum(left, best, left <= task.enough, found.error[rows]))

    def _along(self, task: Task) -> Along:
        """The exact signal and its derivatives by what is free."""
        free = list(task.free)

        def along(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            signal, slopes = self.linearize(theta)
            return signal, slopes[..., free]

        return along


def _rows(found: Minimum, task: Task, most: float) -> Tensor:
    """Which voxels are above the limit, and less than ``most`` times above it."""
    return (found.left > task.enough) & (found.left < most * task.enough)
