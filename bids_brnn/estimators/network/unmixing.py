"""Tissue and fluid in one voxel by a network that knows tissue only.

With the fraction ``f`` given, ``y - M0 f s(fluid)`` is the signal of tissue alone, which the
network estimates as always. The fraction is found by variable projection: from the best of a few
values, by Gauss-Newton steps of the exact signal in which tissue, fields and M0 are projected out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.network.nuisances import least_squares_scale
from bids_brnn.information.bounds import inverse_information, project_out_scale
from bids_brnn.signals.mixture import FluidMixture

_FRACTIONS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85)
_ROUNDS = 2
"""Of M0 at a given fraction: its error falls by the fraction each time."""
_STEPS = 4
_BLOCK = 1024
"""Voxels together: exact signals with all derivatives."""


def unmix(
    network: NetworkEstimator,
    mixture: FluidMixture,
    data: Tensor,
    supplied: Mapping[str, Tensor],
    sigma: Tensor,
    test_noise: Tensor,
) -> tuple[Estimate, Tensor]:
    """Parameters of tissue, and fraction of fluid.

    Parameters
    ----------
    network
        For tissue alone.
    mixture
        Of the exact signal model.
    data
        ``(v, R)`` complex, all of them usable.
    supplied
        Known values ``(v,)`` by parameter.
    sigma
        ``(v,)``: noise per channel, for deviations.
    test_noise
        ``(v,)``: the same, for chi-squared.

    Returns
    -------
    Estimate
        ``theta`` ``(v, P + 1)``, the fraction last; deviations by the Fisher information of
        everything that is not known; ``edge`` in ``quality``.
    Tensor
        ``(v,)``: chi-squared that is left.
    """
    plain = replace(network, spread="none", exact=None, freedom=None)
    parts = []
    for rows in torch.arange(len(data), device=data.device).split(_BLOCK):
        known = {name: values[rows] for name, values in supplied.items()}
        parts.append(_block(plain, mixture, data[rows], known, sigma[rows].double()))
    theta, m0, residual, std, edge, covariance, left = (
        torch.cat(each) for each in zip(*parts, strict=True)
    )
    found = Estimate(theta, m0, residual, std, {"edge": edge}, covariance)
    return found, left * (sigma / test_noise).double().square()


def _block(
    plain: NetworkEstimator,
    mixture: FluidMixture,
    data: Tensor,
    known: Mapping[str, Tensor],
    sigma: Tensor,
) -> tuple[Tensor, ...]:
    wide = data.to(torch.complex128)
    theta, m0, rest = _coarse(plain, mixture, wide, known)
    edge = torch.zeros_like(rest, dtype=torch.int32)
    best = theta, m0, rest, edge
    for _ in range(_STEPS):
        fraction = (theta[:, -1] + _step(mixture, theta, wide, known)).clamp(-0.1, 0.98)
        theta, edge = _tissue(plain, mixture, wide, known, theta, m0, fraction)
        m0, rest = least_squares_scale(mixture(theta), wide)
        lower = rest < best[2]
        best = (
            torch.where(lower[:, None], theta, best[0]),
            torch.where(lower, m0, best[1]),
            torch.where(lower, rest, best[2]),
            torch.where(lower, edge, best[3]),
        )
    theta, m0, rest, edge = best
    covariance, left = _information(mixture, theta, wide, known, sigma)
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    return theta, m0, rest / wide.abs().square().sum(-1).sqrt(), std, edge, covariance, left


def _coarse(
    plain: NetworkEstimator, mixture: FluidMixture, data: Tensor, known: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The best of a few fractions: parameters, M0, and norm of what is left."""
    first = plain.estimate(data, known or None)
    start = torch.cat([first.theta, torch.zeros_like(first.theta[:, :1])], dim=-1)
    m0 = first.m0
    best = start, m0, torch.full_like(first.residual, torch.inf)
    for value in _FRACTIONS:
        theta, scale = start, m0
        fraction = torch.full_like(best[2], value)
        for _ in range(_ROUNDS):
            theta, _edge = _tissue(plain, mixture, data, known, theta, scale, fraction)
            scale, rest = least_squares_scale(mixture(theta), data)
        lower = rest < best[2]
        best = (
            torch.where(lower[:, None], theta, best[0]),
            torch.where(lower, scale, best[1]),
            torch.where(lower, rest, best[2]),
        )
    return best


