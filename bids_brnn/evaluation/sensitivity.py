"""How the expected estimate follows the truth: dE[estimate] / d theta.

An estimator without bias *at* a point may still be deaf to change around it. With the expected
slope ``s = dE[estimate] / d theta`` (and no other parameter mixed in) the Cramer-Rao inequality
reads ``std >= |s| CRB std``, so that ``std / s`` is what compares with the bound: the standard
deviation of the estimate once it is scaled to follow the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.evaluation.moments import EstimatingFunction
from bids_brnn.information.bounds import known_bound
from bids_brnn.information.noise import add_noise
from bids_brnn.signals.base import SignalModel

_SHARE, _LEAST = 0.05, 0.01
"""Half of a difference: of the value, and at least of a tenth of the range of the parameter."""
_RESAMPLED = 200
"""Times that draws are weighted anew: a standard error is then known to 5 %."""


@dataclass(frozen=True)
class Sensitivity:
    """Per fingerprint, over noise realisations; ``B`` fingerprints, ``O`` outputs, ``Q`` moved."""

    own: Tensor
    """``(B, O)``: slope of each estimate with its own parameter."""
    own_error: Tensor
    """``(B, O)``: its standard error."""
    cross: Tensor
    """``(B, O, Q)``: change of each expected estimate in Cramer-Rao standard deviations, when a
    parameter moves by one of its own; the own term is the slope."""
    bias: Tensor
    """``(B, O)``: mean estimate minus truth."""
    std: Tensor
    """``(B, O)``: of the estimates."""
    bound: Tensor
    """``(B, O)``: Cramer-Rao standard deviation."""
    resampled: Resampled
    """What the finite number of draws does to ``own`` and ``std``."""


@dataclass(frozen=True)
class Resampled:
    """Figures of the same draws, each weighted at random: ``(S, B, O)`` of ``S`` weightings.

    Their spread is the sampling error of whatever is computed of them, be it a ratio, a median
    over fingerprints or a deviation that a few draws decide (Bayesian bootstrap, Rubin,
    Ann. Stat. 9:130, 1981).
    """

    own: Tensor
    std: Tensor


def sensitivity(
    estimate: EstimatingFunction,
    model: SignalModel,
    theta: Tensor,
    columns: Sequence[int],
    snr: float,
    *,
    draws: int,
    rng: torch.Generator,
    batch: int = 8192,
) -> Sensitivity:
    """Central differences of the mean estimate, with the same noise on both sides.

    Parameters
    ----------
    estimate
        Estimating function.
    model
        Exact signal model, in the coefficients that ``estimate`` takes.
    theta
        ``(B, P)``; at least a step away from the bounds of the model's parameters.
    columns
        Columns of theta that ``estimate`` returns, ``O`` of them.
    snr
        ``|M0| / sigma``.
    draws
        Noise realisations per fingerprint, at least 2.
    rng
        Source of noise.
    batch
        Estimates at once. Arrays beyond 32 MB are asked of the system anew each time.

    Returns
    -------
    Sensitivity
        ``Q`` are the parameters whose role is not *supplied*, in the order of the model.

    Raises
    ------
    DataError
        If a fingerprint lies on a bound, where there is no change to both sides.
    """
    theta = theta.double()
    moved = list(model.parameters.columns("estimated", "nuisance"))
    steps = _steps(model, theta, moved)
    n, count = len(theta), len(moved)
    shifts = torch.zeros(n, 2 * count + 1, theta.shape[1], dtype=theta.dtype)
    for row, column in enumerate(moved):
        shifts[:, 2 * row, column], shifts[:, 2 * row + 1, column] = steps[:, row], -steps[:, row]
    points = theta[:, None] + shifts
    clean = model(points.reshape(-1, theta.shape[1])).reshape(n, 2 * count + 1, -1)
    signal, derivatives = model.linearize(theta)
    bound = known_bound(model.parameters, signal, derivatives).double().sqrt() / snr
    outputs, zeros = len(columns), torch.zeros(draws, clean.shape[-1], dtype=torch.complex64)
    slopes = theta.new_empty(n, outputs, count)
    own_error, bias, std = (theta.new_empty(n, outputs) for _ in range(3))
    own = [moved.index(column) for column in columns]
    weights = _weights(draws)
    resampled = Resampled(*(theta.new_empty(len(weights), n, outputs) for _ in range(2)))
    for row in range(n):
        noise = add_noise(zeros, snr, rng=rng)
        wide = clean[row, :, None].to(noise.dtype) + noise  # the same noise everywhere
        found = torch.cat(
            [
                estimate(part, where)
                for part, where in zip(
                    wide.reshape(-1, wide.shape[-1]).split(batch),
                    points[row].float().repeat_interleave(draws, 0).split(batch),
                    strict=True,
                )
            ]
        )
        values = found.double().reshape(2 * count + 1, draws, outputs)
        rises = (values[0:-1:2] - values[1:-1:2]) / (2 * steps[row])[:, None, None]
        slopes[row] = rises.mean(1).T
        of_own = rises[own, :, range(outputs)].T
        own_error[row] = of_own.std(0) / draws**0.5
        errors = values[-1] - theta[row, list(columns)]
        bias[row], std[row] = errors.mean(0), errors.std(0)
        resampled.own[:, row], errors = weights @ of_own, errors - bias[row]
        squares, shift = weights @ errors.square(), weights @ errors
        # All draws at one bound: rounding may leave less than nothing.
        resampled.std[:, row] = (squares - shift.square()).clamp_min(0).sqrt()
    return Sensitivity(
        own=slopes[:, range(outputs), own],
        own_error=own_error,
        cross=slopes * bound[:, None, moved] / bound[:, list(columns), None],
        bias=bias,
        std=std,
        bound=bound[:, list(columns)],
        resampled=resampled,
    )


def _weights(draws: int) -> Tensor:
    """``(S, draws)``, sums 1; of a generator of its own, as the noise must not depend on them."""
    rng = torch.Generator().manual_seed(1)
    weights = torch.empty(_RESAMPLED, draws, dtype=torch.float64).exponential_(generator=rng)
    return weights / weights.sum(1, keepdim=True)


def _steps(model: SignalModel, theta: Tensor, moved: Sequence[int]) -> Tensor:
    """Half widths ``(B, Q)`` of the differences."""
    lower, upper = model.parameters.bounds(theta)
    steps = torch.maximum(_SHARE * theta.abs(), 0.1 * _LEAST * (upper - lower))[:, list(moved)]
    room = torch.minimum(theta - lower, upper - theta)[:, list(moved)]
    if bool((room < steps).any()):
        row, place = (room < steps).nonzero()[0].tolist()
        name = model.parameters.names[moved[place]]
        raise DataError(
            f"fingerprint {row}: {name} lies within {float(steps[row, place]):g} of a bound; "
            "its slope cannot be told there"
        )
    return steps
