"""From images to the voxels that an estimator is given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import isdefined

from bids_brnn.errors import DataError
from bids_brnn.estimators.run import to_device
from bids_brnn.imaging.grids import load
from bids_brnn.voxels import to_voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_brnn.zoo.recipe import EstimatorRecipe

    Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Voxels:
    """What is known of the voxels of a mask, on one device."""

    mask: Mask
    """``(X, Y, Z)``, true for ``V`` voxels."""
    data: Tensor
    """``(V, R)`` complex."""
    known: dict[str, Tensor] = field(default_factory=dict)
    """``(V,)`` by parameter."""
    spread: dict[str, Tensor] = field(default_factory=dict)
    """Standard deviations of these."""


def voxels_of(inputs: Any, recipe: EstimatorRecipe, mask: Mask) -> Voxels:
    """Data and known maps of the voxels of ``mask``, from the files of an ``EstimateMaps``.

    Raises
    ------
    DataError
        If the shapes do not fit together or the mask is empty.
    UsageError
        If a CUDA device is asked for and there is none.
    """
    path = Path(inputs.coefficients)
    values = masked_voxels(load(path), mask, recipe, path, inputs.num_threads)
    data = to_device(values, inputs.device, inputs.num_threads)
    return Voxels(
        mask,
        data,
        known_maps(inputs.supplied, inputs.supplied_names, recipe.supplied, mask, data),
        known_maps(inputs.spread, inputs.spread_names, recipe.spreads, mask, data),
    )


def known_maps(
    files: Any, names: Any, wanted: Collection[str], mask: NDArray[np.bool_], like: Tensor
) -> dict[str, Tensor]:
    """Values ``(V,)`` inside the mask of the ``wanted`` of some maps, by parameter name.

    None where inputs are undefined.

    Raises
    ------
    DataError
        If a map has another grid than the mask.
    """
    if not isdefined(files):
        return {}
    values = {}
    for name, path in zip(names, files, strict=True):
        if name not in wanted:
            continue
        volume = load(path)
        if volume.shape != mask.shape:
            raise DataError(
                f"{path} has shape {volume.shape}, the series has {mask.shape}; "
                "bring the map to the grid of the series."
            )
        values[name] = like.real.new_tensor(to_voxels(np.asanyarray(volume.dataobj), mask))
    return values


def positions(mask: NDArray[np.bool_], like: Tensor) -> Tensor:
    """Indices ``(V, 3)`` of the voxels of a mask, on the device of ``like``."""
    return like.real.new_tensor(np.argwhere(mask))


def masked_voxels(
    grid: Any, mask: NDArray[np.bool_], recipe: EstimatorRecipe, path: Path, threads: int = 1
) -> NDArray[np.complex64]:
    """Complex values ``(V, R)`` inside the mask.

    Raises
    ------
    DataError
        If the shapes do not fit together or the mask is empty.
    """
    if grid.shape[:3] != mask.shape:
        raise DataError(f"{path.name} is {grid.shape[:3]}, its mask is {mask.shape}.")
    if len(grid.shape) != 4 or grid.shape[3] != recipe.n_values:
        raise DataError(
            f"{path.name} has {grid.shape[3:]} values per voxel; "
            f"pulse train and basis make {recipe.n_values}."
        )
    if not mask.any():
        raise DataError(f"The mask of {path.name} is empty; give another one with --mask.")
    values = to_voxels(np.asanyarray(grid.dataobj), mask, threads)
    return values.astype(np.complex64, copy=False)
