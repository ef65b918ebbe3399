"""Data as a network takes them, and values as they are given back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bids_brnn.estimators.ahead import one_thread
from bids_brnn.signals.base import Amplitude


def unit_coefficients(
    data: Tensor, rotation: Tensor | None, amplitude: Amplitude = "complex"
) -> tuple[Tensor, Tensor]:
    """Coefficients of unit norm in the basis of training (complex64), and their norms ``(v,)``.

    Complex data are divided by their own norm, real ones by that in the basis of
    training, or by nothing where M0 is known.
    """
    if amplitude == "one":
        return turned(data.to(torch.complex64), rotation), data.real.new_ones(len(data))
    channels = torch.view_as_real(data.resolve_conj())
    # A power of two first, which is exact, so that squares stay in the range of numbers.
    largest = channels.abs().amax((-1, -2))
    power = largest / (2 * torch.frexp(largest).mantissa)
    data = torch.view_as_complex(channels / power[:, None, None])
    if amplitude == "real":  # images that are averages count as many
        data = turned(data, rotation)
    size = data.abs().square().sum(-1).sqrt()
    unit = (data / size[:, None]).to(torch.complex64)
    return unit if amplitude == "real" else turned(unit, rotation), size * power


def whole_norm(coefficients: Tensor, amplitude: Amplitude) -> Tensor:
    """Norm of scaled data ``(v,)``; of complex ones, what the basis does not hold included."""
    if amplitude == "complex":
        return coefficients.real.new_ones(len(coefficients))
    return coefficients.abs().square().sum(-1).sqrt()


def turned(values: Tensor, rotation: Tensor | None) -> Tensor:
    """Values ``(..., R')`` in the basis of training; the same bits with any number of threads."""
    if rotation is None:
        return values
    with one_thread():
        return values @ rotation.to(values)


def with_known(theta: Tensor, known: Mapping[int, Tensor]) -> Tensor:
    """``theta`` with known values as they were given, in their precision."""
    wide = theta.double()
    for column, values in known.items():
        wide[:, column] = values
    return wide
