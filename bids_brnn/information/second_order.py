"""What unbiased estimators can reach where the signal bends over the width of the noise.

The Cramer-Rao bound sees only the slope of the signal, and no unbiased estimator attains it at low
SNR when the signal is curved. The bound of Bhattacharyya (Sankhya 8:1, 1946) uses derivatives of
the likelihood of higher orders; here the second, of all parameters and of the complex scale M0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bids_brnn.signals.base import SCALES, Amplitude, SignalModel, amplitude_of

_STEP = 1e-3
"""Of central differences; 3e-4 to 1e-2 change bounds of qMT by less than 0.2 %."""


def second_order_bound(
    signal: Tensor,
    derivatives: Tensor,
    curvatures: Tensor,
    sigma: float,
    amplitude: Amplitude = "complex",
) -> Tensor:
    """Second-order Bhattacharyya bound (variance) of real parameters, M0 = 1 being unknown.

    It holds for every estimator whose bias vanishes at this fingerprint together with its first
    and second derivatives. Never below the Cramer-Rao bound, and equal to it for vanishing noise
    or a linear signal.

    Parameters
    ----------
    signal
        ``(N,)`` complex.
    derivatives
        ``(N, P)`` with respect to real parameters.
    curvatures
        ``(N, P, P)`` second derivatives.
    sigma
        Noise standard deviation per real and imaginary channel.
    amplitude
        What is unknown of M0; signals with a real one are real.

    Returns
    -------
    Tensor
        ``(P,)``; infinite where a parameter cannot be seen.
    """
    seen = (derivatives.abs().amax(0) > 0).nonzero()[:, 0]
    parts = signal, derivatives[:, seen], curvatures[:, seen][..., seen]
    slope, bend = _with_scale(*parts, SCALES[amplitude])
    size = slope.square().sum(0).sqrt() / sigma
    slope = slope / sigma / size
    bend = bend / sigma / size[:, None] / size
    first, second = torch.triu_indices(len(size), len(size), device=size.device)
    pairs = bend[:, first, second]
    information = slope.mT @ slope
    # Covariances of the derivatives of the likelihood over the likelihood: odd moments vanish.
    mixed = slope.mT @ pairs
    of_pairs = (
        information[first[:, None], first] * information[second[:, None], second]
        + information[first[:, None], second] * information[second[:, None], first]
        + pairs.mT @ pairs
    )
    norm = of_pairs.diagonal().sqrt()
    mixed = mixed / norm
    solved = torch.linalg.lstsq(of_pairs / norm / norm[:, None], mixed.mT, driver="gelsd").solution
    inverse, failed = torch.linalg.inv_ex(information - mixed @ solved)
    found = (inverse.diagonal() / size**2)[: len(seen)]
    bound: Tensor = found.new_full((derivatives.shape[-1],), torch.inf)
    bound[seen] = torch.where((found > 0) & (failed == 0), found, torch.inf)
    return bound


def _with_scale(
    signal: Tensor, derivatives: Tensor, curvatures: Tensor, scales: tuple[complex, ...]
) -> tuple[Tensor, Tensor]:
    """Slopes ``(2N, Q)`` and bends ``(2N, Q, Q)`` of real channels of ``M0 s``.

    ``Q`` are the parameters and the unknown parts of M0, whose directions are ``scales``.
    """
    count, whole = derivatives.shape[-1], derivatives.shape[-1] + len(scales)
    slope = torch.cat([derivatives, *(factor * signal[:, None] for factor in scales)], dim=1)
    bend = slope.new_zeros((len(signal), whole, whole))
    bend[:, :count, :count] = curvatures
    for column, factor in enumerate(scales, count):
        bend[:, :count, column] = bend[:, column, :count] = factor * derivatives
    return torch.cat([slope.real, slope.imag]), torch.cat([bend.real, bend.imag])


def second_order_bounds(model: SignalModel, theta: Tensor, snr: Sequence[float]) -> Tensor:
    """:func:`second_order_bound` of a signal model at several SNRs.

    Parameters
    ----------
    model
        Signal model, compressed or not.
    theta
        ``(P,)``; computed in double precision. Parameters whose role is *supplied* are known.
    snr
        Values of ``|M0| / sigma``.

    Returns
    -------
    Tensor
        ``(len(snr), P)`` variances, 0 for supplied parameters.
    """
    theta = theta.double()
    free = list(model.parameters.columns("estimated", "nuisance"))
    lower, upper = model.parameters.bounds(theta)
    steps = _STEP * torch.maximum(theta.abs(), 0.1 * (upper - lower))[free]
    shifts = torch.zeros(len(free), len(theta), dtype=theta.dtype, device=theta.device)
    shifts[range(len(free)), free] = steps
    signal, derivatives = model.linearize(theta[None])
    above = model.linearize(theta + shifts)[1][..., free]
    below = model.linearize(theta - shifts)[1][..., free]
    bend = ((above - below) / (2 * steps[:, None, None])).permute(1, 2, 0)
    bend = (bend + bend.mT) / 2
    bounds = theta.new_zeros((len(snr), len(theta)))
    for row, level in enumerate(snr):
        bounds[row, free] = second_order_bound(
            signal[0], derivatives[0][:, free], bend, 1 / level, amplitude_of(model)
        )
    return bounds
