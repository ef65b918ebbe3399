"""The least-squares problem of a block of voxels, and what is reported of its solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.cost import Quadratic, expand_cost
from bids_brnn.estimators.nlls.solver import Solution, StoppingRule, minimise, noise_variance
from bids_brnn.signals.base import SignalModel


@dataclass(frozen=True)
class Problem:
    """Voxels estimated together, scaled to unit norm."""

    model: SignalModel
    data: Tensor
    known: dict[int, Tensor]
    variance: Tensor
    precision: torch.dtype
    """In which the model is evaluated; everything else is done in double precision."""

    @property
    def free(self) -> list[int]:
        """Columns of ``theta`` that are estimated."""
        return [column for column in range(len(self.model.parameters)) if column not in self.known]

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the residual."""
        return 2 * self.model.n_samples - 2 - len(self.free)

    def theta(self, unit: Tensor, voxels: Tensor) -> Tensor:
        """Model parameters of unit coordinates ``(B, F)`` of the free columns."""
        lower, upper = self.model.parameters.bounds(unit)
        theta = unit.new_empty((len(unit), len(lower)))
        free = self.free
        # Round-off must not lead out of the bounds that the model checks.
        span = upper - lower
        theta[:, free] = torch.minimum(lower[free] + unit * span[free], upper[free])
        for column, values in self.known.items():
            theta[:, column] = values[voxels]
        return theta

    def expand(self, unit: Tensor, voxels: Tensor) -> Quadratic:
        """Cost and its expansion in unit coordinates."""
        lower, upper = self.model.parameters.bounds(unit)
        signal, slopes = self.model.linearize(self.theta(unit, voxels).to(self.precision))
        free = self.free
        if len(free) < slopes.shape[-1]:
            slopes = slopes[..., free]
        return expand_cost(signal, slopes, self.data[voxels], (upper - lower)[free])

    def minimise(self, voxels: Tensor, start: Tensor, rule: StoppingRule) -> Solution:
        """Best fit of some voxels from ``start`` ``(B, F)``."""
        return minimise(
            lambda unit, rows: self.expand(unit, voxels[rows]),
            start,
            self.variance[voxels],
            self.degrees,
            rule,
        )

    def reached(self, solution: Solution, voxels: Tensor, points: Tensor) -> Tensor:
        """Which ``points`` ``(B, K, F)`` lie within the noise of the ``solution`` of ``voxels``.

        That is, within five standard deviations: a start from there would end there again.
        """
        cost, information = solution.quadratic.cost, solution.quadratic.information
        noise = noise_variance(cost, self.variance[voxels], self.degrees)
        away = points - solution.unit[:, None]
        return ((away @ information) * away).sum(-1) < 25 * noise[:, None]
