"""Losses that weigh errors by the Cramer-Rao bound.

Shapes: ``K`` noise realisations of each of ``B`` fingerprints, ``P`` parameters. Estimates are
``(K, B, P)``, the truth and the bound (a variance) ``(B, P)``. For ``mirrored`` draws see
:mod:`bids_brnn.learning.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.learning.statistics import half_variances, squared_bias, variance

LossName = Literal["mse", "mse-crb", "bias-constrained", "bias-reduced", "efficient"]
Gate = Literal["critic", "halves"]


@dataclass(frozen=True)
class Loss:
    """A loss and its options, as written in a training configuration."""

    name: LossName = "bias-reduced"
    weight: float = 1.0
    """``lambda``: of the squared bias (bias-constrained, efficient) or of the variance
    (bias-reduced)."""
    excess: float = 0.0
    """Weight of the variance above ``slack`` (efficient)."""
    slack: float = 1.0
    """``delta``: variance over bound that costs nothing (bias-reduced, efficient)."""
    unbiased: bool = True
    """Remove from the squared bias what the finite number of realisations adds to it."""
    mirrored: bool = True
    """Draw noise in pairs of opposite sign."""
    gate: Gate = "critic"
    """What opens the hinge of the unbiased Bias-Reduced loss: :mod:`bids_brnn.learning.critic`,
    or the sample variance of the other half of the realisations."""

    def __post_init__(self) -> None:
        for value, known in ((self.name, LossName), (self.gate, Gate)):
            if value not in get_args(known):
                raise DataError(f'loss "{value}" is unknown; use {", ".join(get_args(known))}')

    @property
    def needs_critic(self) -> bool:
        """Whether ``expected_variance`` is an input of this loss."""
        if self.name == "efficient":
            return self.excess > 0
        return self.name == "bias-reduced" and self.unbiased and self.gate == "critic"

    @property
    def needs_gain(self) -> bool:
        """Whether ``efficient`` is an input of this loss."""
        return self.name == "efficient"

    @property
    def fewest_realisations(self) -> int:
        """The smallest ``K`` for which this loss is defined."""
        plain = self.name == "efficient" and self.weight == self.excess == 0
        if plain or self.name in ("mse", "mse-crb"):
            return 1
        return 4 if self.mirrored or self.name == "bias-reduced" else 2

    def __call__(
        self,
        estimates: Tensor,
        truth: Tensor,
        bound: Tensor,
        expected_variance: Tensor | None = None,
        efficient: Tensor | None = None,
    ) -> Tensor:
        """Loss ``(P,)`` per parameter, averaged over fingerprints."""
        if self.name == "efficient":
            if efficient is None:
                raise DataError("the efficient loss needs the efficient estimates of the draws")
            loss = efficient_regression(
                estimates, efficient, bound, weight=self.weight, mirrored=self.mirrored
            )
            if expected_variance is None:
                return loss
            spread = variance(estimates, mirrored=self.mirrored) / bound
            return loss + self.excess * _opened(spread, expected_variance, self.slack).mean(0)
        if self.name == "mse":
            return mean_squared_error(estimates, truth)
        if self.name == "mse-crb":
            return weighted_mse(estimates, truth, bound)
        if self.name == "bias-constrained":
            return bias_constrained(
                estimates,
                truth,
                bound,
                weight=self.weight,
                unbiased=self.unbiased,
                mirrored=self.mirrored,
            )
        return bias_reduced(
            estimates,
            truth,
            bound,
            weight=self.weight,
            slack=self.slack,
            unbiased=self.unbiased,
            mirrored=self.mirrored,
            expected_variance=expected_variance,
        )


def mean_squared_error(estimates: Tensor, truth: Tensor) -> Tensor:
    """Plain mean squared error ``(P,)``, in squared units of each parameter."""
    return (estimates - truth).square().mean((0, 1))


def weighted_mse(estimates: Tensor, truth: Tensor, bound: Tensor) -> Tensor:
    """MSE-CRB ``(P,)``: squared error over the bound (Zhang 2022, doi 10.1002/mrm.29206).

    An efficient unbiased estimator scores 1; estimators biased towards the mean score less.
    """
    return ((estimates - truth).square() / bound).mean((0, 1))


def bias_constrained(
    estimates: Tensor,
    truth: Tensor,
    bound: Tensor,
    *,
    weight: float = 1.0,
    unbiased: bool = True,
    mirrored: bool = False,
) -> Tensor:
    """Squared error plus ``weight`` times squared bias, over the bound (arXiv 2110.12403)."""
    bias = squared_bias(estimates, truth, unbiased=unbiased, mirrored=mirrored)
    return weighted_mse(estimates, truth, bound) + weight * (bias / bound).mean(0)


def bias_reduced(
    estimates: Tensor,
    truth: Tensor,
    bound: Tensor,
    *,
    weight: float = 1.0,
    slack: float = 1.0,
    unbiased: bool = True,
    mirrored: bool = False,
    expected_variance: Tensor | None = None,
) -> Tensor:
    """Squared bias plus ``weight`` times the variance above ``slack`` (arXiv 2312.11468).

    Both are divided by the bound. As published (``unbiased=False``) the bias has a floor of the
    variance over ``K`` and the variance is not corrected, so hundreds of realisations are needed.

    With ``unbiased=True`` the squared bias has no floor. The hinge opens where
    ``expected_variance`` exceeds the slack, or, without it, by the variance of one half of the
    realisations while that of the other is charged: a hinge on the noisy variance that it charges
    would also cost estimators that keep below the slack.

    Parameters
    ----------
    estimates, truth, bound
        ``(K, B, P)``, ``(B, P)``, ``(B, P)``.
    weight, slack
        ``lambda`` and ``delta`` of the paper.
    unbiased, mirrored
        See the text of this function and of :mod:`bids_brnn.learning.statistics`.
    expected_variance
        ``(B, P)``: variance over bound by :class:`~bids_brnn.learning.critic.VarianceCritic`.

    Returns
    -------
    Tensor
        ``(P,)``.
    """
    bias = squared_bias(estimates, truth, unbiased=unbiased, mirrored=mirrored) / bound
    if not unbiased:
        spread = estimates.var(0, correction=0) / bound
        return (bias + weight * (spread - slack).clamp_min(0)).mean(0)
    if expected_variance is not None:
        spread = variance(estimates, mirrored=mirrored) / bound
        return (bias + weight * _opened(spread, expected_variance, slack)).mean(0)
    first, second = (part / bound for part in half_variances(estimates, mirrored=mirrored))
    hinge = 0.5 * (
        (first.detach() > slack) * (second - slack) + (second.detach() > slack) * (first - slack)
    )
    return (bias + weight * hinge).mean(0)


def _opened(spread: Tensor, expected: Tensor, slack: float) -> Tensor:
    """A hinge on ``spread`` that opens where its expectation is above ``slack``."""
    return (expected > slack) * (spread - slack)


def efficient_regression(
    estimates: Tensor,
    efficient: Tensor,
    bound: Tensor,
    *,
    weight: float = 0.0,
    mirrored: bool = False,
) -> Tensor:
    """Squared difference to an efficient estimate of the same noise, over the bound ``(P,)``.

    The target is not the truth but ``truth + Re(gain @ noise)``, what an efficient unbiased
    estimator would return for this very draw (``efficient_gain``). A
    regression on the truth learns the posterior mean, which is biased towards the prior; this
    target is, to first order, a function of the noisy data, so that the regression has hardly any
    noise in it and ends at zero for the efficient estimator. One draw per fingerprint suffices.

    Beyond first order (low SNR) there is a bias of second order left; ``weight`` times its
    unbiased square is added, for which ``efficient`` serves as control variate.

    Parameters
    ----------
    estimates, efficient, bound
        ``(K, B, P)``, ``(K, B, P)`` and ``(B, P)``.
    weight
        Of the squared bias; 0 allows a single realisation.
    mirrored
        Whether the draws come in pairs of opposite noise.
    """
    errors = estimates - efficient
    loss: Tensor = errors.square().mean(0)
    if weight > 0:
        # The efficient estimate has no bias: the mean of the difference is that of the estimator.
        nothing = torch.zeros_like(bound)
        loss = loss + weight * squared_bias(errors, nothing, mirrored=mirrored)
    return (loss / bound).mean(0)
