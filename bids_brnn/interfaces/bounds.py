"""What the protocol of a series can measure of usual tissue, for the page of a participant."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.input.declared import number
from bids_brnn.errors import BidsBrnnError
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.reports.content import NOT_IN_FLUID, Bound, Bounds
from bids_brnn.zoo.recipe import EstimatorRecipe

_LOG = logging.getLogger("bids_brnn.report")
_USUAL_SNR = 40.0
_FLUID = "CSF"


def bounds_of(
    series: SeriesRecord,
    recipe: EstimatorRecipe,
    snr: Sequence[NDArray[np.float64]],
    maps: Sequence[str],
) -> Bounds | None:
    """Cramer-Rao and second-order bounds in usual tissue, at the SNR of the maps.

    Known is what maps were supplied of; samples are those that were estimated from (coefficients
    where there is a basis). None where the model cannot be evaluated.

    Parameters
    ----------
    series
        Of the metadata the field strength is read.
    recipe
        Of any estimator of its signal model.
    snr
        Values ``(V,)`` of ``|M0| / sigma`` of each estimator, the first one that has any counts.
    maps
        Parameters of which maps were supplied.
    """
    try:
        return _bounds(recipe, *_snr(snr), maps, series.metadata, series.name)
    except BidsBrnnError as error:
        _LOG.warning("%s: no bounds on the page: %s", series.name, error)
        return None


def _bounds(
    of_estimator: EstimatorRecipe,
    snr: float,
    measured: bool,
    maps: Sequence[str],
    metadata: Mapping[str, Any],
    name: str,
) -> Bounds:
    import torch

    from bids_brnn.information.averaged import Whitened
    from bids_brnn.information.bounds import cramer_rao_bound
    from bids_brnn.information.second_order import second_order_bounds
    from bids_brnn.priors import TISSUES, tissue_values
    from bids_brnn.priors.tissues import FIELD_STRENGTH
    from bids_brnn.signals.registry import models

    recipe = EstimatorRecipe(
        estimator=models()[of_estimator.model].reference,
        model=of_estimator.model,
        sequence=of_estimator.sequence,
        basis=of_estimator.basis,
        model_options=of_estimator.model_options,
        supplied=tuple(maps),
        magnitude=of_estimator.magnitude,
    )
    model = recipe.build_model()
    said = number(metadata, "MagneticFieldStrength", name)
    field = FIELD_STRENGTH if said is None else said
    like = torch.zeros(1, dtype=torch.float64)
    rows = []
    free = model.parameters.columns("estimated")
    with torch.no_grad():
        for tissue in TISSUES:
            theta = tissue_values(model.parameters, tissue, like, field)
            first = cramer_rao_bound(model, theta[None])[0].sqrt() / snr
            second = second_order_bounds(Whitened(model), theta, [snr])[0].sqrt()
            for column in free:
                item = model.parameters.items[column].item
                if tissue == _FLUID and item.name in NOT_IN_FLUID:
                    continue
                numbers = (float(theta[column]), float(first[column]), float(second[column]))
                rows.append(Bound(tissue, item.name, item.unit, *numbers))
    known = [
        name if name in maps else f"{name} (assumed)"
        for name in model.parameters.select("supplied").names
    ]
    return Bounds(snr, measured, field, known, rows)


def _snr(found: Sequence[NDArray[np.float64]]) -> tuple[float, bool]:
    """Median of |M0| / sigma over the mask, and whether it was known."""
    for values in found:
        finite = values[np.isfinite(values)]
        if finite.size and np.median(finite) > 0:
            return float(np.median(finite)), True
    return _USUAL_SNR, False
