"""Tissue and fluid in one voxel by a network that knows tissue only.

With the fraction ``f`` given, ``y - M0 f s(fluid)`` is the signal of tissue alone, which the
network estimates as always. The fraction is found by variable projection: from the best of a few
values, by Gauss-Newton steps of the exact signal in which tissue, fields and M0 are projected out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.network.nuisances import least_squares_scale
from bids_brnn.information.bounds import inverse_information, project_out_scale
from bids_brnn.signals.mixture import FluidMixture

_FRACTIONS = (0.05, 0.2, 0.35, 0.5, 0.7)
_ROUNDS = 2
"""Of M0 at a given fraction: its error falls by the fraction each time."""
_STEPS = 4
_CLOSE = 0.1
"""Of its standard deviation: a fraction that moves less has been found."""
_PROMISED = 2.0
"""Of chi-squared: the network is no least squares, so that its tissue always leaves a little."""
_BLOCK = 1024
"""Voxels together: exact signals with all derivatives."""


@dataclass(frozen=True)
class _Guess:
    """Two compartments of ``v`` voxels, linearised."""

    theta: Tensor
    """``(v, P + 1)``."""
    m0: Tensor
    """``(v,)`` complex."""
    rest: Tensor
    """``(v,)``: norm of what is left."""
    edge: Tensor
    """``(v,)``: whether the tissue is beyond training."""
    covariance: Tensor
    """``(v, P + 1, P + 1)``: inverse Fisher information of what is not known."""
    left: Tensor
    """``(v,)``: chi-squared at the least-squares solution, to first order."""
    step: Tensor
    """``(v,)``: of the fraction, to that solution."""

    def at(self, rows: Tensor) -> _Guess:
        """Of some voxels."""
        return _Guess(*(getattr(self, item.name)[rows] for item in fields(self)))

    def put(self, rows: Tensor, other: _Guess) -> None:
        """Take the guess of some voxels from another one, where that leaves less."""
        lower = (other.rest < self.rest[rows]).nonzero()[:, 0]
        for item in fields(self):
            getattr(self, item.name)[rows[lower]] = getattr(other, item.name)[lower]


def unmix(
    network: NetworkEstimator,
    mixture: FluidMixture,
    data: Tensor,
    supplied: Mapping[str, Tensor],
    sigma: Tensor,
    test_noise: Tensor,
    spread: Mapping[str, Tensor] | None = None,
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
    spread
        Standard deviations ``(v,)`` of some of the known values, which become part of the others'.

    Returns
    -------
    Estimate
        ``theta`` ``(v, P + 1)``, the fraction last; deviations by the Fisher information of
        everything that is not known; ``edge`` in ``quality``.
    Tensor
        ``(v,)``: chi-squared that is left.
    """
    plain = replace(network, spread="none", exact=None, freedom=None)
    parts, changes = [], []
    for rows in torch.arange(len(data), device=data.device).split(_BLOCK):
        known = {name: values[rows] for name, values in supplied.items()}
        unsure = {name: values[rows] for name, values in (spread or {}).items()}
        wide, level = data[rows].to(torch.complex128), sigma[rows].double()
        parts.append(_block(plain, mixture, wide, known, level))
        changes.append(moved_by(mixture, parts[-1].theta, wide, (known, unsure), level))
    best = _Guess(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(_Guess)))
    moved = torch.cat(changes)
    covariance = best.covariance + moved.mT @ moved
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    residual = best.rest / data.abs().double().square().sum(-1).sqrt()
    found = Estimate(best.theta, best.m0, residual, std, {"edge": best.edge}, covariance)
    return found, best.left * (sigma / test_noise).double().square()


def _block(
    plain: NetworkEstimator,
    mixture: FluidMixture,
    data: Tensor,
    known: Mapping[str, Tensor],
    sigma: Tensor,
) -> _Guess:
    theta, edge = _coarse(plain, mixture, data, known)
    now = _guess(mixture, theta, edge, data, known, sigma)
    best = replace(now, **{item.name: getattr(now, item.name).clone() for item in fields(now)})
    rows = torch.arange(len(data), device=data.device)
    for _ in range(_STEPS):
        # Chi-squared that the step promises, and what it moves the fraction by.
        promised = (now.rest / sigma[rows]).square() - now.left
        far = now.step.abs() > _CLOSE * now.covariance[:, -1, -1].sqrt()
        far |= promised > _PROMISED
        rows, now = rows[far], now.at(far)
        if not len(rows):
            break
        some = {name: values[rows] for name, values in known.items()}
        fraction = (now.theta[:, -1] + now.step).clamp(-0.1, 0.98)
        fluid = (now.m0 * fraction)[:, None] * _fluid(mixture, now.theta[:, :-1])
        found = plain.estimate(data[rows] - fluid, some or None)
        theta = _joined(found.theta, now.theta[:, :-1], fraction)
        now = _guess(mixture, theta, found.quality["edge"], data[rows], some, sigma[rows])
        best.put(rows, now)
    return best


