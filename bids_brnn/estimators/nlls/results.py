"""What least squares reports of its voxels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.solver import (
    CONVERGED,
    ITERATION_LIMIT,
    NOT_FINITE,
    RESOLVED,
    STALLED,
    Solution,
    noise_variance,
)
from bids_brnn.information.bounds import inverse_information
from bids_brnn.parameters import ParameterSet

INVALID = 0
STOP_REASONS: Mapping[int, str] = {
    INVALID: "not estimated: data NaN, infinite or zero, or supplied value missing or impossible",
    CONVERGED: "converged",
    RESOLVED: "converged as far as round-off lets the cost fall",
    ITERATION_LIMIT: "iteration limit",
    NOT_FINITE: "not estimated: the model is not finite at any start",
    STALLED: "no step lowers the cost, though the derivatives promise it",
}
"""Meaning of the values of ``quality["stop"]``."""

QUALITY: Mapping[str, torch.dtype] = dict.fromkeys(
    ("iterations", "stop", "at_bound", "starts"), torch.int32
)
"""Further maps; those of a voxel that is not estimated hold :data:`INVALID`."""

_AT_BOUND = 1e-6
"""Distance to a bound, in units of the interval, that counts as being on it."""


def on_bound(unit: Tensor) -> tuple[Tensor, Tensor]:
    """Flags of coordinates on their lower and on their upper bound."""
    return unit <= _AT_BOUND, unit >= 1 - _AT_BOUND


def block_maps(
    problem: Problem,
    solution: Solution,
    n_starts: Tensor,
    size: Tensor,
    spread: dict[int, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Everything that is reported of a block; ``spread`` as in :meth:`Problem.sensitivity`."""
    voxels = torch.arange(len(size), device=size.device)
    theta = problem.theta(solution.unit, voxels)
    matrix = covariance(problem, solution, spread or {})
    failed = solution.reason == NOT_FINITE
    low, up = on_bound(solution.unit)
    bits = torch.tensor(
        [1 << column for column in problem.free], dtype=torch.long, device=size.device
    )
    mask = (low * bits).sum(-1) + (up * (bits << theta.shape[-1])).sum(-1)
    m0 = solution.quadratic.m0
    maps = {
        "theta": theta,
        "std": matrix.diagonal(dim1=-2, dim2=-1).sqrt(),
        # What is known of M0 is that it is 1, to the last bit.
        "m0": m0 * size if problem.m0 is None else torch.ones_like(m0),
        "residual": solution.quadratic.cost.clamp_min(0).sqrt(),
    }
    if problem.model.parameters.needs_covariance:
        maps["covariance"] = matrix
    for values in maps.values():
        values[failed] = torch.nan
    maps["iterations"] = solution.iterations
    maps["stop"] = solution.reason
    maps["at_bound"] = torch.where(failed, 0, mask)
    maps["starts"] = n_starts
    return maps


def covariance(problem: Problem, solution: Solution, spread: dict[int, Tensor]) -> Tensor:
    """``(B, P, P)`` of all parameters: by the noise, and by the spread of what is supplied.

    Standard deviations by the noise are at most the interval between the bounds.
    """
    cost, information = solution.quadratic.cost, solution.quadratic.information
    noise = noise_variance(cost, problem.variance, problem.degrees)
    bounded = information / noise[:, None, None]
    bounded.diagonal(dim1=-2, dim2=-1).add_(1.0)
    own = inverse_information(bounded)
    if problem.degrees < 1:  # nothing is left to take the noise from
        own = torch.where(problem.variance[:, None, None] > 0, own, torch.nan)
    n, free = len(problem.model.parameters), problem.free
    matrix = own.new_zeros((len(own), n, n))
    rows = torch.tensor(free, dtype=torch.long, device=own.device)
    matrix[:, rows[:, None], rows] = own
    if spread:
        for column, moved in problem.sensitivity(solution, spread).items():
            # All that one standard deviation of a supplied value changes, itself included.
            whole = own.new_zeros((len(own), n))
            whole[:, free] = moved
            lower, upper = problem.model.parameters.bounds(own)
            whole[:, column] = spread[column] / (upper - lower)[column]
            matrix += whole[:, :, None] * whole[:, None, :]
    lower, upper = problem.model.parameters.bounds(matrix)
    span = upper - lower
    return matrix * (span[:, None] * span)


def bounds_hit(at_bound: Tensor, parameters: ParameterSet) -> dict[str, tuple[Tensor, Tensor]]:
    """Decode ``quality["at_bound"]``: flags ``(V,)`` of (lower, upper) bound by parameter name."""
    n = len(parameters)
    return {
        name: ((at_bound >> column & 1).bool(), (at_bound >> (n + column) & 1).bool())
        for column, name in enumerate(parameters.names)
    }
