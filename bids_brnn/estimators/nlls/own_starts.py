"""Where the fit of real models starts: points at each voxel's own supplied values.

Such models (Z-spectra) are cheap and depend on several maps, so that trying some points in every
voxel costs less than a dictionary over all that the maps may hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.drafts import minima
from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.solver import StoppingRule
from bids_brnn.estimators.nlls.starts import Starts
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.around import Around
from bids_brnn.signals.base import Array, SignalModel, arrays_of

_POINTS = 16
_TOGETHER = 16384
"""Signals in one call of a model, at most: few calls, and little memory."""
_ROUGHLY = StoppingRule(30, 0.1, 0.1)
"""Where the rough model ends, the exact one has half a standard deviation to go."""
_RATIOS = (0.2, 5.0)
"""What a rough model may be corrected by."""
_AROUND = 4.0
"""Points of rates and times reach from a share to a multiple of the start value."""


def usual_points(parameters: ParameterSet, seed: int, n: int = _POINTS) -> Tensor:
    """Points ``(n, P)`` around the start values of what is estimated; the first is that itself."""
    sobol = torch.quasirandom.SobolEngine(len(parameters), scramble=True, seed=seed)
    even = sobol.draw(n, dtype=torch.float64)
    points = parameters.start(even).repeat(n, 1)
    for column in parameters.columns("estimated", "nuisance"):
        item = parameters.items[column]
        low, high = item.lower, item.upper
        if low > 0:
            low, high = max(low, item.start / _AROUND), min(high, item.start * _AROUND)
            span = math.log(high / low)
            points[1:, column] = low * torch.exp(even[1:, column] * span)
        else:
            high = min(high, 2 * item.start) if item.start > 0 else high
            points[1:, column] = low + even[1:, column] * (high - low)
    return points


def own_starts(problem: Problem, points: Tensor, voxels: Tensor) -> Starts:
    """The points ``(S, P)`` with the supplied values of each voxel, and their costs."""
    parameters = problem.model.parameters
    unit = parameters.to_unit(points.to(problem.data.device, torch.float64)).clamp(0, 1)
    wide = unit.expand(len(voxels), *unit.shape).clone()
    for column, values in problem.known.items():
        known = torch.stack([values[voxels]] * len(parameters), -1)
        wide[..., column] = parameters.to_unit(known)[:, None, column]
    costs = []
    for some in unit[:, problem.free].split(max(1, _TOGETHER // max(len(voxels), 1))):
        places = some.repeat_interleave(len(voxels), dim=0)
        found = problem.cost(places, voxels.repeat(len(some)))
        costs.append(found.reshape(len(some), len(voxels)))
    cost = torch.cat(costs).mT.contiguous()
    return Starts(wide, torch.where(cost.isfinite(), cost, torch.inf))


def rough_starts(problem: Problem, rough: SignalModel, points: Tensor, voxels: Tensor) -> Starts:
    """Minima of a rough model, two of each voxel at most, as starts for the exact one.

    The rough model is made equal to the exact one at the first of the points ``(S, P)``, by a
    factor on every measurement.
    """
    whole = torch.arange(len(voxels), device=voxels.device)
    first = problem.model.parameters.to_unit(points[:1].to(problem.data.device, torch.float64))
    place = first.clamp(0, 1)[:, problem.free].expand(len(voxels), -1)
    ratio = problem.signal(place, voxels) / problem.part(voxels, rough).signal(place, whole)
    draft = problem.part(voxels, Corrected(rough, ratio.real.nan_to_num(1.0).clamp(*_RATIOS)))
    choice = own_starts(draft, points, whole)
    return minima(draft, choice, _ROUGHLY, 2)


@dataclass(frozen=True, eq=False)
class Corrected(Around):
    """A model times a factor ``(V, N)`` on each measurement of some voxels."""

    factor: Tensor

    def of_rows(self, model: SignalModel, rows: Tensor) -> Self:
        """With the factors of the voxels."""
        return replace(self, model=model, factor=self.factor[rows])

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(V, N)``."""
        assert basis is None
        return self.model(theta) * self.factor

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(V, N, P)``."""
        assert basis is None
        signal, slopes = self.model.linearize(theta)
        return signal * self.factor, slopes * self.factor[..., None]

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""
        inner = arrays_of(self.model)
        assert inner is not None
        signal, slopes = inner(theta, derivatives=derivatives)
        factor = self.factor.numpy()
        signal *= factor
        if derivatives:
            slopes *= factor[..., None]
        return signal, slopes
