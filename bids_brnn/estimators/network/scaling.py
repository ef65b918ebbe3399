"""Data as a network takes them, and values as they are given back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bids_brnn.signals.base import Amplitude


def unit_coefficients(
    data: Tensor, rotation: Tensor | None, amplitude: Amplitude = "complex"
) -> tuple[Tensor, Tensor]:
    """Coefficients in the basis of training (complex64), and what they were divided by ``(v,)``.

    That is their norm, or nothing where M0 is known.
    """
    if amplitude == "one":
        plain = data.to(torch.complex64)
        plain = plain if rotation is None else plain @ rotation.to(plain)
        return plain, data.real.new_ones(len(data))
    channels = torch.view_as_real(data.resolve_conj())
    # A power of two first, which is exact, so that squares stay in the range of numbers.
    largest = channels.abs().amax((-1, -2))
    power = largest / (2 * torch.frexp(largest).mantissa)
    data = torch.view_as_complex(channels / power[:, None, None])
    size = data.abs().square().sum(-1).sqrt()
    unit = (data / size[:, None]).to(torch.complex64)
    if rotation is not None:
        unit = unit @ rotation.to(unit)
    return unit, size * power


def with_known(theta: Tensor, known: Mapping[int, Tensor]) -> Tensor:
    """``theta`` with known values as they were given, in their precision."""
    wide = theta.double()
    for column, values in known.items():
        wide[:, column] = values
    return wide
