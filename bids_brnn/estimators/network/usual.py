"""Signals of usual tissue and of fluid: where least squares begins when an estimate is no start.

At low SNR an estimate may lie beyond a ridge from the minimum, in any parameter. And the signal of
fluid, whose magnetisation lives longer than a pulse train, changes within a few rad/s of
off-resonance: the estimate of a network then lies in one of many valleys, rarely in the deepest.
Atoms that know their derivatives are matched with the data instead; that costs a product of
matrices, and where to begin follows from the data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Literal

import torch
from torch import Tensor

from bids_brnn.estimators.network.lowest import Along, Task, lowest
from bids_brnn.estimators.nlls.cost import stack
from bids_brnn.estimators.nlls.starts import Candidates
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUE_SETS, tissue_set

FLUID: Mapping[str, tuple[float, float]] = {
    "m0s": (1e-3, 1e-3), "R1": (0.14, 1.0), "R1f": (0.14, 1.0), "R1a": (0.14, 1.0),
    "R2": (0.2, 2.0), "R2f": (0.2, 2.0), "B1": (0.6, 1.3),
}  # fmt: skip
"""Ranges of the priors: T1 of 1 to 7 s, T2 of 0.5 to 5 s."""
_TISSUE = 256
"""Atoms of each kind of tissue; four times as many leave no fewer false alarms."""
_FLUID_POINTS = 2**14
"""Atoms of fluid: where to stop is a choice. With a quarter, half, all and twice of them 27, 18,
14 and 8 % of the fluid of qmt-demo are left above the limit at SNR 40 by two starts (60 % without
any); these take one to two seconds of CPU, once."""
_PROMISING = {"tissue": 8, "fluid": 32}
"""Atoms of each voxel from which one step tells what least squares may leave."""
_TRIES = {"tissue": 2, "fluid": 4}
"""Starts of each voxel; more of them leave as many above the limit."""
_REACH, _SHIFTS, _HOPS = 40.0, 40, 2
"""rad/s to both sides, points there, and the best ones of them that are worth a try: valleys of a
train of 1.4 s are 5 rad/s apart, and those that were missed 2 to 35."""
_REST = 0.35
"""Of the signal: fluid in a wrong valley rarely leaves more (one in ten of those missed).
Signals know no noise: at SNR 80 that is 400 times the limit."""
_BLOCK = 1024
_LOCK = Lock()

Kind = Literal["tissue", "fluid"]
Linearize = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Usual:
    """Atoms of a signal model, simulated when they are first asked for."""

    linearize: Linearize
    """The signal ``(v, R)`` at M0 = 1 and its derivatives ``(v, R, P)``."""
    parameters: ParameterSet
    folds: bool
    """Whether the signal at an off-resonance is the conjugate of that at its opposite."""

    @cached_property
    def _known(self) -> dict[tuple[Kind, torch.device], tuple[Candidates, float]]:
        return {}

    def atoms(self, kind: Kind, device: torch.device) -> tuple[Candidates, float]:
        """Atoms of :data:`bids_brnn.priors.TISSUE_SETS`, or of :data:`FLUID`.

        And the median norm of their signals at M0 = 1: the M0 of an estimate that is none may be
        several times too large.
        """
        with _LOCK:  # once, however many threads ask
            if (kind, device) not in self._known:
                points = (
                    tissue_points(self.parameters, _TISSUE)
                    if kind == "tissue"
                    else fluid_points(self.parameters, _FLUID_POINTS)
                )
                self._known[kind, device] = self._atoms(points.to(device))
            return self._known[kind, device]

    def _atoms(self, theta: Tensor) -> tuple[Candidates, float]:
        theta = theta.float()
        lower, upper = self.parameters.bounds(theta)
        signals, slopes, sizes = [], [], []
        for rows in theta.split(_BLOCK):
            signal, derivatives = self.linearize(rows)
            size = signal.norm(dim=-1, keepdim=True)
            sizes.append(size)
            signals.append((signal / size).to(torch.complex64))
            slopes.append((stack(derivatives) * (upper - lower) / size[..., None]).float())
        unit = self.parameters.to_unit(theta.double()).clamp(0, 1)
        found = Candidates.usable(unit, torch.cat(signals), torch.cat(slopes))
        if self.folds:
            found = _mirrored(found, self.parameters.index(("w0",))[0])
        return found, float(torch.cat(sizes).nanmedian())


def least_from_atoms(
    along: Along,
    task: Task,
    known: Mapping[int, Tensor],
    usual: Usual,
    kind: Kind,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Chi-squared ``(v,)`` of what least squares from the best atoms leaves, and where ``(v, P)``.

    Infinite where no atom is worth a try.

    Of fluid also from the neighbouring valleys of off-resonance, where that is not known, and as
    long as less than a third of the signal is left, however little noise there is.

    Parameters
    ----------
    along, task, steps
        As for :func:`bids_brnn.estimators.network.lowest.lowest`; data of unit norm.
    known
        Values ``(v,)`` of parameters that are not free, by column.
    usual, kind
        Where to begin.
    """
    parameters, device = usual.parameters, task.data.device
    units = {}
    for column, values in known.items():
        lower, upper = (float(bound[column]) for bound in task.bounds)
        units[column] = ((values - lower) / (upper - lower)).clamp(0, 1).double()
    starts = usual.atoms(kind, device)[0].starts(task.data, units, _PROMISING[kind])
    least = torch.full((len(task.data),), torch.inf, dtype=torch.float64, device=device)
    best = parameters.from_unit(starts.unit[:, 0]).float()

    def descend(rows: Tensor, start: Tensor) -> None:
        if not len(rows):
            return
        here = task.rows(rows, hopeless=torch.inf if kind == "fluid" else None)
        left, point = lowest(lambda theta, some: along(theta, rows[some]), here, start, steps)
        better = left < least[rows]
        best[rows[better]], least[rows[better]] = point[better], left[better]

    weight = task.sigma.double() ** -2
    far = torch.full_like(weight, task.hopeless)
    if kind == "fluid":
        far = torch.maximum(far, _REST**2 * weight)
    for _ in range(_TRIES[kind]):
        point, promise = starts.take_best()
        rows = ((least > task.enough) & (promise * weight < far)).nonzero()[:, 0]
        descend(rows, parameters.from_unit(point[rows]).float())
    turning = parameters.index(("w0",))[0]
    if kind == "fluid" and turning in task.free:
        rows = ((least > task.enough) & (least < far)).nonzero()[:, 0]
        for start in _beside(along, task, rows, best[rows], turning):
            above = least[rows] > task.enough
            descend(rows[above], start[above])
    return least, best


