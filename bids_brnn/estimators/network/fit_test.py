"""Whether noise explains what a network estimate leaves of the data: chi-squared, voxel by voxel.

The residual at the estimate of a network holds more than noise: the estimate is not exactly that
of least squares, and how far it may be off depends on the tissue. With the error ``delta`` of the
estimate, of variance ``D`` beyond what is efficient, ``y - M0 s(theta + delta)`` is noise, and::

    T = min over delta of |y - M0 s(theta + delta)|^2 / sigma^2 + delta^T D^-1 delta

is distributed like chi-squared with the degrees of freedom of a fit. M0 and parameters that the
network does not tell are free. An estimate that is further off than it ever was in training (a
mixture of tissues) is not excused. The minimum is found by Gauss-Newton steps: one where the
signal is straight over the width of the errors, more where that leaves a voxel above the limit.

Of a straight signal ``T`` is never below the chi-squared of least squares, so that a voxel with a
small ``T`` has passed; where the signal bends, a few pass by what a parabola promises. The others
go on to least squares (:mod:`bids_brnn.estimators.network.distrust`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.signals.base import SCALES, Amplitude

_LEAST = 0.25
"""Of the Cramer-Rao bound: even an efficient estimate differs from that of least squares."""
_RIDGE = 1e-6
"""Of the normal equations in units of deviations: a parameter without effect stays."""
STEPS = 4
"""Gauss-Newton steps at most."""
_HOPE = (3.0, 2.0)
"""Times the limit, after the first step and later: steps end where a parabola promises no less."""
_SHORTER = 0.25
_ROUNDS = 6
"""At most, in which it is found which parameters end on a bound."""
_CLOSE = 0.02
"""Of the limit: a step that promises less is not taken."""

Linearize = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Point:
    """One linearisation of ``v`` voxels; rows are in units of the noise."""

    rest: Tensor
    """``(v, 2R)``: residual, M0 and free parameters not projected out."""
    told: Tensor
    """``(v, 2R, O)``: derivatives in units of the deviations."""
    basis: Tensor
    """``(v, 2R, S + F)``: orthonormal, of M0 and free parameters."""
    n_scales: int
    """``S``: real numbers of M0 that are unknown."""
    free: Tensor
    """``(v, 2R, F)``: derivatives by free parameters, in their own units."""


def fit_statistic(
    linearize: Linearize,
    data: Tensor,
    theta: Tensor,
    columns: tuple[list[int], list[int]],
    std: Tensor,
    sigma: Tensor,
    limit: float,
    bounds: tuple[Tensor, Tensor],
    amplitude: Amplitude = "complex",
) -> tuple[Tensor, Tensor]:
    """``T`` of the text above, ``(v,)``, and the best parameters ``(v, P)``.

    Parameters
    ----------
    linearize
        The exact signal ``(v, R)`` at M0 = 1 and its derivatives ``(v, R, P)``.
    data
        ``(v, R)`` complex.
    theta
        ``(v, P)``: the estimate.
    columns
        Of the parameters that the network tells, and of all others that are free.
    std
        ``(v, O)``: deviations of what it tells.
    sigma
        ``(v,)``: of the noise, per channel.
    limit
        A voxel with less needs no further step.
    bounds
        ``(P,)`` each: what parameters can be.
    amplitude
        What is unknown of M0. A real one: data and signals are real, with zero imaginary parts.
    """
    told = columns[0]
    std = std.double().clamp_min(torch.finfo(torch.float32).tiny)
    first, theta = theta.double(), theta.double().clone()
    rows = torch.arange(len(data), device=data.device)
    trial = theta
    least = torch.full(rows.shape, torch.inf, dtype=torch.float64, device=data.device)
    statistic = least.clone()
    excess, step = torch.zeros_like(std), torch.zeros_like(theta)
    for number in range(STEPS):
        point = _point(
            linearize(trial[rows]), data[rows], columns, std[rows], sigma[rows], amplitude
        )
        if number == 0:
            excess = _excess(_projected(point.told, point.basis))
        moved = (trial - first)[rows][:, told] / std[rows]
        low, high = ((bound[told] - trial[rows][:, told]) / std[rows] for bound in bounds)
        cost = point.rest.square().sum(-1) + (moved.square() / excess[rows]).sum(-1)
        found, change, others = _solve(point, moved, excess[rows], (low, high))
        better = cost < least[rows]
        forward = torch.zeros_like(step[rows])
        forward[:, told], forward[:, columns[1]] = change * std[rows], others
        # A step that went astray is tried again, shorter.
        step[rows] = torch.where(better[:, None], forward, _SHORTER * step[rows])
        theta[rows] = torch.where(better[:, None], trial[rows], theta[rows])
        statistic[rows] = torch.where(better, found, statistic[rows])
        least[rows] = torch.where(better, cost, least[rows])
        promised = statistic[rows]
        hopeful = (promised > limit) & (promised < _HOPE[min(number, 1)] * limit)
        rows = rows[hopeful & (least[rows] - promised > _CLOSE * limit)]
        if not len(rows):
            break
        trial = (theta + step).clamp(*bounds)
    return statistic, (theta + step).clamp(*bounds)


def _point(
    exact: tuple[Tensor, Tensor],
    data: Tensor,
    columns: tuple[list[int], list[int]],
    std: Tensor,
    sigma: Tensor,
    amplitude: Amplitude,
) -> _Point:
    signal, slopes = exact
    data = data.to(signal.dtype)
    if amplitude == "one":
        m0 = torch.ones_like(data[:, 0])
    else:
        m0 = (signal.conj() * data).sum(-1) / signal.abs().square().sum(-1)
    unit = (m0 / sigma)[:, None, None]
    told, free = columns
    changes = _real(slopes[..., free] * unit)
    scales = [_real((factor * signal)[..., None]) for factor in SCALES[amplitude]]
    around = torch.cat([*scales, changes], dim=-1)
    length = around.norm(dim=1, keepdim=True)
    basis = torch.linalg.qr(around / length.clamp_min(torch.finfo(length.dtype).tiny)).Q
    rest = _real((data - m0[:, None] * signal)[..., None])[..., 0] / sigma[:, None]
    return _Point(
        rest, _real(slopes[..., told] * unit) * std[:, None], basis, len(scales), changes
    )


def _projected(values: Tensor, basis: Tensor) -> Tensor:
    return values - basis @ (basis.mT @ values)


def _excess(slopes: Tensor) -> Tensor:
    """Variance ``(v, O)`` of errors beyond that of least squares, over the squared deviation."""
    bound = torch.linalg.inv(_normal(slopes)).diagonal(dim1=-2, dim2=-1)
    return torch.maximum(1 - bound, _LEAST * bound)


def _normal(slopes: Tensor) -> Tensor:
    eye = torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device)
    return slopes.mT @ slopes + _RIDGE * eye


def _solve(
    point: _Point, moved: Tensor, excess: Tensor, room: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """``T`` of the parabola, and steps to its minimum: told (in deviations), and free.

    What is told stays between the bounds, which ``room`` ``(v, O)`` says how far they are.
    """
    slopes = _projected(point.told, point.basis)
    rest = _projected(point.rest[..., None], point.basis)
    gradient = (slopes.mT @ rest)[..., 0] - moved / excess
    matrix = _normal(slopes) + torch.diag_embed(1 / excess)
    change = least_within(matrix, gradient, room)
    cost = rest[..., 0].square().sum(-1) + (moved.square() / excess).sum(-1)
    curved = (matrix @ change[..., None])[..., 0]
    found = cost - ((2 * gradient - curved) * change).sum(-1)
    left = point.rest - (point.told @ change[..., None])[..., 0]
    return found, change, _others(point, left)


def least_within(matrix: Tensor, gradient: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
    """Minimum ``(v, O)`` of parabolas within ``room``; where one has no minimum, nothing moves."""
    low, high = room
    change: Tensor = torch.linalg.solve_ex(matrix, gradient)[0]
    stuck = (change < low) | (change > high)
    rows = stuck.any(-1).nonzero()[:, 0]
    for _ in range(_ROUNDS):
        if not len(rows):
            break
        before = stuck[rows]
        held = change[rows].clamp(low[rows], high[rows])
        change[rows] = _held_minimum(matrix[rows], gradient[rows], held, before)
        pull = gradient[rows] - (matrix[rows] @ change[rows][..., None])[..., 0]
        inwards = torch.where(held <= low[rows], pull > 0, pull < 0)
        beyond = (change[rows] < low[rows]) | (change[rows] > high[rows])
        stuck[rows] = (before & ~inwards) | beyond
        rows = rows[(stuck[rows] != before).any(-1)]
    return change.nan_to_num(0.0, 0.0, 0.0).clamp(low, high)


def _held_minimum(matrix: Tensor, gradient: Tensor, held: Tensor, stuck: Tensor) -> Tensor:
    """Minimum of a parabola ``(v, O)`` with what is ``stuck`` at the values ``held``."""
    fixed = torch.where(stuck, held, 0.0)
    wanted = torch.where(stuck, held, gradient - (matrix @ fixed[..., None])[..., 0])
    alone = stuck[:, :, None] | stuck[:, None, :]
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    solution: Tensor = torch.linalg.solve(torch.where(alone, eye, matrix), wanted)
    return solution


def _others(point: _Point, left: Tensor) -> Tensor:
    """Steps ``(v, F)`` of free parameters towards what is ``left``, M0 projected out."""
    own = point.basis[..., point.n_scales :]
    size = point.free.norm(dim=1).clamp_min(torch.finfo(left.dtype).tiny)
    triangle = (own.mT @ (point.free / size[:, None])).triu()
    wanted = own.mT @ left[..., None]
    steps: Tensor = torch.linalg.solve_triangular(triangle, wanted, upper=True)[..., 0] / size
    return steps.nan_to_num(0.0, 0.0, 0.0)


def _real(values: Tensor) -> Tensor:
    """Real above imaginary parts along axis 1, in double precision."""
    return torch.cat([values.real, values.imag], dim=1).double()
