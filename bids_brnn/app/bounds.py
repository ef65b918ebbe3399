"""What the protocol of a series can measure of usual tissue, for the page of a participant."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from bids_brnn.bids.input.declared import number
from bids_brnn.errors import BidsBrnnError
from bids_brnn.reports.content import NOT_IN_FLUID, Bound, Bounds, SeriesView

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Acquisition

_LOG = logging.getLogger("bids_brnn.report")
_USUAL_SNR = 40.0
_FLUID = "CSF"


def bounds_of(acquisition: Acquisition, view: SeriesView) -> Bounds | None:
    """Cramer-Rao and second-order bounds in usual tissue, at the SNR of the maps.

    Known is what maps were supplied of; samples are those that were estimated from (coefficients
    where there is a basis). None where the model cannot be evaluated.
    """
    try:
        return _bounds(acquisition, view)
    except BidsBrnnError as error:
        _LOG.warning("%s: no bounds on the page: %s", acquisition.name, error)
        return None


def _bounds(acquisition: Acquisition, view: SeriesView) -> Bounds:
    import torch

    from bids_brnn.information.averaged import Whitened
    from bids_brnn.information.bounds import cramer_rao_bound
    from bids_brnn.information.second_order import second_order_bounds
    from bids_brnn.priors import TISSUES, tissue_values
    from bids_brnn.priors.tissues import FIELD_STRENGTH
    from bids_brnn.signals.registry import models
    from bids_brnn.zoo.recipe import EstimatorRecipe

    recipe = EstimatorRecipe(
        estimator=models()[acquisition.model].reference,
        model=acquisition.model,
        sequence=acquisition.sequence,
        basis=acquisition.basis,
        supplied=tuple(one.name for one in view.supplied),
        magnitude=acquisition.magnitude_only,
    )
    model = recipe.build_model()
    snr, measured = _snr(view)
    said = number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)
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
    maps = {one.name for one in view.supplied}
    known = [
        name if name in maps else f"{name} (assumed)"
        for name in model.parameters.select("supplied").names
    ]
    return Bounds(snr, measured, field, known, rows)


def _snr(view: SeriesView) -> tuple[float, bool]:
    """Median of |M0| / sigma over the mask, and whether it was known."""
    for item in view.estimators:
        for one in item.quality:
            values = one.values[view.mask] if one.name == "snr" else np.empty(0)
            values = values[np.isfinite(values)]
            if values.size and np.median(values) > 0:
                return float(np.median(values)), True
    return _USUAL_SNR, False
