"""How an estimator does in healthy and in changed tissue: bias, spread, slope and coverage.

A set is a dozen fingerprints of one kind of tissue (:data:`bids_brnn.priors.TISSUE_SETS`). What is
printed is per parameter and over the fingerprints of a set: means, medians and the worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimator
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.evaluation.functions import as_measured
from bids_brnn.evaluation.moments import EstimatingFunction
from bids_brnn.evaluation.sensitivity import Sensitivity, sensitivity
from bids_brnn.information.noise import add_noise
from bids_brnn.information.second_order import second_order_bounds
from bids_brnn.priors import TISSUE_SETS, tissue_set
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.zoo.limits import ERROR

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
_NORMAL_95 = 1.959964
_QUANTILES = torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)


@dataclass(frozen=True)
class SetEffort:
    """Fingerprints of a set, and noise draws of each."""

    fingerprints: int = 12
    draws: int = 1000
    levels: Sequence[float] = LEVELS
    second_order: bool = True


def judge_tissue_sets(
    estimate: EstimatingFunction,
    estimator: Estimator | NetworkEstimator | None,
    model: SignalModel,
    columns: Sequence[int],
    *,
    effort: SetEffort | None = None,
    spread: Tensor | None = None,
    seed: int,
    tissues: Iterable[str] = TISSUE_SETS,
) -> dict[str, Any]:
    """Figures by tissue, SNR (as text) and parameter.

    Parameters
    ----------
    estimate
        Estimating function of ``columns``, not clipped to bounds.
    estimator
        The same with its standard deviations, as delivered in maps; None: no coverage.
    model
        Exact signal model.
    columns
        Estimated columns of theta.
    effort
        How many.
    spread
        ``(O,)``: standard deviation of each parameter over what was trained for.
    seed
        Of fingerprints and noise.
    tissues
        Names of the sets.

    Returns
    -------
    dict
        For each parameter ``slope`` (median), ``least_slope``, ``slope_error`` (median standard
        error), ``squared_bias_over_crb`` (mean), ``most_squared_bias_over_crb``, ``std_over_crb``,
        ``std_over_slope`` (both medians, in Cramer-Rao standard deviations), these and the mean
        squared bias with their standard errors by the finite number of draws (``..._error``),
        ``second_order_over_crb`` (median of the root of the second-order bound),
        ``slope_of_prior`` (with ``spread``; median of :func:`slope_of_prior`), ``cross`` (median
        of the largest foreign term), ``coverage`` (mean share of 95 % intervals that hold the
        truth) and ``least_coverage``.
    """
    effort = effort or SetEffort()
    names = [model.parameters.names[column] for column in columns]
    result: dict[str, Any] = {}
    for tissue in tissues:
        rng = torch.Generator().manual_seed(seed)
        theta = tissue_set(model.parameters, tissue, effort.fingerprints, rng=rng)
        least = _second_order(model, theta, columns, effort)
        result[tissue] = {}
        for row, level in enumerate(effort.levels):
            found = sensitivity(
                estimate, model, theta, columns, level, draws=effort.draws, rng=rng
            )
            table = describe(found, names, effort.draws)
            if least is not None:
                over = (least[:, row] / found.bound).median(0).values
                for name, value in zip(names, over, strict=True):
                    table[name]["second_order_over_crb"] = _round(value)
            if spread is not None:
                allowed = slope_of_prior(spread, found.bound).median(0).values
                for name, value in zip(names, allowed, strict=True):
                    table[name]["slope_of_prior"] = _round(value)
            if estimator is not None:
                held = coverage(
                    estimator, model, theta, columns, level, draws=effort.draws, rng=rng
                )
                error = (held * (1 - held)).sum(0).sqrt() / effort.draws**0.5 / len(held)
                for output, name in enumerate(names):
                    table[name]["coverage"] = _round(held[:, output].mean())
                    table[name]["coverage" + ERROR] = _round(error[output])
                    table[name]["least_coverage"] = _round(held[:, output].min())
            result[tissue][f"{level:g}"] = table
    return result


def slope_of_prior(spread: Tensor, std: Tensor) -> Tensor:
    """Slope of the estimator of least error: ``spread^2 / (spread^2 + std^2)``.

    Of a Gaussian prior and a linear problem (Kay, Fundamentals of Statistical Signal Processing I,
    10.3). Below 0.5 the bound exceeds the range of tissue: who follows a change fully there draws
    most voxels beyond that range.

    Parameters
    ----------
    spread
        ``(O,)``: standard deviation of each parameter over tissues.
    std
        ``(..., O)``: the root of its Cramer-Rao bound.
    """
    return spread.square() / (spread.square() + std.square())


def coverage(
    estimator: Estimator | NetworkEstimator,
    model: SignalModel,
    theta: Tensor,
    columns: Sequence[int],
    snr: float,
    *,
    draws: int,
    rng: torch.Generator,
) -> Tensor:
    """``(B, O)``: share of draws whose 95 % interval (1.96 std) holds the truth.

    Parameters
    ----------
    estimator
        Given the noise level.
    model
        Signal model that makes the data of ``theta`` ``(B, P)``.
    columns
        ``O`` columns of theta to look at.
    snr
        ``|M0| / sigma``.
    draws, rng
        Noise realisations of each fingerprint, and their source.
    """
    clean = model(theta.double()).to(torch.complex64).repeat_interleave(draws, 0)
    wide = theta.repeat_interleave(draws, 0)
    supplied = {
        model.parameters.names[column]: wide[:, column].float()
        for column in model.parameters.columns("supplied")
    }
    noisy = as_measured(add_noise(clean, snr, rng=rng), amplitude_of(model))
    found = estimator.estimate(noisy, supplied or None, sigma=1 / snr)
    assert found.std is not None
    chosen = list(columns)
    error = (found.theta[:, chosen] - wide[:, chosen]).abs()
    held = error <= _NORMAL_95 * found.std[:, chosen]
    return held.reshape(len(theta), draws, len(chosen)).double().mean(1)


def _second_order(
    model: SignalModel, theta: Tensor, columns: Sequence[int], effort: SetEffort
) -> Tensor | None:
    """Standard deviations ``(B, levels, O)`` that an unbiased estimator has at least."""
    if not effort.second_order:
        return None
    bounds = [second_order_bounds(model, row, effort.levels) for row in theta]
    return torch.stack(bounds)[..., list(columns)].sqrt()


def describe(found: Sensitivity, names: Sequence[str], draws: int) -> dict[str, Any]:
    """Figures over the fingerprints of a set by parameter, as in :func:`judge_tissue_sets`."""
    std, noise = found.std / found.bound, (found.std / found.bound).square() / draws
    bias = (found.bias / found.bound).square() - noise
    own, again = found.own, found.resampled
    errors = {
        # Of the square of a mean with this noise, by the squared bias that is found.
        "squared_bias_over_crb": (4 * bias.clamp_min(0) * noise + 2 * noise.square()).sum(0).sqrt()
        / len(bias),
        "std_over_crb": _error((again.std / found.bound).median(1).values),
        "std_over_slope": _error((again.std / found.bound / again.own).median(1).values),
    }
    table = {}
    foreign = found.cross.abs()
    for output, name in enumerate(names):
        # The own term of the cross terms is the slope itself.
        is_own = (foreign[:, output] - own[:, output, None].abs()).abs() < 1e-9
        others = torch.where(is_own, 0.0, foreign[:, output]).amax(-1)
        table[name] = {
            "slope": _round(own[:, output].median()),
            "least_slope": _round(own[:, output].min()),
            "slope_error": _round(found.own_error[:, output].median()),
            "squared_bias_over_crb": _round(bias[:, output].mean()),
            "most_squared_bias_over_crb": _round(bias[:, output].max()),
            "std_over_crb": _round(std[:, output].median()),
            "std_over_slope": _round((std[:, output] / own[:, output]).median()),
            "cross": _round(others.median()),
            **{key + ERROR: _round(value[output]) for key, value in errors.items()},
        }
    return table


def _error(resampled: Tensor) -> Tensor:
    """Standard error ``(O,)`` of a figure by its resampled values ``(S, O)``.

    By quantiles, which a ratio with a slope near 0 does not spoil; never too small where chance is
    lopsided, as it is where few draws decide.
    """
    low, middle, high = resampled.quantile(_QUANTILES, dim=0)
    return torch.maximum(high - middle, middle - low) / _NORMAL_95


def lines(sets: Mapping[str, Any]) -> list[str]:
    """Text: one line per tissue, SNR and parameter."""
    head = ("slope", "least", "bias^2/CRB", "most", "std/CRB", "std/slope", "2nd order", "95 % in")
    keys = (
        "slope", "least_slope", "squared_bias_over_crb", "most_squared_bias_over_crb",
        "std_over_crb", "std_over_slope", "second_order_over_crb", "coverage",
    )  # fmt: skip
    rows = ["", f"{'tissue':8}{'SNR':>4} {'':6}" + "".join(f"{word:>11}" for word in head)]
    for tissue, levels in sets.items():
        for level, table in levels.items():
            for name, row in table.items():
                cells = "".join(f"{row.get(key, float('nan')):11.3f}" for key in keys)
                rows.append(f"{tissue:8}{level:>4} {name:6}{cells}")
    return rows


def _round(value: Any) -> float:
    return float(f"{float(value):.4g}")
