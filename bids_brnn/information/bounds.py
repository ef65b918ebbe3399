"""Fisher information and Cramer-Rao bounds for real parameters and a complex scale M0.

Noise convention: independent Gaussian noise of standard deviation ``sigma`` in each of the real
and the imaginary channel. Parameters are real, so the real part is taken *before* the inverse and
M0 enters as two real columns ``s`` and ``i s`` (projected out analytically).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bids_brnn.information.noise import whitened
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import Amplitude, SignalModel, amplitude_of


def project_out_scale(signal: Tensor, derivatives: Tensor) -> Tensor:
    """Remove from ``derivatives`` ``(..., N, P)`` what a complex change of M0 explains."""
    energy = (signal.abs() ** 2).sum(-1)[..., None]
    overlap = (signal.conj()[..., None, :] @ derivatives)[..., 0, :]
    return derivatives - signal[..., None] * (overlap / energy)[..., None, :]


def fisher_information(
    signal: Tensor, derivatives: Tensor, amplitude: Amplitude = "complex"
) -> Tensor:
    """Fisher information of the parameters at M0 = 1 and ``sigma`` = 1, M0 being unknown.

    Parameters
    ----------
    signal
        ``(..., N)`` complex at M0 = 1.
    derivatives
        ``(..., N, P)`` with respect to real parameters.
    amplitude
        What is unknown of M0. Of real signals a complex M0 takes as much as a real one.

    Returns
    -------
    Tensor
        ``(..., P, P)``, real: ``Re(Jp^H Jp)`` with ``Jp`` orthogonal to ``s`` and ``i s``. This is
        the Schur complement of the M0 block, so its inverse is the parameter block of the inverse
        of the full matrix.
    """
    known = amplitude == "one"
    orthogonal = derivatives if known else project_out_scale(signal, derivatives)
    information: Tensor = (orthogonal.mH @ orthogonal).real
    return information


def inverse_information(information: Tensor) -> Tensor:
    """Inverse of ``(..., P, P)`` after scaling to unit diagonal; infinite where singular."""
    wide = information.to(torch.float64)
    scale = wide.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    outer = scale[..., :, None] * scale[..., None, :]
    eye = torch.eye(wide.shape[-1], dtype=wide.dtype, device=wide.device)
    unit = wide / outer
    finite = torch.isfinite(unit).all(-1).all(-1)
    inverse, info = torch.linalg.inv_ex(torch.where(finite[..., None, None], unit, eye))
    broken = ((info != 0) | ~finite)[..., None, None]
    result: Tensor = torch.where(broken, torch.inf, inverse / outer)
    return result.to(information.dtype)


def covariance(signal: Tensor, derivatives: Tensor, amplitude: Amplitude = "complex") -> Tensor:
    """Cramer-Rao covariance ``(..., P, P)`` at M0 = 1, ``sigma`` = 1; scale by (sigma/|M0|)^2."""
    return inverse_information(fisher_information(signal, derivatives, amplitude))


def images_of(model: SignalModel, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and derivatives, each sample scaled such that the noise of all is that of one image.

    The square root of the number of images averaged; see ``weights_of``.
    """
    signal, derivatives = model.linearize(theta)
    return whitened(model, signal), whitened(model, derivatives, -2)


def efficient_gain(
    signal: Tensor, derivatives: Tensor, amplitude: Amplitude = "complex"
) -> tuple[Tensor, Tensor]:
    """What an efficient estimator makes of small noise, and its covariance.

    To first order in noise ``n`` around ``signal``, maximum likelihood returns
    ``theta + Re(gain @ n)``: unbiased, with the Cramer-Rao covariance. (One Fisher-scoring step
    from the truth; Kay, Fundamentals of Statistical Signal Processing I, 7.5.)

    Parameters
    ----------
    signal
        ``(..., N)`` complex at M0 = 1.
    derivatives
        ``(..., N, P)`` with respect to real parameters.
    amplitude
        What is unknown of M0.

    Returns
    -------
    gain, covariance
        ``(..., P, N)`` complex and ``(..., P, P)`` real, both at M0 = 1; infinite or NaN where a
        parameter cannot be seen.
    """
    known = amplitude == "one"
    orthogonal = derivatives if known else project_out_scale(signal, derivatives)
    inverse = inverse_information((orthogonal.mH @ orthogonal).real)
    gain: Tensor = inverse.to(orthogonal.dtype) @ orthogonal.mH
    return gain, inverse


def cramer_rao_bound(
    model: SignalModel,
    theta: Tensor,
    *,
    over: Literal["free", "all"] = "free",
) -> Tensor:
    """Cramer-Rao bound (variance) of each parameter at M0 = 1, noise sd 1 per channel.

    Parameters
    ----------
    model
        Signal model, compressed or not.
    theta
        ``(..., P)``.
    over
        ``"free"``: parameters whose role is *supplied* are known, their bound is 0; ``"all"``:
        every parameter is unknown.

    Returns
    -------
    Tensor
        ``(..., P)``; multiply by ``(sigma / |M0|)^2``.
    """
    signal, derivatives = images_of(model, theta)
    amplitude = amplitude_of(model)
    if over == "all":
        return covariance(signal, derivatives, amplitude).diagonal(dim1=-2, dim2=-1)
    return known_bound(model.parameters, signal, derivatives, amplitude)


def known_bound(
    parameters: ParameterSet,
    signal: Tensor,
    derivatives: Tensor,
    amplitude: Amplitude = "complex",
) -> Tensor:
    """Cramer-Rao bounds ``(..., P)`` as by :func:`covariance`, supplied parameters being known.

    The bound of what is known is 0.
    """
    free = parameters.columns("estimated", "nuisance")
    matrix = covariance(signal, derivatives[..., free], amplitude)
    found = matrix.diagonal(dim1=-2, dim2=-1)
    bound = found.new_zeros((*found.shape[:-1], len(parameters)))
    bound[..., free] = found
    return bound


def bound_by_rank(
    signal: Tensor, derivatives: Tensor, basis: Tensor, ranks: Sequence[int]
) -> Tensor:
    """Cramer-Rao bounds (variances) when only the leading columns of a basis are kept.

    Parameters
    ----------
    signal, derivatives
        ``(..., N)`` and ``(..., N, P)`` at M0 = 1, with derivatives of all unknown parameters.
    basis
        ``(N, R)`` with orthonormal columns.
    ranks
        Numbers of columns.

    Returns
    -------
    Tensor
        ``(len(ranks), ..., P)``. The square root of its ratio to the diagonal of
        :func:`covariance` is the inflation of the standard deviation, never below 1.
    """
    adjoint = basis.to(signal.dtype).mH
    coefficients = (adjoint @ signal[..., None])[..., 0]
    jacobian = adjoint @ derivatives
    bounds = [
        covariance(coefficients[..., :rank], jacobian[..., :rank, :]).diagonal(dim1=-2, dim2=-1)
        for rank in ranks
    ]
    return torch.stack(bounds)