def _coarse(
    plain: NetworkEstimator, mixture: FluidMixture, data: Tensor, known: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """The best of a few fractions: parameters ``(v, P + 1)``, and their edge."""
    first = plain.estimate(data, known or None)
    best = torch.nn.functional.pad(first.theta, (0, 1))
    edge = first.quality["edge"].clone()
    least = torch.full_like(first.residual, torch.inf)
    for value in _FRACTIONS:
        m0, theta = first.m0, first.theta
        fraction = torch.full_like(least, value)
        for _ in range(_ROUNDS):
            fluid = _fluid(mixture, theta[:, : first.theta.shape[-1]])
            found = plain.estimate(data - (m0 * value)[:, None] * fluid, known or None)
            theta = _joined(found.theta, first.theta, fraction)
            m0, rest = least_squares_scale(mixture(theta.float()).to(data.dtype), data)
        lower = rest < least
        best, least = torch.where(lower[:, None], theta, best), torch.where(lower, rest, least)
        edge = torch.where(lower, found.quality["edge"], edge)
    return best, edge


def _fluid(mixture: FluidMixture, tissue: Tensor) -> Tensor:
    """Signal ``(v, R)`` of the fluid in voxels of ``tissue`` ``(v, P)``."""
    return mixture.model(mixture.fluid_theta(tissue).float()).to(torch.complex128)


def _joined(theta: Tensor, instead: Tensor, fraction: Tensor) -> Tensor:
    """Parameters ``(v, P + 1)``; those of before where there are none."""
    tissue = torch.where(theta.isfinite(), theta, instead)
    return torch.cat([tissue, fraction[:, None]], dim=-1)


def _guess(
    mixture: FluidMixture,
    theta: Tensor,
    edge: Tensor,
    data: Tensor,
    known: Mapping[str, Tensor],
    sigma: Tensor,
) -> _Guess:
    """Exact signals at ``theta``, with a step of everything to the least-squares solution.

    The interval between the bounds counts as knowledge, as in least squares.
    """
    free = _free(mixture, known)
    m0, rest, moved = _slopes(mixture, theta, data, free)
    size = rest.norm(dim=1)
    rest, moved = rest / sigma[:, None], moved / sigma[:, None, None]
    normal = moved.mT @ moved
    normal.diagonal(dim1=-2, dim2=-1).add_(1.0)
    gradient = (moved.mT @ rest[..., None])[..., 0]
    step = torch.linalg.solve(normal, gradient)
    left = rest.square().sum(-1) - (gradient * step).sum(-1)
    own = inverse_information(normal)
    n = theta.shape[-1]
    matrix = own.new_zeros((len(own), n, n))
    rows = torch.tensor(free, device=own.device)
    matrix[:, rows[:, None], rows] = own
    lower, upper = mixture.parameters.bounds(matrix)
    span = upper - lower
    further = (step[:, -1] * span[-1]).nan_to_num(0.0).clamp(-0.2, 0.2)
    return _Guess(theta, m0, size, edge, matrix * (span[:, None] * span), left, further)


def _free(mixture: FluidMixture, known: Mapping[str, Tensor]) -> list[int]:
    """Columns of what is not known, the fraction last."""
    own = mixture.parameters
    return [c for c in own.columns("estimated", "nuisance") if own.names[c] not in known]


def _slopes(
    mixture: FluidMixture, theta: Tensor, data: Tensor, columns: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """M0, residual ``(v, 2R)`` and derivatives ``(v, 2R, len(columns))``, M0 projected out.

    Derivatives are in units of the interval between the bounds.
    """
    # Errors of single precision (1e-5 of the signal) are far below any noise.
    signal, slopes = mixture.linearize(theta.float())
    signal, slopes = signal.to(data.dtype), slopes[..., list(columns)].to(data.dtype)
    m0, _ = least_squares_scale(signal, data)
    lower, upper = mixture.parameters.bounds(theta)
    span = (upper - lower)[list(columns)]
    moved = project_out_scale(signal, slopes) * m0[:, None, None] * span
    rest = data - m0[:, None] * signal
    return m0, torch.cat([rest.real, rest.imag], 1), torch.cat([moved.real, moved.imag], 1)


def moved_by(
    mixture: FluidMixture,
    theta: Tensor,
    data: Tensor,
    supplied: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    sigma: Tensor,
) -> Tensor:
    """What one standard deviation of each known value changes, itself included ``(v, C, P + 1)``.

    Where a known value moves the signal, the least-squares solution moves against it.
    """
    known, spread = supplied
    changes = theta.new_zeros((len(theta), len(spread), theta.shape[-1]))
    if not spread:
        return changes
    free, causes = _free(mixture, known), list(mixture.parameters.index(tuple(spread)))
    _, _, moved = _slopes(mixture, theta, data, [*free, *causes])
    moved = moved / sigma[:, None, None]
    own, by = moved[..., : len(free)], moved[..., len(free) :]
    normal = own.mT @ own
    normal.diagonal(dim1=-2, dim2=-1).add_(1.0)
    answer = -torch.linalg.solve(normal, own.mT @ by)
    lower, upper = mixture.parameters.bounds(theta)
    span = upper - lower
    for place, (cause, std) in enumerate(zip(causes, spread.values(), strict=True)):
        share = (std.double() / span[cause])[:, None]
        changes[:, place, free] = answer[..., place] * span[free] * share
        changes[:, place, cause] = std.double()
    return changes


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
        free = _free(mixture, some)
        _, rest, moved = _slopes(mixture, wide, data[rows].to(torch.complex128), free)
        level = sigma[rows].double()
        rest, moved = rest / level[:, None], moved / level[:, None, None]
        normal = moved.mT @ moved
        normal.diagonal(dim1=-2, dim2=-1).add_(1.0)
        gradient = (moved.mT @ rest[..., None])[..., 0]
        both = torch.linalg.solve(normal, gradient)
        own = gradient[:, :-1]
        alone = (own * torch.linalg.solve(normal[:, :-1, :-1], own)).sum(-1)
        fall = ((gradient * both).sum(-1) - alone).clamp_min(0)  # round-off of a difference
        gain = torch.where(both[:, -1] > 0, fall, 0.0)
        parts.append((rest.square().sum(-1) - alone, gain))
    before, gain = (torch.cat(each) for each in zip(*parts, strict=True))
    return before, gain
