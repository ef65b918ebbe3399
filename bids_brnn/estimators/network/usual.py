"""Signals of usual tissue: where least squares begins when an estimate is no start.

At low SNR an estimate may lie beyond a ridge from the minimum, in any parameter. Atoms that know
their derivatives are matched with the data instead; that costs a product of matrices, and where to
begin follows from the data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from bids_brnn.estimators.network.lowest import Along, Task, lowest
from bids_brnn.estimators.nlls.cost import stack
from bids_brnn.estimators.nlls.starts import Candidates
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUE_SETS, tissue_set

_ATOMS = 256
"""Of each kind of tissue; four times as many leave no fewer false alarms."""
_PROMISING = 8
"""Atoms of each voxel from which one step tells what least squares may leave."""
_TRIES = 2
"""Starts of each voxel; more of them leave as many above the limit."""
_BLOCK = 1024
_LOCK = Lock()

Linearize = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Usual:
    """Atoms of a signal model, simulated when they are first asked for."""

    linearize: Linearize
    """The signal ``(v, R)`` at M0 = 1 and its derivatives ``(v, R, P)``."""
    parameters: ParameterSet

    @cached_property
    def _known(self) -> dict[torch.device, tuple[Candidates, float]]:
        return {}

    def atoms(self, device: torch.device) -> tuple[Candidates, float]:
        """Atoms of :data:`bids_brnn.priors.TISSUE_SETS`.

        And the median norm of their signals at M0 = 1: the M0 of an estimate that is none may be
        several times too large.
        """
        with _LOCK:  # once, however many threads ask
            if device not in self._known:
                points = tissue_points(self.parameters, _ATOMS)
                found = atoms_at(self.linearize, self.parameters, points.to(device))
                self._known[device] = found
            return self._known[device]


def atoms_at(
    linearize: Linearize, parameters: ParameterSet, theta: Tensor
) -> tuple[Candidates, float]:
    """Atoms of unit norm at ``theta`` ``(n, P)``, and the median norm of their signals.

    Those without a finite signal are left out.
    """
    theta = theta.float()
    lower, upper = parameters.bounds(theta)
    signals, slopes, sizes = [], [], []
    for rows in theta.split(_BLOCK):
        signal, derivatives = linearize(rows)
        size = signal.norm(dim=-1, keepdim=True)
        sizes.append(size)
        signals.append((signal / size).to(torch.complex64))
        slopes.append((stack(derivatives) * (upper - lower) / size[..., None]).float())
    unit = parameters.to_unit(theta.double()).clamp(0, 1)
    found = Candidates.usable(unit, torch.cat(signals), torch.cat(slopes))
    return found, float(torch.cat(sizes).nanmedian())


def least_from_atoms(
    along: Along, task: Task, known: Mapping[int, Tensor], usual: Usual, steps: int
) -> tuple[Tensor, Tensor]:
    """Chi-squared ``(v,)`` of what least squares from the best atoms leaves, and where ``(v, P)``.

    Infinite where no atom is worth a try.

    Parameters
    ----------
    along, task, steps
        As for :func:`bids_brnn.estimators.network.lowest.lowest`; data of unit norm.
    known
        Values ``(v,)`` of parameters that are not free, by column.
    usual
        Where to begin.
    """
    parameters, device = usual.parameters, task.data.device
    units = {}
    for column, values in known.items():
        lower, upper = (float(bound[column]) for bound in task.bounds)
        units[column] = ((values - lower) / (upper - lower)).clamp(0, 1).double()
    starts = usual.atoms(device)[0].starts(task.data, units, _PROMISING)
    least = torch.full((len(task.data),), torch.inf, dtype=torch.float64, device=device)
    best = parameters.from_unit(starts.unit[:, 0]).float()
    weight = task.sigma.double() ** -2
    for _ in range(_TRIES):
        point, promise = starts.take_best()
        rows = ((least > task.enough) & (promise * weight < task.hopeless)).nonzero()[:, 0]
        if not len(rows):
            continue

        def here(theta: Tensor, some: Tensor, rows: Tensor = rows) -> tuple[Tensor, Tensor]:
            return along(theta, rows[some])

        start = parameters.from_unit(point[rows]).float()
        left, place = lowest(here, task.rows(rows), start, steps)
        better = left < least[rows]
        best[rows[better]], least[rows[better]] = place[better], left[better]
    return least, best


def tissue_points(parameters: ParameterSet, n: int) -> Tensor:
    """``(4 n, P)`` float64: ``n`` of each kind of tissue, off-resonance between its bounds."""
    rng = torch.Generator().manual_seed(1)
    theta = torch.cat([tissue_set(parameters, kind, n, rng=rng) for kind in TISSUE_SETS])
    if "w0" in parameters.names:
        item = parameters["w0"]
        shares = torch.rand(len(theta), generator=rng, dtype=torch.float64)
        theta[:, parameters.index(("w0",))[0]] = item.lower + shares * (item.upper - item.lower)
    # Not beyond bounds that leave tissue out: the exact signal refuses what is.
    return theta.clamp(*parameters.bounds(theta))
