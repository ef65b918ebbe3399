"""From an estimate to the maps that are written: names, units and derived quantities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bids_brnn.parameters import MapItem

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate
    from bids_brnn.parameters import ParameterSet

M0 = MapItem("M0", "arbitrary", "M0map", "Magnitude of the equilibrium magnetization")
T1 = MapItem("T1", "s", "T1map", "Longitudinal relaxation time", (0.0, 2.5))
T2 = MapItem("T2", "s", "T2map", "Transverse relaxation time", (0.0, 0.2))
_RESIDUAL = "Norm of the difference between data and fit over the norm of the data"
_DISTANCE = "Distance from what the network was trained on; above 1 do not trust the estimate"
_MATCH = "Normalized inner product of the data and the best dictionary entry"

_SNR = "Magnitude of M0 over the noise standard deviation in each channel (real, imaginary)"
FLAGS: Mapping[int, str] = {
    1: "no estimate",
    2: "a parameter lies on a bound",
    4: "the iterations of the least-squares fit did not converge",
    8: "the voxel lies outside of what the network was trained on (distance above 1)",
    16: "the match with the dictionary is below 0.9",
}
"""Meaning of the bits of a flag map; 0 is a voxel without doubt."""
LEAST_MATCH = 0.9
"""Below it about a fifth of the energy of the signal, or more, is not explained."""
_NEAR_BOUND = 1e-6  # of the interval, as in the least-squares fit itself

INVERSES: Mapping[str, MapItem] = {"R1": T1, "R2": T2}
"""Rates of a single-pool model that users also want as times."""


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
    from bids_brnn.information.noise import residual_noise

    m0 = estimate.m0.abs()
    if level > 0:
        return m0 / level
    free = len(parameters.columns("estimated", "nuisance"))
    size = data.abs().square().sum(-1).sqrt()
    sigma = residual_noise(estimate.residual * size, data.shape[-1], free, channels=channels)
    return m0 / sigma


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
        if parameter.name in INVERSES and parameter.item.suffix != suffix:
            # First-order propagation: sd(1/R) = sd(R) / R^2.
            spread = None if std is None else std / values**2
            turned = (1 / parameter.upper, 1 / parameter.lower)
            yield NamedMap(INVERSES[parameter.name], 1 / values, spread, turned)
    yield NamedMap(M0, estimate.m0.abs())
    if "match" in estimate.quality:
        item = MapItem("match", "1", suffix, _MATCH, (0.9, 1.0))
        yield NamedMap(item, estimate.quality["match"])
    else:
        item = MapItem("relres", "1", suffix, _RESIDUAL, (0.0, 0.1))
        yield NamedMap(item, estimate.residual)
    if "distance" in estimate.quality:
        item = MapItem("distance", "1", suffix, _DISTANCE, (0.0, 2.0))
        yield NamedMap(item, estimate.quality["distance"])
    if snr is not None:
        yield NamedMap(MapItem("snr", "1", suffix, _SNR), snr)
    words = "Reasons to doubt a voxel, the sum of: " + "; ".join(
        f"{bit} {text}" for bit, text in FLAGS.items()
    )
    item = MapItem("flags", "1", suffix, words, (0.0, 16.0))
    yield NamedMap(item, flags(estimate, parameters), kind="flag")


def flags(estimate: Estimate, parameters: ParameterSet) -> Tensor:
    """Sum of the :data:`FLAGS` of each voxel ``(V,)``, whole numbers in the type of the data."""
    from bids_brnn.estimators.nlls.solver import ITERATION_LIMIT, STALLED

    free = parameters.columns("estimated", "nuisance")
    unit = parameters.to_unit(estimate.theta)[:, free]
    estimated = estimate.theta[:, parameters.columns("estimated")]
    raised = {
        1: ~estimated.isfinite().all(-1),
        2: ((unit <= _NEAR_BOUND) | (unit >= 1 - _NEAR_BOUND)).any(-1),
    }
    quality = estimate.quality
    if "stop" in quality:
        raised[4] = (quality["stop"] == ITERATION_LIMIT) | (quality["stop"] == STALLED)
    if "distance" in quality:
        raised[8] = quality["distance"] > 1
    if "match" in quality:
        raised[16] = quality["match"] < LEAST_MATCH
    total = estimate.residual.new_zeros(estimate.residual.shape)
    for bit, where in raised.items():
        total = total + bit * where
    return total
