"""Signal-to-noise ratio, noise, and removal of the unknown complex scale.

The signal-to-noise ratio of a voxel is ``|M0| / sigma``: the magnitude of the scale over the
standard deviation of the noise in *each* of the real and the imaginary channel. Signals of all
models are simulated at M0 = 1, and a subspace basis is orthonormal, so white noise of the samples
is white noise of the same ``sigma`` in the coefficients.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bids_brnn.errors import DataError

Normalisation = Literal["first", "norm"]
"""``first``: divide by the first coefficient. ``norm``: divide by the norm and by the phase of
the first coefficient, which stays defined where the first coefficient is small."""


def add_noise(coefficients: Tensor, snr: float | Tensor, *, rng: torch.Generator) -> Tensor:
    """Add complex white noise to signals at M0 = 1.

    Parameters
    ----------
    coefficients
        ``(..., R)`` complex, coefficients or samples at M0 = 1.
    snr
        ``|M0| / sigma``, a number or a tensor that broadcasts to ``(...)``.
    rng
        Source of randomness, on the device of ``coefficients``.

    Returns
    -------
    Tensor
        ``coefficients`` plus noise of standard deviation ``1 / snr`` per channel.

    Raises
    ------
    DataError
        If an SNR is not positive or the coefficients are not complex.
    """
    if not coefficients.is_complex():
        raise DataError("noise is complex: coefficients must be complex, not real or magnitude")
    ratio = torch.as_tensor(snr, dtype=coefficients.real.dtype, device=coefficients.device)
    if not bool((ratio > 0).all()):
        raise DataError(f"the SNR |M0|/sigma must be positive, got {float(ratio.min()):g}")
    channels = torch.randn(
        (*coefficients.shape, 2),
        generator=rng,
        dtype=coefficients.real.dtype,
        device=coefficients.device,
    )
    return coefficients + torch.view_as_complex(channels) / ratio[..., None]


def residual_noise(residual: Tensor, n_values: int, n_free: int, *, channels: int = 2) -> Tensor:
    """Noise standard deviation per channel that a residual tells.

    Parameters
    ----------
    residual
        Norm of (data - signal), any shape.
    n_values
        Values per voxel.
    n_free
        Parameters estimated; the scale M0 is counted here, one per channel.
    channels
        2 for complex values, 1 for magnitudes.

    Returns
    -------
    Tensor
        Of the same shape; at least one degree of freedom is assumed.
    """
    level: Tensor = residual / max(channels * (n_values - 1) - n_free, 1) ** 0.5
    return level


def normalise(coefficients: Tensor, how: Normalisation = "first") -> tuple[Tensor, Tensor]:
    """Remove the complex scale M0 from ``coefficients``.

    Parameters
    ----------
    coefficients
        ``(..., R)`` complex.
    how
        ``"first"`` or ``"norm"``, see :data:`Normalisation`.

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
