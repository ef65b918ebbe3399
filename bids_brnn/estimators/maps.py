"""From an estimate to the maps that are written: parameters, what follows from them, quality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bids_brnn.maps import MOST_NOISE, Beside, Voxels, quality_maps
from bids_brnn.parameters import MapItem

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate
    from bids_brnn.parameters import Derived, ParameterSet
    from bids_brnn.signals.base import Amplitude


@dataclass(frozen=True)
class NamedMap:
    """One map: ``(V,)`` values, and its standard deviation where it has one."""

    item: MapItem
    values: Tensor
    std: Tensor | None = None
    std_kind: str = "std"
    """A key of :data:`bids_brnn.maps.SPREADS`."""
    bounds: tuple[float, float] | None = None
    kind: Literal["estimate", "flag"] = "estimate"


def signal_to_noise(
    estimate: Estimate,
    data: Tensor,
    parameters: ParameterSet,
    level: float,
    *,
    amplitude: Amplitude = "complex",
    weights: Tensor | None = None,
    fitted: int | None = None,
) -> Tensor:
    """``|M0| / sigma``, ``(V,)``, as networks and bounds define it.

    Parameters
    ----------
    estimate
        Of the voxels ``data`` ``(V, N)``.
    parameters
        Of the model.
    level
        Noise standard deviation per channel; where it is not positive, the residual of each voxel
        tells it.
    amplitude, weights
        Of the model: what is unknown of M0, and averages ``(N,)``.
    fitted
        Values per voxel whose residual this is, where they are fewer than ``N``: a network takes
        the coefficients of time frames.
    """
    m0 = estimate.m0.abs()
    if level > 0:
        return m0 / level
    return m0 / residual_sigma(
        estimate, data, parameters, amplitude=amplitude, weights=weights, fitted=fitted
    )


def residual_sigma(
    estimate: Estimate,
    data: Tensor,
    parameters: ParameterSet,
    *,
    amplitude: Amplitude = "complex",
    weights: Tensor | None = None,
    fitted: int | None = None,
) -> Tensor:
    """Noise per channel ``(V,)`` that the residual of each voxel tells; see above."""
    from bids_brnn.information.noise import degrees_of_freedom, residual_noise

    free = len(parameters.columns("estimated", "nuisance"))
    energy = data.abs().square()
    if weights is not None:
        energy = energy * weights.to(energy)
    degrees = degrees_of_freedom(amplitude, fitted or data.shape[-1], free)
    return residual_noise(estimate.residual * energy.sum(-1).sqrt(), degrees)


def noise_share(data: Tensor, level: float, amplitude: Amplitude) -> Tensor | None:
    """Energy of noise of ``level`` per channel in that of ``data`` ``(V, N)``; None: unknown."""
    if not level > 0:
        return None
    channels = 2 if amplitude == "complex" else 1
    energy = data.abs().square().sum(-1)
    share: Tensor = channels * data.shape[-1] * level**2 / energy
    return share.clamp(max=MOST_NOISE)


def named_maps(
    estimate: Estimate,
    parameters: ParameterSet,
    suffix: str,
    snr: Tensor | None = None,
    beside: Beside | None = None,
) -> Iterator[NamedMap]:
    """Maps of an estimate, in the order of the parameters.

    Parameters
    ----------
    estimate
        Result for ``V`` voxels.
    parameters
        Of the columns of ``estimate.theta``; those estimated become maps, and what follows from
        them.
    suffix
        ``QMTmap`` or ``MRFmap``, for quality measures.
    snr
        ``(V,)``, from :func:`signal_to_noise`.
    beside
        What data and noise tell beside.
    """
    for column, parameter in enumerate(parameters):
        if parameter.role == "estimated":
            std = None if estimate.std is None else estimate.std[:, column]
            bounds = (parameter.lower, parameter.upper)
            kind = estimate.std_kind
            yield NamedMap(parameter.item, estimate.theta[:, column], std, kind, bounds)
        for derived in parameters.maps_of(parameter.name):
            values, std = propagated(derived, estimate, parameters)
            kind = estimate.std_kind
            yield NamedMap(derived.item, values, std, kind, derived.range(parameters))
    voxels = as_voxels(estimate, parameters, snr, beside)
    for entry in quality_maps().values():
        found = entry.values(voxels)
        if found is not None:
            item = entry.item(suffix)
            words = voxels.beside.words.get(entry.name)
            if words:
                item = replace(item, description=f"{item.description}; {words}")
            yield NamedMap(item, found, kind=entry.kind)


def propagated(
    derived: Derived, estimate: Estimate, parameters: ParameterSet
) -> tuple[Tensor, Tensor | None]:
    """A derived map ``(V,)`` and its standard deviation, propagated to first order.

    ``var f = g^T C g`` with the gradient ``g`` of the function and the covariance ``C`` of what it
    follows from. Of several parameters there is a standard deviation only where their covariance
    is known.
    """
    import torch

    columns = parameters.index(derived.of)
    with torch.enable_grad():
        parts = [estimate.theta[:, column].detach().clone().requires_grad_() for column in columns]
        values = derived.function(*parts)
        slopes = torch.stack(torch.autograd.grad(values.sum(), parts), dim=-1)
    values = values.detach()
    if len(columns) == 1 and estimate.std is not None:
        return values, slopes[:, 0].abs() * estimate.std[:, columns[0]]
    if estimate.covariance is None:
        return values, None
    part = estimate.covariance[:, columns][:, :, columns].to(slopes.dtype)
    variance = (slopes[:, None] @ part @ slopes[..., None])[:, 0, 0]
    return values, variance.clamp_min(0).sqrt()


def as_voxels(
    estimate: Estimate,
    parameters: ParameterSet,
    snr: Tensor | None = None,
    beside: Beside | None = None,
) -> Voxels:
    """An estimate as the maps of :mod:`bids_brnn.maps` take it."""
    return Voxels(
        estimate.theta,
        estimate.m0,
        estimate.residual,
        estimate.quality,
        parameters,
        snr,
        Beside() if beside is None else beside,
    )
