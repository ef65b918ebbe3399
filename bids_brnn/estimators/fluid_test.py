"""When a second compartment of fluid is believed: what its fraction takes off chi-squared."""

from __future__ import annotations

from math import sqrt

from scipy.stats import chi2
from torch import Tensor

from bids_brnn.estimators.series_noise import LEAST_FREEDOM, MOST_TOLD, WHITE, series_noise

TAKEN_BY_CHANCE = 0.005
"""Share of voxels of tissue alone for which two compartments are taken."""
GAIN = float(chi2.ppf(1 - 2 * TAKEN_BY_CHANCE, 1))
"""Fall of chi-squared that noise makes in that share: likelihood ratio of one parameter that
cannot be negative, so that half of the voxels gain nothing (Self and Liang 1987,
10.2307/2289471)."""
_SERIES = 500
"""Voxels that tell whether residuals are white: their effective degrees of freedom are known to
a tenth."""


def usual_gain(near: Tensor, gain: Tensor, level: Tensor, degrees: int, limit: float) -> float:
    """What a fraction gains in the middle of the series, in standard deviations.

    Errors of the model may look like fluid, and then every voxel of tissue asks for a little of
    it: the fraction is compared with the middle of what one compartment explains, not with zero
    (Efron 2004, 10.1198/016214504000000089). Only residuals that are no white noise hold such
    errors, and at most as much as all that is not white along one direction.

    Parameters
    ----------
    near
        ``(v,)``: chi-squared of one compartment.
    gain
        ``(v,)``: root of what a fraction takes off it; 0 where it would be negative.
    level
        ``(v,)``: noise per channel.
    degrees
        Of freedom of white noise.
    limit
        Of chi-squared that one compartment explains.
    """
    usable = (near > 0).nonzero()[:, 0]
    if len(usable) < _SERIES or degrees < LEAST_FREEDOM:
        return 0.0
    some = usable[:: max(1, len(usable) // MOST_TOLD)]
    at = near.new_zeros(len(some), 3)
    freedom = series_noise(near[some] * level[some].square(), at, degrees, at).freedom
    usual = gain[usable][near[usable] <= limit]
    if freedom > WHITE * degrees or not len(usual):
        return 0.0
    return min(float(usual.median()), sqrt(largest_variance(degrees, freedom) - 1))


def share_beside_fluid(
    near: Tensor,
    gain: Tensor,
    level: Tensor,
    where: tuple[Tensor, Tensor | None],
    degrees: int,
) -> Tensor:
    """Share ``(V,)`` of a level told by residuals that is left where each voxel may hold fluid.

    What one compartment leaves of a region of mixtures is more than noise, raises the level there
    and hides the region from its own test. It is therefore told again by what two compartments
    leave to first order. Only white residuals tell it: those of an imperfect model lose along
    the direction of fluid more than noise does, everywhere.

    Parameters
    ----------
    near, gain
        ``(v,)``: chi-squared of one compartment, and what a fraction takes off it.
    level
        ``(V,)``: noise per channel that residuals told.
    where
        Rows ``(v,)`` of the voxels, and indices ``(V, 3)`` of all, if known.
    degrees
        Of freedom of white noise.
    """
    rows, places = where
    share = level.new_ones(len(level))
    if len(rows) < _SERIES or degrees < LEAST_FREEDOM:
        return share
    at = level.new_zeros(len(level), 3) if places is None else places
    some = slice(None, None, max(1, len(rows) // MOST_TOLD))
    energy = (near - gain)[some] * level[rows][some].square()
    if not bool((energy > 0).any()):
        return share
    told = series_noise(energy, at[rows][some], degrees - 1, at)
    if told.freedom <= WHITE * (degrees - 1):
        return share
    return (told.sigma.to(level) / level).clamp(max=1)


def largest_variance(degrees: int, freedom: float) -> float:
    """Largest variance of one of ``degrees`` directions, over the mean.

    All others are alike: ``L`` and ``degrees - 1`` times 1 have the effective degrees of freedom
    ``(n - 1 + L)^2 / (n - 1 + L^2)``.
    """
    others = degrees - 1
    root = sqrt(others * freedom * (degrees - freedom))
    largest = (others + root) / (freedom - 1) if freedom > 1 else float(degrees)
    return largest * degrees / (others + largest)