def _beside(
    along: Along, task: Task, rows: Tensor, theta: Tensor, column: int
) -> tuple[Tensor, ...]:
    """Points ``(r, P)`` beside ``theta`` along a column that a step finds best, the best first."""
    shifts = torch.linspace(-_REACH, _REACH, _SHIFTS, device=theta.device)
    wide = theta[:, None].repeat(1, _SHIFTS, 1)
    wide[..., column] += shifts
    start = wide.flatten(0, 1).clamp(*task.bounds)
    many = rows.repeat_interleave(_SHIFTS)
    some = replace(task.rows(many), enough=0.0, hopeless=torch.inf)
    left, point = lowest(lambda at, which: along(at, many[which]), some, start, 2)
    order = left.unflatten(0, (-1, _SHIFTS)).argsort(1)[:, :_HOPS]
    points = point.unflatten(0, (-1, _SHIFTS))
    return tuple(points[torch.arange(len(rows), device=rows.device), o] for o in order.unbind(1))


def tissue_points(parameters: ParameterSet, n: int) -> Tensor:
    """``(4 n, P)`` float64: ``n`` of each kind of tissue, off-resonance between its bounds."""
    rng = torch.Generator().manual_seed(1)
    theta = torch.cat([tissue_set(parameters, kind, n, rng=rng) for kind in TISSUE_SETS])
    if "w0" in parameters.names:
        item = parameters["w0"]
        shares = torch.rand(len(theta), generator=rng, dtype=torch.float64)
        theta[:, parameters.index(("w0",))[0]] = item.lower + shares * (item.upper - item.lower)
    return _within(parameters, theta)


def fluid_points(parameters: ParameterSet, n: int) -> Tensor:
    """``(n, P)`` float64, evenly over :data:`FLUID` and off-resonance; rates by logarithm."""
    ranges = (
        {"w0": (parameters["w0"].lower, parameters["w0"].upper)}
        if "w0" in parameters.names
        else {}
    )
    ranges |= {name: span for name, span in FLUID.items() if name in parameters.names}
    even = torch.quasirandom.SobolEngine(len(ranges), scramble=True, seed=1)
    theta = parameters.start(torch.zeros((), dtype=torch.float64)).repeat(n, 1)
    for (name, (low, high)), share in zip(
        ranges.items(), even.draw(n, dtype=torch.float64).unbind(1), strict=True
    ):
        rate = low * (high / low) ** share if low > 0 else low + share * (high - low)
        theta[:, parameters.index((name,))[0]] = rate
    return _within(parameters, theta)


def _within(parameters: ParameterSet, theta: Tensor) -> Tensor:
    """Not beyond bounds that leave tissue out: the exact signal refuses what is."""
    return theta.clamp(*parameters.bounds(theta))


def _mirrored(atoms: Candidates, column: int) -> Candidates:
    """The atoms, and those at the opposite off-resonance."""
    assert atoms.slopes is not None
    unit = atoms.unit.clone()
    unit[:, column] = 1 - unit[:, column]
    real, imaginary = atoms.slopes.chunk(2, 1)
    slopes = torch.cat([real, -imaginary], 1)
    slopes[..., column] *= -1
    return Candidates(
        torch.cat([atoms.unit, unit]),
        torch.cat([atoms.signal, atoms.signal.conj().resolve_conj()]),
        torch.cat([atoms.slopes, slopes]),
    )
