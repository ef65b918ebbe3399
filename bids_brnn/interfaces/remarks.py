"""What the log says of maps that are not what they should be; a refusal where they are empty."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bids_brnn.errors import DataError
from bids_brnn.estimators.registry import NETWORK
from bids_brnn.imaging.noise_level import ODD
from bids_brnn.maps import on_bound

if TYPE_CHECKING:
    from bids_brnn.estimators.base import Estimate
    from bids_brnn.parameters import ParameterSet
    from bids_brnn.zoo.recipe import EstimatorRecipe

_LOG = logging.getLogger("bids_brnn.estimate")
_MOST = 0.5
"""Share of voxels outside of training, or with a parameter on a bound, beyond which the log says
so: heads have fluid and fat."""


def check_any(estimate: Estimate, parameters: ParameterSet) -> None:
    """Refuse maps without a single value.

    Raises
    ------
    DataError
        If no voxel has an estimate.
    """
    values = estimate.theta[:, parameters.columns("estimated")]
    if not bool(values.isfinite().all(-1).any()):
        raise DataError(
            f"None of the {len(values)} voxels can be estimated: in the mask the images hold "
            "zeros or no numbers, or the maps beside them what is impossible. Look at images, "
            "mask and maps of the series."
        )


def say_unlike(label: str, estimate: Estimate) -> None:
    """Say where most voxels are like nothing that a network knows: maps only mark them."""
    distance = estimate.quality.get("distance")
    share = 0.0 if distance is None else float((distance > 1).double().mean())
    if share > _MOST:
        _LOG.warning(
            "%s: %.0f %% of the voxels lie outside of what the network was trained on; either "
            "the mask holds little tissue, or %s",
            label, 100 * share, ODD,
        )  # fmt: skip


def say_on_bound(label: str, estimate: Estimate, parameters: ParameterSet) -> None:
    """Say where a parameter ends on its bounds in most voxels: maps only mark them."""
    columns = parameters.columns("estimated")
    shares = on_bound(estimate.theta, parameters)[:, columns].double().mean(0).tolist()
    worst = {
        parameters.names[column]: share
        for column, share in zip(columns, shares, strict=True)
        if share > _MOST
    }
    if worst:
        _LOG.warning(
            "%s: in %.0f %% of the voxels %s on a bound of what is possible; either the "
            "protocol does not tell it, or %s",
            label, 100 * max(worst.values()),
            f"{next(iter(worst))} lies" if len(worst) == 1 else f"{', '.join(worst)} lie",
            ODD,
        )  # fmt: skip


def say_without_spread(
    label: str, recipe: EstimatorRecipe, parameters: ParameterSet, noise_std: float | None
) -> None:
    """Say why there are no standard deviations where the residual is none of noise."""
    from bids_brnn.information.noise import degrees_of_freedom

    if recipe.estimator == NETWORK or noise_std is not None:
        return
    free = len(parameters.columns("estimated", "nuisance"))
    if degrees_of_freedom(recipe.amplitude, recipe.n_values, free) <= 0:
        _LOG.warning(
            "%s: there are as many unknowns as values, so that no residual tells the noise, and "
            "standard deviations are missing; they follow from NoiseStandardDeviation in the "
            "sidecar",
            label,
        )
