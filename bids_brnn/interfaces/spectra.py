"""Z-spectra of some voxels and what each model makes of them, for the page of a participant."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import BidsBrnnError
from bids_brnn.reports.content import Spectra
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.recipe import EstimatorRecipe

if TYPE_CHECKING:
    from bids_brnn.parameters import ParameterSet

    Maps = Mapping[str, NDArray[np.floating]]

_LOG = logging.getLogger("bids_brnn.report")
MOST_VOXELS = 200
"""Evenly spread over the mask: a fraction of a second for each model."""


def spectra_of(
    name: str,
    data: NDArray[np.floating],
    inside: NDArray[np.bool_],
    fits: Mapping[str, tuple[EstimatorRecipe, Maps]],
    supplied: Maps,
) -> Spectra | None:
    """Data of a Z-spectrum, and the signal of each model at its maps; None of what has none.

    Nothing is estimated again: parameters come from the maps, and the amplitude is projected onto
    the data, as in the fit.

    Parameters
    ----------
    name
        Of the series, for messages.
    data
        ``(X, Y, Z, N)``, what was estimated from.
    inside
        ``(X, Y, Z)``: voxels in which every estimator was run.
    fits
        Recipe and estimates ``(X, Y, Z)`` by parameter, by ``desc-`` of the estimator.
    supplied
        Known maps ``(X, Y, Z)`` by parameter.
    """
    sequence = next(iter(fits.values()))[0].sequence
    if not isinstance(sequence, ZSpectrum) or not inside.any():
        return None
    candidates = np.argwhere(inside)
    picks = np.unique(np.linspace(0, len(candidates) - 1, MOST_VOXELS).round().astype(int))
    voxels = candidates[picks]
    measured = data[tuple(voxels.T)].astype(np.float64)
    known = _here(supplied, voxels)
    try:
        fitted = {
            key: _fitted(recipe, sequence, measured, _here(maps, voxels), known)
            for key, (recipe, maps) in fits.items()
        }
    except BidsBrnnError as error:
        _LOG.warning("%s: no Z-spectra on the page: %s", name, error)
        return None
    on = sequence.mt_flip_angle > 0
    offset = np.where(on, sequence.offset, np.nan)
    return Spectra(voxels, offset, np.degrees(sequence.mt_flip_angle), measured, fitted)


def _here(maps: Maps, voxels: NDArray[np.int_]) -> dict[str, NDArray[np.float64]]:
    """Values ``(V,)`` of maps in voxels ``(V, 3)``."""
    return {key: values[tuple(voxels.T)].astype(np.float64) for key, values in maps.items()}


def _fitted(
    fit: EstimatorRecipe,
    sequence: ZSpectrum,
    data: NDArray[np.float64],
    estimates: Maps,
    supplied: Maps,
) -> NDArray[np.float64]:
    """Signal ``(V, N)`` of a model at the maps of an estimator; NaN where there is none."""
    import torch

    recipe = EstimatorRecipe(
        "nlls", fit.model, sequence, model_options=fit.model_options, magnitude=True
    )
    model = recipe.build_model()
    theta = _theta(model.parameters, {**estimates, **supplied}, len(data))
    found = np.full(data.shape, np.nan)
    good = np.isfinite(theta).all(1) & np.isfinite(data).all(1)
    if not good.any():
        return found
    with torch.no_grad():
        signal = model(torch.from_numpy(theta[good])).real.double().numpy()
    weights = np.ones(data.shape[1])
    if sequence.weights is not None:
        weights = np.asarray(sequence.weights)
    scale = np.ones((len(signal), 1))
    if sequence.amplitude == "real":
        power = (weights * signal**2).sum(1, keepdims=True)
        scale = (weights * signal * data[good]).sum(1, keepdims=True) / power
    found[good] = scale * signal
    return found


def _theta(parameters: ParameterSet, maps: Maps, count: int) -> NDArray[np.float64]:
    """Values ``(V, P)``: of supplied maps, else of an estimator, else as usual.

    A supplied parameter is never taken from what was derived of the fit.
    """
    columns = [maps.get(item.name, np.full(count, item.start)) for item in parameters]
    return np.stack(columns, axis=1)
