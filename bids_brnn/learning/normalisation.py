"""The complex scale M0 is removed before a network sees a voxel."""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.learning.spec import Normalisation, Scale


def normalise(coefficients: Tensor, how: Normalisation = "first") -> tuple[Tensor, Tensor]:
    """Remove the complex scale M0 from ``coefficients``.

    Parameters
    ----------
    coefficients
        ``(..., R)`` complex.
    how
        ``"first"`` or ``"norm"``, see :data:`~bids_brnn.learning.spec.Normalisation`.

    Returns
    -------
    scaled, scale
        ``(..., R)`` and ``(...)``, both complex, with ``coefficients = scaled * scale``. A voxel
        whose scale is zero or not finite is NaN in ``scaled``.
    """
    first = coefficients[..., 0]
    if how == "first":
        scale = first
    elif how == "norm":
        size = (coefficients.abs() ** 2).sum(-1).sqrt()
        scale = size * torch.where(first == 0, torch.ones_like(first), torch.sgn(first))
    else:
        raise DataError(f'unknown normalisation "{how}"; use "first" or "norm"')
    valid = torch.isfinite(scale.abs()) & (scale != 0)
    divisor = torch.where(valid, scale, torch.ones_like(scale))
    nan = torch.full_like(coefficients, torch.nan)
    scaled = coefficients / divisor[..., None]
    # The first coefficient is real by definition. Round-off of the division would leave an
    # imaginary part that depends on the phase of M0, and networks standardise their inputs.
    real = torch.complex(scaled[..., :1].real, torch.zeros_like(scaled[..., :1].real))
    scaled = torch.cat([real, scaled[..., 1:]], dim=-1)
    return torch.where(valid[..., None], scaled, nan), scale


def real_inputs(values: Tensor, scale: Scale) -> Tensor:
    """Real ``values`` ``(..., R)`` without the scale M0: of norm 1, or as they are.

    A voxel whose norm is zero or not finite is NaN.
    """
    if scale == "one":
        return values
    size = values.square().sum(-1, keepdim=True).sqrt()
    valid = torch.isfinite(size) & (size > 0)
    scaled = values / torch.where(valid, size, torch.ones_like(size))
    return torch.where(valid, scaled, torch.full_like(scaled, torch.nan))
