"""What the residuals of a network tell of the noise of a series, fluid or not.

The estimate of fluid lies in one of the narrow valleys of its off-resonance, rarely in the
deepest: what it leaves there is no noise, and is wide. The other voxels therefore tell the noise,
if they are enough and white; of a series of nothing but fluid, a few whose minimum is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bids_brnn.estimators.network.fluid import found_fluid
from bids_brnn.estimators.series_noise import (
    LEAST_FREEDOM,
    MOST_TOLD,
    WHITE,
    SeriesNoise,
    series_noise,
)
from bids_brnn.information.noise import degrees_of_freedom

if TYPE_CHECKING:
    from bids_brnn.estimators.network.estimator import NetworkEstimator

_ENOUGH = 0.25
"""Share of the voxels that may tell the noise of all."""
_SEARCHED = 512
"""Voxels of fluid whose minimum is looked for: a level is known to .9 %."""
_LOW = 0.05
"""Quantile of the residuals of fluid that are nearly at their minimum."""


def noise_of_network(
    estimator: NetworkEstimator, data: Tensor, supplied: Mapping[str, Tensor], at: Tensor
) -> SeriesNoise | None:
    """What the residuals of a network tell of the noise of a series.

    Parameters
    ----------
    estimator
        The network.
    data
        ``(V, N)``, all voxels of the series.
    supplied
        Known values ``(V,)`` by parameter.
    at
        ``(V, 3)``: indices of the voxels.

    Returns
    -------
    SeriesNoise or None
        None where a residual has fewer than :data:`LEAST_FREEDOM` degrees of freedom, or none is
        above zero.
    """
    known = {*supplied} | set(estimator.parameters.select("supplied").names)
    names = estimator.parameters.select("estimated", "nuisance").names
    freedom = degrees_of_freedom(
        estimator.amplitude,
        estimator.model.n_samples,
        len([name for name in names if name not in known]),
    )
    if freedom < LEAST_FREEDOM:
        return None
    rows = torch.arange(0, len(data), max(1, len(data) // MOST_TOLD), device=data.device)
    some, given = data[rows], {name: values[rows] for name, values in supplied.items()}
    found = estimator.estimate(some, given or None)
    first = found.residual * estimator.norms(some) / freedom**0.5
    level = float(first.nanmedian())
    if not level > 0:
        return None
    energy = estimator.residual_energy(some, given or None, sigma=level)

    def told(by: Tensor, left: Tensor) -> SeriesNoise:
        return series_noise(left, at[rows[by]], freedom, at)

    usable = energy > 0
    fluid = found_fluid(estimator.parameters, found.theta) & usable
    if estimator.looks_for_fluid and fluid.any():
        others, fluids = ((part & usable).nonzero()[:, 0] for part in (~fluid, fluid))
        least = _ENOUGH * (len(others) + len(fluids))
        if len(others) > least:
            noise = told(others, energy[others])
            if noise.freedom >= WHITE * freedom:
                return noise
        if len(fluids) > len(others):
            few = fluids[:: -(-len(fluids) // _SEARCHED)]
            nearly = float(energy[fluids].quantile(_LOW) / freedom) ** 0.5
            mine = {name: values[few] for name, values in given.items()}
            left = estimator.residual_energy(some[few], mine or None, sigma=nearly, fluid=True)
            noise = told(few, left)
            if noise.freedom >= WHITE * freedom:
                return noise
    return told(usable.nonzero()[:, 0], energy[usable])
