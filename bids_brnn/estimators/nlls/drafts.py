"""Where a fit starts that has a draft: a model that imitates the exact one and costs little.

The search among several minima is made with the draft; the exact model goes the rest of the way,
a quarter of a standard deviation where a network has learnt the signal. It alone decides where a
fit ends, and whether the draft was right: where the cost that this promised is not found, the
usual starts follow.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.search import Choose, Further, descend, doubtful, sharpened
from bids_brnn.estimators.nlls.solver import (
    ITERATION_LIMIT,
    NOT_FINITE,
    REPEATED,
    Solution,
    StoppingRule,
)
from bids_brnn.estimators.nlls.starts import Starts
from bids_brnn.signals.base import SignalModel

_DRAFT = StoppingRule(40, 0.1, hope=1.2)
"""The last step is taken on trust: what is left is far below the error of a draft."""
_STARTS = 3
"""Of the draft, in each voxel."""
_HOPE = 1.2
"""Times the lowest cost: so much a start of the draft may promise and is tried."""
_MISLED = 0.2
"""A draft is wrong where the exact cost is higher by more than this share."""
_HOPELESS = 1.01
"""Times the lowest cost: a further minimum of the draft that promises more by the exact model is
given up."""
_SLACK = 0.1
"""Share by which costs of drafts are lowered, so that none is missed for its error."""


def minima(
    problem: Problem, choice: Starts, rule: StoppingRule, n: int, hope: float = torch.inf
) -> Starts:
    """Different minima of each voxel as starts for another model; infinite cost if none.

    Parameters
    ----------
    problem
        Of the cheap model.
    choice
        Where to start; points are used up.
    rule
        When to stop.
    n
        The most starts of a voxel.
    hope
        A further start is made where it promises less than this many times the lowest cost.
    """
    free = problem.free
    rows = torch.arange(len(problem.data), device=problem.data.device)
    point = choice.take_best()[0]
    unit = point[:, None].repeat(1, n, 1)
    cost = torch.full(unit.shape[:2], torch.inf, dtype=torch.float64, device=rows.device)
    first: Solution | None = None
    for k in range(n):
        found = problem.minimise(rows, point[:, free], rule, first)
        bad = (found.reason == NOT_FINITE) | (found.reason == REPEATED)
        some = unit[rows, k]
        some[:, free] = found.unit.to(some.device)
        unit[rows, k] = some
        cost[rows, k] = torch.where(bad, torch.inf, found.quadratic.cost).to(cost.device)
        choice.discard(problem.reached(found, rows, choice.unit[..., free]))
        first = found if first is None else first
        point, promise = choice.take_best()
        least = cost[rows].amin(1)
        again = promise.isfinite() & ~(promise >= hope * least)
        rows, choice, point = rows[again], choice.rows(again), point[again]
        first = first.rows(again)
        if len(rows) == 0:
            break
    return Starts(unit, cost)


def drafted_search(
    problem: Problem,
    draft: SignalModel,
    choose: Choose,
    rule: StoppingRule,
    *,
    n_starts: int,
    high_residual: float,
) -> tuple[Solution, Tensor]:
    """Best solution of every voxel, and how many exact starts ``(B,)`` it took.

    Arguments as of :func:`.search.search`; ``draft`` has the parameters of the model.
    """
    voxels = torch.arange(len(problem.data), device=problem.data.device)
    choice = choose(voxels)
    sketch = problem.part(voxels, draft)
    drafts = minima(sketch, Starts(choice.unit, choice.cost.clone()), _DRAFT, _STARTS, _HOPE)
    point, promised = drafts.take_best()

    def more(rows: Tensor, found: Solution) -> Further:
        failed = found.reason >= ITERATION_LIMIT
        lower = found.quadratic.cost < (1 + _MISLED) * promised[rows]
        misled = failed | ~(lower & promised[rows].isfinite())  # infinite: no minimum of the draft
        usual, own = choice.rows(rows), drafts.rows(rows)
        usual.cost[~misled] = torch.inf
        both = Starts(
            torch.cat([own.unit, usual.unit], 1),
            torch.cat([own.cost * (1 - _SLACK), usual.cost], 1),
        )
        return Further(rows, both, misled & doubtful(problem, found, rows, high_residual))

    solution, starts = descend(
        problem, point, replace(rule, hope=_HOPELESS), more,
        n_starts=n_starts, high_residual=high_residual,
    )  # fmt: skip
    return sharpened(problem, solution, rule), starts
