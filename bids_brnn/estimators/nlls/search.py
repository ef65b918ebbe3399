"""The best fit of every voxel: a first start for all, further starts for doubtful ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.results import on_bound
from bids_brnn.estimators.nlls.solver import (
    ITERATION_LIMIT,
    NOT_FINITE,
    RESOLVED,
    STALLED,
    Solution,
    StoppingRule,
    better_of,
)
from bids_brnn.estimators.nlls.starts import Starts
from bids_brnn.estimators.voxels import take
from bids_brnn.signals.base import amplitude_of

Choose = Callable[[Tensor], Starts]
"""Voxels ``(B,)`` of a problem -> points to start from."""
_WAIT, _WAIT_OF_REAL = 4.0, 0.25
"""Voxels start again when no more than so many times their number are left: to decide costs time,
as much as many evaluations of a real model."""


def first_starts(
    problem: Problem, choose: Choose, given: Tensor | None
) -> tuple[Tensor, Starts | None]:
    """First start of every voxel, ``(B, P)`` in unit coordinates, and the choice there was.

    ``given`` ``(B, P)`` holds start values, NaN where one is to be chosen.
    """
    if given is not None and not bool(given.isnan().any()):
        return given, None
    choice = choose(torch.arange(len(problem.data), device=problem.data.device))
    point = choice.take_best()[0]
    return point if given is None else torch.where(given.isnan(), point, given), choice


def search(
    problem: Problem,
    choose: Choose,
    given: Tensor | None,
    rule: StoppingRule,
    *,
    n_starts: int,
    high_residual: float,
    trusted: bool,
) -> tuple[Solution, Tensor]:
    """Best solution of every voxel, and how many starts ``(B,)`` it took.

    Parameters
    ----------
    problem
        The voxels.
    choose, given
        Where to start, see :func:`first_starts`.
    rule
        When an iteration ends.
    n_starts
        Of voxels that end on a bound or fit badly.
    high_residual
        Relative residual that is a bad fit, where the noise is not known.
    trusted
        Whether values that are given and fit are believed without a second start.
    """
    start, choice = first_starts(problem, choose, given)

    def further(rows: Tensor, found: Solution) -> Further:
        doubt = doubtful(problem, found, rows, high_residual)
        if choice is None:
            if trusted:
                rows, doubt = rows[doubt], doubt[doubt]
            return Further(rows, choose(rows), doubt)
        if amplitude_of(problem.model) != "complex":
            # A second minimum may lie 1 % lower; looking for it costs little.
            doubt = torch.ones_like(doubt)
        return Further(rows, choice.rows(rows), doubt)

    solution, starts = descend(
        problem, start, rule, further, n_starts=n_starts, high_residual=high_residual
    )
    return sharpened(problem, solution, rule), starts


@dataclass(frozen=True)
class Further:
    """What to try beside a minimum that was found."""

    rows: Tensor
    """``(b,)`` voxels to try again."""
    choice: Starts
    """From which points."""
    doubt: Tensor
    """``(b,)``: whether from any of them, or where a lower cost is promised only."""


def descend(
    problem: Problem,
    start: Tensor,
    rule: StoppingRule,
    further: Callable[[Tensor, Solution], Further],
    *,
    n_starts: int,
    high_residual: float,
) -> tuple[Solution, Tensor]:
    """Best solution of every voxel, and how many starts ``(B,)`` it took.

    Each voxel goes on from start to start by itself, so that few calls of the model are left with
    few voxels: what such a call costs is not what the voxels take.

    Parameters
    ----------
    problem, rule, n_starts, high_residual
        As in :func:`search`.
    start
        ``(B, P)``: first start.
    further
        Says of voxels and what was found there whether to start again; the points are used up.
    """
    free = problem.free
    voxels = torch.arange(len(problem.data), device=problem.data.device)
    iteration = problem.iteration(voxels, rule)
    iteration.begin(voxels, start[:, free])
    best = iteration.solution(voxels)
    starts, doubt = torch.zeros_like(voxels), torch.zeros_like(voxels, dtype=torch.bool)
    choices: Starts | None = None
    ended = voxels[:0]
    wait = _WAIT if amplitude_of(problem.model) == "complex" else _WAIT_OF_REAL
    while len(iteration.active):
        ended = torch.cat([ended, iteration.step()])
        if len(ended) * wait < len(iteration.active):
            continue
        new = starts[ended] == 0
        first, again, ended = ended[new], ended[~new], voxels[:0]
        starts[first] += 1
        starts[again] += 1
        if len(first):
            found = iteration.solution(first)
            best.put(first, found)
            if n_starts > 1:
                more = further(first, found)
                choice, first, doubt[more.rows] = more.choice, more.rows, more.doubt
                choice.discard(problem.reached(best.rows(first), first, choice.unit[..., free]))
                choices = choice.none_of(len(voxels)) if choices is None else choices
                choices.put(first, choice)
        if choices is None:
            continue
        if len(again):
            second = iteration.solution(again)
            choices.discard_of(
                again, problem.reached(second, again, choices.unit[again][..., free])
            )
            best = better_of(best, again, second)
            # A bound that a second start confirms is believed.
            doubt[again] = poor(problem, best.rows(again), again, high_residual)
        rows = torch.cat([first, again])
        rows = rows[starts[rows] < n_starts]
        point, promise = choices.take_best_of(rows)
        going = promise.isfinite() & (doubt[rows] | ~(promise >= best.quadratic.cost[rows]))
        rows = rows[going]
        iteration.begin(rows, point[going][:, free], best.rows(rows))
    return best, starts


def sharpened(problem: Problem, solution: Solution, rule: StoppingRule) -> Solution:
    """The solution, carried on in double precision where round-off of the model ended it."""
    stuck = (solution.reason == RESOLVED) | (solution.reason == STALLED)
    rows = torch.nonzero(stuck)[:, 0]
    if problem.precision == torch.float64 or len(rows) == 0:
        return solution
    wide = replace(problem, precision=torch.float64)
    final = wide.minimise(rows.to(problem.data.device), solution.unit[rows], rule)
    good = final.reason != NOT_FINITE
    kept, final = rows[good], final.rows(good)
    solution.unit[kept], solution.reason[kept] = final.unit, final.reason
    solution.quadratic.put(kept, final.quadratic)
    solution.iterations[kept] += final.iterations
    return solution


def doubtful(problem: Problem, solution: Solution, voxels: Tensor, high_residual: float) -> Tensor:
    """Voxels that do not fit, did not converge, or end on a bound; the solution is of these."""
    edge = torch.cat(on_bound(solution.unit), -1).any(-1)
    return poor(problem, solution, voxels, high_residual) | edge


def poor(problem: Problem, solution: Solution, voxels: Tensor, high_residual: float) -> Tensor:
    """Voxels that do not fit or did not converge; the solution is of these."""
    cost = solution.quadratic.cost
    explained = 4 * take(problem.variance, voxels) * max(problem.degrees, 1)
    high = torch.where(explained > 0, cost > explained, cost > high_residual**2)
    return high | (solution.reason >= ITERATION_LIMIT)
