"""What an ideal estimator would find in a series: the truth, and how far from it it would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bids_brnn.information.bounds import efficient_gain
from bids_brnn.parameters import Derived, MapItem
from bids_brnn.phantom.anatomy import Array
from bids_brnn.phantom.files import write_image
from bids_brnn.signals.base import SignalModel

if TYPE_CHECKING:
    from bids_brnn.phantom.series import Scan, Series


@dataclass(frozen=True, eq=False)
class Ideal:
    """Truth and Cramer-Rao bound of ``V`` voxels; parameters in the order of the model."""

    theta: Array
    """``(V, P)``, SI units."""
    std: Array
    """``(V, P)``: smallest standard deviation of an unbiased estimate; 0 of what is known."""
    covariance: Array
    """``(V, P, P)``."""
    spread: Mapping[str, Array]
    """``(V,)`` standard deviation of what is supplied, by name."""


def ideal(
    model: SignalModel, theta: Array, sigma: Array, spread: Mapping[str, Array]
) -> Ideal:  # fmt: skip
    """The bound for noisy data and, to first order, noisy maps of what is supplied.

    An error ``e`` of a supplied parameter moves the others like the error ``-e ds/dp`` of the
    signal, and is independent of the noise.

    Parameters
    ----------
    model
        Signal model with ``P`` parameters.
    theta
        ``(V, P)``.
    sigma
        ``(V,)``: noise over the magnitude of M0, per channel.
    spread
        ``(V,)`` standard deviations by supplied parameter.
    """
    signal, derivatives = model.linearize(torch.from_numpy(theta))
    free = model.parameters.columns("estimated", "nuisance")
    gain, noise = efficient_gain(signal, derivatives[..., free])
    std = np.zeros_like(theta)
    std[:, free] = noise.diagonal(dim1=-2, dim2=-1).sqrt().numpy()
    std *= sigma[:, None]
    covariance = np.zeros((*theta.shape, theta.shape[-1]))
    block = np.ix_(range(len(theta)), free, free)
    covariance[block] = noise.numpy() * sigma[:, None, None] ** 2
    for name, deviation in spread.items():
        column = model.parameters.index((name,))[0]
        moved = np.zeros_like(theta)
        moved[:, free] = -(gain @ derivatives[..., column, None])[..., 0].real.numpy()
        moved[:, column] = 1
        moved *= deviation[:, None]
        std = np.hypot(std, moved)
        covariance += moved[:, :, None] * moved[:, None]
    return Ideal(theta, std, covariance, spread)


def derived_map(found: Ideal, derived: Derived, columns: list[int]) -> tuple[Array, Array]:
    """Values ``(V,)`` of a map that follows from parameters, and their standard deviation."""
    parts = [torch.from_numpy(found.theta[:, c].copy()).requires_grad_() for c in columns]
    values = derived.function(*parts)
    slopes = torch.stack(torch.autograd.grad(values.sum(), parts), dim=-1).numpy()
    if len(columns) == 1:
        std = found.std[:, columns[0]] * np.abs(slopes[:, 0])
    else:
        part = found.covariance[:, columns][:, :, columns]
        std = np.sqrt(np.einsum("vp,vpq,vq->v", slopes, part, slopes))
    return values.detach().numpy(), std


def write_truth(folder: Path, stem: str, series: Series, scan: Scan, found: Ideal) -> None:
    """Maps named as the application names its own, with ``desc-truth`` and ``desc-truthStd``."""
    name = f"{stem}_acq-{series.acquisition}"
    inside = scan.labels > 0
    parameters = series.model.parameters
    maps: list[tuple[MapItem, Array, Array | None]] = []
    for column, parameter in enumerate(parameters):
        std = found.std[:, column] if parameter.role == "estimated" else None
        maps.append((parameter.item, found.theta[:, column], std))
        for derived in parameters.maps_of(parameter.name):
            values, spread = derived_map(found, derived, parameters.index(derived.of))
            maps.append((derived.item, values, spread))
    for item, truth, deviation in maps:
        _write_map(folder, name, series, item, "truth", truth, inside, scan.affine)
        if deviation is not None:
            _write_map(folder, name, series, item, "truthStd", deviation, inside, scan.affine)
    write_image(
        folder / "anat" / f"{name}_desc-truth_dseg.nii.gz",
        scan.labels,
        scan.affine,
        {"SkullStripped": True, "Description": "Labels on the grid of the series"},
    )


def _write_map(
    folder: Path,
    name: str,
    series: Series,
    item: MapItem,
    desc: str,
    values: Array,
    inside: NDArray[np.bool_],
    affine: Array,
) -> None:
    volume = np.zeros(inside.shape)
    volume[inside] = values
    middle = ""
    if item.suffix == series.entry.kind.map_suffix:
        middle = f"_model-{series.entry.label}_param-{item.name}"
    words = item.description
    if desc == "truthStd":
        words += ": Cramer-Rao bound (standard deviation) at the truth"
    write_image(
        folder
        / ("fmap" if item.suffix == "TB1map" else "anat")
        / f"{name}{middle}_desc-{desc}_{item.suffix}.nii.gz",
        volume,
        affine,
        {"SkullStripped": True, "Units": item.unit, "Description": words},
    )
