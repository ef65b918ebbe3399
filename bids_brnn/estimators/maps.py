"""From an estimate to the maps that are written: parameters, derived times, quality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bids_brnn.maps import Voxels, quality_maps
from bids_brnn.parameters import TIMES, MapItem

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate
    from bids_brnn.parameters import ParameterSet


@dataclass(frozen=True)
class NamedMap:
    """One map: ``(V,)`` values, and its standard deviation where it has one."""

    item: MapItem
    values: Tensor
    std: Tensor | None = None
    bounds: tuple[float, float] | None = None
    kind: Literal["estimate", "flag"] = "estimate"


def signal_to_noise(
    estimate: Estimate,
    data: Tensor,
    parameters: ParameterSet,
    level: float,
    *,
    channels: int = 2,
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
    channels
        2 for complex data, 1 for magnitudes.
    """
    m0 = estimate.m0.abs()
    if level > 0:
        return m0 / level
    return m0 / residual_sigma(estimate, data, parameters, channels=channels)


def residual_sigma(
    estimate: Estimate, data: Tensor, parameters: ParameterSet, *, channels: int = 2
) -> Tensor:
    """Noise per channel ``(V,)`` that the residual of each voxel tells; see above."""
    from bids_brnn.information.noise import residual_noise

    free = len(parameters.columns("estimated", "nuisance"))
    size = data.abs().square().sum(-1).sqrt()
    return residual_noise(estimate.residual * size, data.shape[-1], free, channels=channels)


def named_maps(
    estimate: Estimate, parameters: ParameterSet, suffix: str, snr: Tensor | None = None
) -> Iterator[NamedMap]:
    """Maps of an estimate, in the order of the parameters.

    Parameters
    ----------
    estimate
        Result for ``V`` voxels.
    parameters
        Of the columns of ``estimate.theta``; those estimated become maps.
    suffix
        ``QMTmap`` or ``MRFmap``, for quality measures.
    snr
        ``(V,)``, from :func:`signal_to_noise`.
    """
    for column in parameters.columns("estimated"):
        parameter = parameters.items[column]
        values = estimate.theta[:, column]
        std = None if estimate.std is None else estimate.std[:, column]
        bounds = (parameter.lower, parameter.upper)
        yield NamedMap(parameter.item, values, std, bounds)
        if parameter.name in TIMES and parameter.item.suffix != suffix:
            # First-order propagation: sd(1/R) = sd(R) / R^2.
            spread = None if std is None else std / values**2
            turned = (1 / parameter.upper, 1 / parameter.lower)
            yield NamedMap(TIMES[parameter.name], 1 / values, spread, turned)
    voxels = as_voxels(estimate, parameters, snr)
    for entry in quality_maps().values():
        found = entry.values(voxels)
        if found is not None:
            yield NamedMap(entry.item(suffix), found, kind=entry.kind)


def as_voxels(estimate: Estimate, parameters: ParameterSet, snr: Tensor | None = None) -> Voxels:
    """An estimate as the maps of :mod:`bids_brnn.maps` take it."""
    return Voxels(
        estimate.theta, estimate.m0, estimate.residual, estimate.quality, parameters, snr
    )
