"""Bias and variance of any estimator against the Cramer-Rao bound, with honest error bars.

Everything is a function of an estimating function ``coefficients (n, R) -> theta (n, outputs)``,
so that networks, fits and matching are judged by the same lines on the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bids_brnn.information.noise import add_noise
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

EstimatingFunction = Callable[[Tensor, Tensor], Tensor]
"""``(coefficients (n, R), theta (n, P)) -> (n, outputs)``; of ``theta`` only supplied columns may
be used."""


@dataclass(frozen=True)
class Moments:
    """Per fingerprint, over noise realisations."""

    bias: Tensor
    """``(B, outputs)``: mean estimate minus truth."""
    variance: Tensor
    """``(B, outputs)``, corrected."""
    bound: Tensor
    """``(B, outputs)`` at the SNR of each fingerprint."""
    draws: int

    @property
    def squared_bias_over_bound(self) -> Tensor:
        """Corrected for the finite number of draws; single values may be negative."""
        return (self.bias.square() - self.variance / self.draws) / self.bound

    @property
    def variance_over_bound(self) -> Tensor:
        """Below 1 only for biased estimators."""
        return self.variance / self.bound


def moments(
    estimate: EstimatingFunction,
    data: TrainingSet,
    columns: Sequence[int],
    snr: Tensor,
    *,
    draws: int,
    rng: torch.Generator,
    batch: int = 8192,
) -> Moments:
    """Bias and variance of ``draws`` independent noise realisations of every fingerprint.

    Parameters
    ----------
    estimate
        Estimating function.
    data
        ``B`` fingerprints.
    columns
        Columns of theta that ``estimate`` returns.
    snr
        ``(B,)``.
    draws
        Realisations per fingerprint, at least 2.
    rng
        Source of randomness.
    batch
        Estimates at once; does not change the draws. Of more than 32 MB the C
        library asks the system for each array anew, which took half of the time.
    """
    truth = data.theta[:, list(columns)].double()
    bound = data.bound[:, list(columns)].double() / snr.double()[:, None] ** 2
    bias, variance = torch.empty_like(truth), torch.empty_like(truth)
    size = max(1, batch // draws)
    for first in range(0, len(data), size):
        rows = slice(first, first + size)
        clean, theta = data.coefficients[rows], data.theta[rows]
        n = clean.shape[0]
        noisy = add_noise(
            clean.repeat_interleave(draws, 0), snr[rows].repeat_interleave(draws), rng=rng
        )
        estimates = estimate(noisy, theta.repeat_interleave(draws, 0))
        # Errors, not values, in double precision: a mean of T2s near 1e-5 keeps its digits.
        errors = estimates.double().reshape(n, draws, -1) - truth[rows][:, None]
        bias[rows], variance[rows] = errors.mean(1), errors.var(1)
    return Moments(bias, variance, bound, draws)


def summarise(found: Moments, names: Sequence[str]) -> dict[str, Any]:
    """Means and distribution over fingerprints, per parameter and over all parameters.

    ``variance_over_crb_error`` is the standard error of the mean: what chance among fingerprints
    and in the draws of each has added.

    Where the bound is infinite (a parameter of a tissue that does not show it) both ratios are 0,
    as in the loss.
    """
    bias, spread = found.squared_bias_over_bound, found.variance_over_bound
    table: dict[str, Any] = {}
    for column, name in enumerate(names):
        table[name] = _describe(bias[:, column], spread[:, column])
    mean_bias, mean_spread = bias.mean(1), spread.mean(1)
    table["all"] = _describe(mean_bias, mean_spread)
    table["all"]["squared_bias_over_crb_standard_error"] = _round(
        mean_bias.std() / len(mean_bias) ** 0.5
    )
    return table


def _describe(bias: Tensor, spread: Tensor) -> dict[str, Any]:
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    return {
        "squared_bias_over_crb": _round(bias.mean()),
        "variance_over_crb": _round(spread.mean()),
        "variance_over_crb_error": _round(spread.std() / len(spread) ** 0.5),
        "squared_bias_over_crb_quantiles": [_round(v) for v in bias.quantile(quantiles)],
        "variance_over_crb_quantiles": [_round(v) for v in spread.quantile(quantiles)],
        "variance_above_1.1": _round((spread > 1.1).double().mean()),
    }


def snr_curves(
    estimate: EstimatingFunction,
    tissue: TrainingSet,
    columns: Sequence[int],
    names: Sequence[str],
    levels: Sequence[float],
    *,
    draws: int,
    rng: torch.Generator,
    unbiased: Tensor | None = None,
) -> dict[str, Any]:
    """Bias % and standard deviation % against SNR for one fingerprint (figure 2 of the paper).

    ``unbiased`` ``(len(levels), outputs)`` are variances by
    :func:`bids_brnn.information.second_order.second_order_bounds`.

    Returns
    -------
    dict
        ``snr`` and per parameter ``bias_percent`` with its standard error, ``std_percent``,
        ``bound_percent`` (Cramer-Rao), ``std_over_bound`` and, with ``unbiased``,
        ``unbiased_percent``: what an unbiased estimator has at least.
    """
    rows = torch.zeros(len(levels), dtype=torch.long)
    found = moments(estimate, tissue[rows], columns, torch.tensor(levels), draws=draws, rng=rng)
    table: dict[str, Any] = {"snr": list(levels), "draws": draws}
    for column, name in enumerate(names):
        value = float(tissue.theta[0, columns[column]])
        std, bound = found.variance[:, column].sqrt(), found.bound[:, column].sqrt()
        table[name] = {
            "truth": value,
            "bias_percent": [_round(v) for v in 100 * found.bias[:, column] / value],
            "bias_percent_standard_error": [_round(v) for v in 100 * std / draws**0.5 / value],
            "std_percent": [_round(v) for v in 100 * std / value],
            "bound_percent": [_round(v) for v in 100 * bound / value],
            "std_over_bound": [_round(v) for v in std / bound],
        }
        if unbiased is not None:
            least = unbiased[:, column].sqrt()
            table[name]["unbiased_percent"] = [_round(v) for v in 100 * least / value]
    return table


def sweep(
    estimate: EstimatingFunction,
    data: TrainingSet,
    swept: int,
    columns: Sequence[int],
    names: Sequence[str],
    snr: float,
    *,
    draws: int,
    rng: torch.Generator,
) -> dict[str, Any]:
    """Bias and spread while one parameter changes (figure 1 of the paper)."""
    levels = torch.full((len(data),), snr)
    found = moments(estimate, data, columns, levels, draws=draws, rng=rng)
    table: dict[str, Any] = {"snr": snr, "swept": [_round(v) for v in data.theta[:, swept]]}
    for column, name in enumerate(names):
        table[name] = {
            "truth": [_round(v) for v in data.theta[:, columns[column]]],
            "bias": [_round(v) for v in found.bias[:, column]],
            "std": [_round(v) for v in found.variance[:, column].sqrt()],
            "bound": [_round(v) for v in found.bound[:, column].sqrt()],
        }
    return table


def in_band(data: TrainingSet, parameters: ParameterSet, fraction: float = 0.6) -> TrainingSet:
    """Tissue with ``|w0|`` below ``fraction`` of its range.

    Of models with two pools it is parenchyma (a semi-solid pool above 1 %); those with one know no
    such difference.
    """
    column = parameters.index(("w0",))[0]
    keep = data.theta[:, column].abs() < fraction * parameters["w0"].upper
    if "m0s" in parameters.names:
        keep &= data.theta[:, parameters.index(("m0s",))[0]] > 0.01
    return data[keep]


def uniform_snr(n: int, snr_range: tuple[float, float], rng: torch.Generator) -> Tensor:
    """``(n,)`` SNRs as in training."""
    low, high = snr_range
    return low + (high - low) * torch.rand(n, generator=rng)


def precision_error(
    one: EstimatingFunction,
    other: EstimatingFunction,
    data: TrainingSet,
    columns: Sequence[int],
    snr: float,
    *,
    rng: torch.Generator,
) -> Mapping[str, float]:
    """Difference of two ways to compute the same estimate, in Cramer-Rao standard deviations.

    Returns ``rms``, the largest root mean square over parameters, over fingerprints whose
    parameters can be seen.
    """
    noisy = add_noise(data.coefficients, snr, rng=rng)
    difference = (one(noisy, data.theta) - other(noisy, data.theta)).double()
    ratio = difference.square() * snr**2 / data.bound[:, list(columns)].double()
    return {"rms": float(ratio.mean(0).max().sqrt()), "mean": float(ratio.mean().sqrt())}


def _round(value: Any) -> float:
    """Four significant digits: more is noise, and cards stay readable."""
    return float(f"{float(value):.4g}")
