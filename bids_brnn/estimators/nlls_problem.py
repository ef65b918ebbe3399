"""The least-squares problem of a block of voxels, and what is reported of its solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.bounds import inverse_information
from bids_brnn.estimators.nlls_solver import (
    CONVERGED,
    ITERATION_LIMIT,
    NOT_FINITE,
    STALLED,
    Quadratic,
    Solution,
    StoppingRule,
    expand_cost,
    minimise,
    noise_variance,
)
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

INVALID = 0
STOP_REASONS: Mapping[int, str] = {
    INVALID: "not estimated: data NaN, infinite or zero, or supplied value missing or impossible",
    CONVERGED: "converged",
    STALLED: "no further decrease possible in floating point",
    ITERATION_LIMIT: "iteration limit",
    NOT_FINITE: "not estimated: the model is not finite at any start",
}
"""Meaning of the values of ``quality["stop"]``."""

_AT_BOUND = 1e-6
"""Distance to a bound, in units of the interval, that counts as being on it."""


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
        theta = self.theta(unit, voxels).to(self.precision)
        signal, slopes = (part.to(torch.complex128) for part in self.model.linearize(theta))
        free = self.free
        return expand_cost(signal, slopes[..., free] * (upper - lower)[free], self.data[voxels])

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


def on_bound(unit: Tensor) -> tuple[Tensor, Tensor]:
    """Flags of coordinates on their lower and on their upper bound."""
    return unit <= _AT_BOUND, unit >= 1 - _AT_BOUND


def block_maps(
    problem: Problem, solution: Solution, n_starts: Tensor, size: Tensor
) -> dict[str, Tensor]:
    """Everything that is reported of a block."""
    voxels = torch.arange(len(size), device=size.device)
    theta = problem.theta(solution.unit, voxels)
    free = problem.free
    lower, upper = problem.model.parameters.bounds(theta)
    std = torch.zeros_like(theta)
    std[:, free] = _unit_std(solution, problem) * (upper - lower)[free]
    failed = solution.reason == NOT_FINITE
    low, up = on_bound(solution.unit)
    bits = torch.tensor([1 << column for column in free], dtype=torch.long, device=size.device)
    mask = (low * bits).sum(-1) + (up * (bits << theta.shape[-1])).sum(-1)
    maps = {
        "theta": theta,
        "std": std,
        "m0": solution.quadratic.m0 * size,
        "residual": solution.quadratic.cost.clamp_min(0).sqrt(),
    }
    for values in maps.values():
        values[failed] = torch.nan
    maps["iterations"] = solution.iterations
    maps["stop"] = solution.reason
    maps["at_bound"] = torch.where(failed, 0, mask)
    maps["starts"] = n_starts
    return maps


def _unit_std(solution: Solution, problem: Problem) -> Tensor:
    """Standard deviations in unit coordinates, at most 1."""
    cost, information = solution.quadratic.cost, solution.quadratic.information
    noise = noise_variance(cost, problem.variance, problem.degrees)
    bounded = information / noise[:, None, None]
    bounded.diagonal(dim1=-2, dim2=-1).add_(1.0)
    std = inverse_information(bounded).diagonal(dim1=-2, dim2=-1).sqrt()
    if problem.degrees < 1:  # nothing is left to take the noise from
        std = torch.where(problem.variance[:, None] > 0, std, torch.nan)
    return std


def bounds_hit(at_bound: Tensor, parameters: ParameterSet) -> dict[str, tuple[Tensor, Tensor]]:
    """Decode ``quality["at_bound"]``: flags ``(V,)`` of (lower, upper) bound by parameter name."""
    n = len(parameters)
    return {
        name: ((at_bound >> column & 1).bool(), (at_bound >> (n + column) & 1).bool())
        for column, name in enumerate(parameters.names)
    }