def _tissue(
    plain: NetworkEstimator,
    mixture: FluidMixture,
    data: Tensor,
    known: Mapping[str, Tensor],
    theta: Tensor,
    m0: Tensor,
    fraction: Tensor,
) -> tuple[Tensor, Tensor]:
    """Parameters ``(v, P + 1)`` of the data without the fluid, and whether they are beyond."""
    fluid = mixture.model(mixture.fluid_theta(theta[:, :-1]))
    found = plain.estimate(data - (m0 * fraction)[:, None] * fluid, known or None)
    tissue = torch.where(found.theta.isfinite(), found.theta, theta[:, :-1])
    return torch.cat([tissue, fraction[:, None]], dim=-1), found.quality["edge"]


def _slopes(
    mixture: FluidMixture, theta: Tensor, data: Tensor, known: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Residual ``(v, 2R)``, derivatives ``(v, 2R, F)`` of what is free, and their spans."""
    own = mixture.parameters
    free = [c for c in own.columns("estimated", "nuisance") if own.names[c] not in known]
    signal, slopes = mixture.linearize(theta)
    m0, _ = least_squares_scale(signal, data)
    lower, upper = own.bounds(theta)
    span = (upper - lower)[free]
    moved = project_out_scale(signal, slopes[..., free]) * m0[:, None, None] * span
    rest = data - m0[:, None] * signal
    return (
        torch.cat([rest.real, rest.imag], 1),
        torch.cat([moved.real, moved.imag], 1),
        torch.tensor(free, device=theta.device),
    )


def _step(
    mixture: FluidMixture, theta: Tensor, data: Tensor, known: Mapping[str, Tensor]
) -> Tensor:
    """Step ``(v,)`` of the fraction to the least-squares solution of everything."""
    rest, moved, _ = _slopes(mixture, theta, data, known)
    normal = moved.mT @ moved
    normal.diagonal(dim1=-2, dim2=-1).add_(
        1e-9 * normal.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None]
    )
    step = torch.linalg.solve(normal, (moved.mT @ rest[..., None])[..., 0])[:, -1]
    lower, upper = mixture.parameters.bounds(theta)
    limited: Tensor = (step * (upper - lower)[-1]).nan_to_num(0.0).clamp(-0.2, 0.2)
    return limited


def _information(
    mixture: FluidMixture,
    theta: Tensor,
    data: Tensor,
    known: Mapping[str, Tensor],
    sigma: Tensor,
) -> tuple[Tensor, Tensor]:
    """Covariance ``(v, P + 1, P + 1)``, and chi-squared ``(v,)`` of the least-squares residual.

    The interval between the bounds counts as knowledge, as in least squares.
    """
    rest, moved, free = _slopes(mixture, theta, data, known)
    rest, moved = rest / sigma[:, None], moved / sigma[:, None, None]
    normal = moved.mT @ moved
    normal.diagonal(dim1=-2, dim2=-1).add_(1.0)
    gradient = (moved.mT @ rest[..., None])[..., 0]
    left = rest.square().sum(-1) - (gradient * torch.linalg.solve(normal, gradient)).sum(-1)
    own = inverse_information(normal)
    n = theta.shape[-1]
    matrix = own.new_zeros((len(own), n, n))
    matrix[:, free[:, None], free] = own
    lower, upper = mixture.parameters.bounds(matrix)
    span = upper - lower
    return matrix * (span[:, None] * span), left


def promise(
    mixture: FluidMixture,
    theta: Tensor,
    data: Tensor,
    known: Mapping[str, Tensor],
    sigma: Tensor,
) -> tuple[Tensor, Tensor]:
    """Chi-squared ``(v,)`` of one compartment, and what a fraction of fluid takes off it.

    Both to first order around ``theta`` ``(v, P)`` (score test); nothing is gained where the
    fraction would be negative.
    """
    parts = [(sigma.new_zeros(0).double(),) * 2]
    for rows in torch.arange(len(data), device=data.device).split(_BLOCK):
        some = {name: values[rows] for name, values in known.items()}
        wide = torch.nn.functional.pad(theta[rows].double(), (0, 1))
        rest, moved, _ = _slopes(mixture, wide, data[rows].to(torch.complex128), some)
        level = sigma[rows].double()
        rest, moved = rest / level[:, None], moved / level[:, None, None]
        normal = moved.mT @ moved
        normal.diagonal(dim1=-2, dim2=-1).add_(1.0)
        gradient = (moved.mT @ rest[..., None])[..., 0]
        both = torch.linalg.solve(normal, gradient)
        own = gradient[:, :-1]
        alone = (own * torch.linalg.solve(normal[:, :-1, :-1], own)).sum(-1)
        gain = torch.where(both[:, -1] > 0, (gradient * both).sum(-1) - alone, 0.0)
        parts.append((rest.square().sum(-1) - alone, gain))
    before, gain = (torch.cat(each) for each in zip(*parts, strict=True))
    return before, gain
