"""Whether noise explains what a network estimate leaves of the data: chi-squared, voxel by voxel.

The residual at the estimate of a network holds more than noise: the estimate is not exactly that
of least squares, and how far it may be off depends on the tissue. With the error ``delta`` of the
estimate, of variance ``D`` beyond what is efficient, the data are ``y - s = J delta + noise``, and

    T = min over delta of |r - J delta|^2 / sigma^2 + delta^T D^-1 delta

is distributed like chi-squared with the degrees of freedom of a fit. M0 and parameters that the
network does not tell are free. An estimate that is further off than it ever was in training (a
mixture of tissues) is not excused.
"""

from __future__ import annotations

import torch
from scipy.stats import chi2
from torch import Tensor

from bids_brnn.signals.base import Amplitude

FALSE_ALARMS = 0.005
"""Share of voxels that are as in training and exceed the limit."""
_LEAST = 0.25
"""Of the Cramer-Rao bound: even an efficient estimate differs from that of least squares."""


def limit_of(freedom: int) -> float:
    """Value of chi-squared that one in two hundred exceeds."""
    return float(chi2.ppf(1 - FALSE_ALARMS, max(freedom, 1)))


def fit_statistic(
    data: Tensor,
    signal: Tensor,
    told: Tensor,
    free: Tensor,
    std: Tensor,
    sigma: Tensor,
    amplitude: Amplitude = "complex",
) -> Tensor:
    """``T`` of the text above, ``(v,)``.

    Parameters
    ----------
    data, signal
        ``(v, R)`` complex: data, and the exact signal of the estimate at M0 = 1.
    told
        ``(v, R, O)``: derivatives by the parameters that the network tells.
    free
        ``(v, R, F)``: derivatives by all others.
    std
        ``(v, O)``: deviations of what it tells.
    sigma
        ``(v,)``: of the noise, per channel.
    amplitude
        What is unknown of M0. A real one: data and signals are real, with zero imaginary parts.
    """
    if amplitude == "one":
        m0, scales = torch.ones_like(data[:, 0]), free[..., :0]
    else:
        m0 = (signal.conj() * data).sum(-1) / signal.abs().square().sum(-1)
        directions = (1, 1j) if amplitude == "complex" else (1,)
        scales = torch.stack([factor * signal for factor in directions], dim=-1)
    rest = _real(data - m0[:, None] * signal)
    scale = m0[:, None, None]
    others = _real(torch.cat([free * scale, scales], dim=-1))
    others = others / others.norm(dim=1, keepdim=True).clamp_min(torch.finfo(others.dtype).tiny)
    basis = torch.linalg.qr(others).Q
    slopes = _real(told * scale)
    slopes = slopes - basis @ (basis.mT @ slopes)
    rest = rest - (basis @ (basis.mT @ rest[..., None]))[..., 0]
    slopes = slopes / sigma[:, None, None]
    rest = rest / sigma[:, None]
    # In units of the deviations, so that the normal equations are well scaled.
    std = std.to(slopes.dtype)
    slopes = slopes * std[:, None]
    normal = slopes.mT @ slopes
    eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    bound = torch.linalg.inv(normal + 1e-6 * eye).diagonal(dim1=-2, dim2=-1)
    excess = torch.maximum(1 - bound, _LEAST * bound)
    gradient = (slopes.mT @ rest[..., None])[..., 0]
    step = torch.linalg.solve(normal + torch.diag_embed(1 / excess), gradient)
    statistic: Tensor = rest.square().sum(-1) - (gradient * step).sum(-1)
    return statistic


def _real(values: Tensor) -> Tensor:
    """Real above imaginary parts along axis 1, in double precision."""
    return torch.cat([values.real, values.imag], dim=1).double()
