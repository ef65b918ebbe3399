"""Parameter sets spread over what is possible: atoms, starts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bids_brnn.parameters import QMT, ParameterSet
from bids_brnn.priors import qmt_prior


def spread_candidates(parameters: ParameterSet, n: int | None = None, seed: int = 1) -> Tensor:
    """Low-discrepancy points between the bounds, ``(n, P)`` float64.

    Three of four points gather around the start values of the parameters that are estimated (the
    cube of an even distribution, which still reaches to the bounds); the fourth, and all other
    parameters, are even on both sides of the start. Wide ranges
    (:attr:`~bids_brnn.parameters.Parameter.is_wide`) are spread logarithmically. By default ``n``
    doubles with every parameter, up to 4096.
    """
    n_parameters = len(parameters)
    if n is None:
        n = min(256 * 2**n_parameters, 4096)
    sobol = torch.quasirandom.SobolEngine(n_parameters, scramble=True, seed=seed)
    even = 2 * sobol.draw(n, dtype=torch.float64) - 1
    points = torch.empty_like(even)
    gathered = torch.arange(n) >= n // 4  # a block of the sequence is even in itself
    for column, item in enumerate(parameters):
        shift = even[:, column].clone()
        if item.role == "estimated":
            shift[gathered] **= 3
        low, middle, high = (
            math.log(value) if item.is_wide else value
            for value in (item.lower, item.start, item.upper)
        )
        point = middle + torch.where(shift > 0, shift * (high - middle), shift * (middle - low))
        points[:, column] = torch.exp(point) if item.is_wide else point
    return points


def default_candidates(parameters: ParameterSet, seed: int = 1) -> Tensor:
    """Points to try where nothing better is given, ``(S, P)`` float64.

    Between the bounds; for quantitative magnetization transfer every second one is a draw from
    the prior of tissues instead, because fluid and fat lie far from the rest in many parameters
    at once.
    """
    points = spread_candidates(parameters, seed=seed)
    if parameters.names == QMT.names:
        rng = torch.Generator().manual_seed(seed)
        draws = qmt_prior(parameters).sample(len(points) // 2, rng=rng).to(points)
        points = torch.cat([draws, spread_candidates(parameters, len(points) // 2, seed)])
    return points
