"""Signal-to-noise ratio, noise, and removal of the unknown complex scale.

The signal-to-noise ratio of a voxel is ``|M0| / sigma``: the magnitude of the scale over the
standard deviation of the noise in *each* of the real and the imaginary channel. Signals of all
models are simulated at M0 = 1, and a subspace basis is orthonormal, so white noise of the samples
is white noise of the same ``sigma`` in the coefficients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.signals.base import SignalModel, weights_of


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


def whitened(model: SignalModel, values: Tensor, axis: int = -1) -> Tensor:
    """Samples along ``axis`` times the root of the images averaged in each (1 by default)."""
    weights = weights_of(model)
    if weights is None:
        return values
    root = weights.to(values.device, values.real.dtype).sqrt()
    return values * (root if axis == -1 else root[:, None])


def degrees_of_freedom(amplitude: str, n_values: int, n_free: int) -> int:
    """Of a residual: real values per voxel, less parameters and M0 as far as it is unknown.

    Parameters
    ----------
    amplitude
        ``complex`` (data and M0), ``real`` (both), or ``one`` (real data, M0 = 1).
    n_values
        Values per voxel.
    n_free
        Parameters estimated, without M0.
    """
    per_value, of_m0 = {"complex": (2, 2), "real": (1, 1), "one": (1, 0)}[amplitude]
    return per_value * n_values - of_m0 - n_free


def residual_noise(residual: Tensor, degrees: int) -> Tensor:
    """Noise standard deviation per channel that a residual tells.

    Parameters
    ----------
    residual
        Norm of (data - signal), any shape.
    degrees
        Of freedom, see :func:`degrees_of_freedom`; at least one is assumed.
    """
    level: Tensor = residual / max(degrees, 1) ** 0.5
    return level
