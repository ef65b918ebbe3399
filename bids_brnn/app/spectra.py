"""Z-spectra of some voxels and what each model makes of them, for the page of a participant."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import BidsBrnnError
from bids_brnn.reports.content import EstimatorView, SeriesView, Spectra
from bids_brnn.sequences.z_spectrum import ZSpectrum

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition
    from bids_brnn.parameters import ParameterSet
    from bids_brnn.signals.base import SignalModel

_LOG = logging.getLogger("bids_brnn.report")
_MOST_VOXELS = 200
"""Evenly spread over the mask: about a second for each series and model."""


def spectra_of(acquisition: Acquisition, view: SeriesView) -> Spectra | None:
    """Data of a Z-spectrum, and the signal of each model at its maps; None for other series.

    Nothing is estimated again: parameters come from the maps, and the amplitude is projected onto
    the data, as in the fit.
    """
    sequence = acquisition.sequence
    if not isinstance(sequence, ZSpectrum) or not view.mask.any():
        return None
    try:
        return _spectra(acquisition, sequence, view)
    except BidsBrnnError as error:
        _LOG.warning("%s: no Z-spectra on the page: %s", acquisition.name, error)
        return None


def _spectra(acquisition: Acquisition, sequence: ZSpectrum, view: SeriesView) -> Spectra:
    from bids_brnn.bids.images import read_coefficients

    # Of a reference in a sample of the voxels, those that it was run in.
    runs = [one for item in view.estimators if item.sample for one in item.quality]
    parts = [np.isfinite(one.values) for one in runs if one.name == "flags"]
    inside = np.argwhere(np.logical_and.reduce([view.mask, *parts]))
    picks = np.unique(np.linspace(0, len(inside) - 1, _MOST_VOXELS).round().astype(int))
    chosen = inside[picks]
    to_file = np.linalg.inv(view.file_affine) @ view.affine
    voxels = np.rint(chosen @ to_file[:3, :3].T + to_file[:3, 3]).astype(int)
    data = read_coefficients(acquisition).data.real[tuple(voxels.T)].astype(np.float64)
    on = sequence.mt_flip_angle > 0
    return Spectra(
        voxels=voxels,
        offset=np.where(on, sequence.offset, np.nan),
        angle=np.degrees(sequence.mt_flip_angle),
        measured=data,
        fitted={
            item.key: _fitted(acquisition, sequence, view, item, chosen, data)
            for item in view.estimators
        },
    )


def _fitted(
    acquisition: Acquisition,
    sequence: ZSpectrum,
    view: SeriesView,
    item: EstimatorView,
    chosen: NDArray[np.int_],
    data: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Signal ``(V, N)`` of the model of one estimator at its maps; NaN where there is none."""
    import torch

    from bids_brnn.estimators.registry import variants

    of_variant = variants().get(item.key)
    name = acquisition.model if of_variant is None else of_variant[1].name
    model = _model(name, sequence)
    theta = _theta(model.parameters, view, item, chosen)
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


_MODELS: dict[tuple[str, str], SignalModel] = {}
"""By name and digest of the protocol, for all participants: their tables take seconds."""


def _model(name: str, sequence: ZSpectrum) -> SignalModel:
    from bids_brnn.zoo.recipe import EstimatorRecipe

    key = name, sequence.digest
    if key not in _MODELS:
        recipe = EstimatorRecipe(estimator="nlls", model=name, sequence=sequence, magnitude=True)
        _MODELS[key] = recipe.build_model()
    return _MODELS[key]


def _theta(
    parameters: ParameterSet, view: SeriesView, item: EstimatorView, chosen: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Values ``(V, P)``: of the maps of an estimator, else of supplied maps, else as usual."""
    maps: dict[str, Any] = {one.name: one.values for one in view.supplied}
    maps |= {one.name: one.values for one in item.estimates}
    columns = []
    for parameter in parameters:
        # A supplied parameter is never taken from what was derived of the fit.
        supplied = [one.values for one in view.supplied if one.name == parameter.name]
        values = supplied[0] if supplied else maps.get(parameter.name)
        if values is None:
            columns.append(np.full(len(chosen), parameter.start))
        else:
            columns.append(np.asarray(values, np.float64)[tuple(chosen.T)])
    return np.stack(columns, axis=1)
