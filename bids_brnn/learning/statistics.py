"""Bias and variance of estimates over few noise realisations.

Shapes: ``K`` noise realisations of each of ``B`` fingerprints, ``P`` parameters. Estimates are
``(K, B, P)``, the truth ``(B, P)``.

With ``mirrored`` draws, realisation ``k + K/2`` has the negative noise of realisation ``k``. The
part of the estimator that is odd in the noise then drops out of the mean of each pair, so that the
mean over few pairs is known as well as the mean over hundreds of independent draws, and the odd
part alone gives the variance without subtracting a mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bids_brnn.errors import DataError


def squared_bias(
    estimates: Tensor, truth: Tensor, *, unbiased: bool = True, mirrored: bool = False
) -> Tensor:
    """Squared bias ``(B, P)``; single values of the unbiased estimate may be negative.

    ``unbiased``: the mean over all pairs of *different* realisations of the product of their
    errors, whose expectation is the squared bias; equal to (mean error)^2 - s^2 / K.
    """
    errors = estimates - truth
    if mirrored:
        errors = _pairs(errors)[0]
    if not unbiased:
        return errors.mean(0).square()
    return _unbiased_square(errors)


def variance(estimates: Tensor, *, mirrored: bool = False) -> Tensor:
    """Unbiased variance ``(B, P)`` over realisations."""
    if not mirrored:
        return estimates.var(0)
    even, odd = _pairs(estimates)
    return odd.square().mean(0) + even.var(0)


def _unbiased_square(values: Tensor) -> Tensor:
    n = values.shape[0]
    if n < 2:
        raise DataError(
            "the unbiased squared bias needs two independent draws per fingerprint "
            "(four realisations when they are mirrored); raise realisations in the stage"
        )
    return (values.sum(0).square() - values.square().sum(0)) / (n * (n - 1))


def _pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd part in the noise, ``(K/2, B, P)`` each."""
    if values.shape[0] % 2:
        raise DataError("mirrored draws come in pairs; use an even number of realisations")
    plus, minus = values.chunk(2)
    return (plus + minus) / 2, (plus - minus) / 2


def half_variances(estimates: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Variances ``(B, P)`` over the first and over the second half of the realisations."""
    if not mirrored:
        if estimates.shape[0] < 4:
            raise DataError("the unbiased Bias-Reduced loss needs at least four realisations")
        first, second = estimates.tensor_split(2)
        return first.var(0), second.var(0)
    even, odd = _pairs(estimates)
    if even.shape[0] < 2:
        raise DataError("mirrored draws need at least four realisations (two pairs)")
    halves = zip(even.tensor_split(2), odd.tensor_split(2), strict=True)
    first, second = (
        # One pair shows only its odd part, which carries nearly all of the variance.
        odd_half.square().mean(0) + (even_half.var(0) if even_half.shape[0] > 1 else 0)
        for even_half, odd_half in halves
    )
    return first, second


def mirrored_noise(draw: Callable[[int], Tensor], realisations: int, *, mirrored: bool) -> Tensor:
    """Noise of ``realisations`` draws; ``draw(k)`` returns ``k`` independent ones."""
    if not mirrored or realisations == 1:
        return draw(realisations)
    half = draw(realisations // 2)
    return torch.cat([half, -half])
