"""The noise of a series as its residuals tell it: how it varies over space, and how white it is.

Residuals of real data are rarely those of white noise of one level: coil sensitivities and
acceleration make the noise vary over space, and reconstruction, aliasing and motion leave errors
that neighbouring voxels and coefficients share. The level is therefore a smooth function of
position, found robustly, so that voxels that the model does not describe (fluids beside tissue,
fat) do not raise it; and the width of the distribution of what is left tells how many degrees of
freedom a residual really has.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Tensor

from bids_brnn.errors import DataError

FALSE_ALARMS = 0.005
"""Share of voxels that noise explains and that exceed the limit of a chi-squared test."""
MOST_CHANGE = 2.0
"""Factor by which the level of a voxel may differ from that of the series: residuals that are
larger in a whole region are those of something that the model does not describe."""
LEAST_FREEDOM = 4
"""Degrees of freedom per voxel from which on a residual tells the noise."""
MOST_TOLD = 2000
"""Voxels whose residuals tell the noise of a series: a level is known to 1 %."""
WHITE = 0.75
"""Share of the degrees of freedom above which residuals count as white noise."""
_UNSURE = 2.6
"""Over the root of the number of voxels: deviation of the logarithm of the degrees of freedom
that they tell (of 50 to 2000 voxels and 8 or 20 degrees: 2.2 to 2.7)."""
_DEGREE = 4
"""Of the polynomials at most; a higher one explains no more of a real slice."""
_PER_TERM = 20
"""Voxels that each term of the polynomials needs at least."""
_ITERATIONS = 10
_ROUND_OFF = 1e-12
"""Of a logarithm."""
_CLOSE = 0.05
"""Of a logarithm: weights of the median regression stay finite."""
_LOW = 0.1
"""Quantile that tells the width with the median: misfits widen the other side."""

Array = NDArray[np.float64]


def chi_squared_limit(freedom: float, effective: float | None = None) -> float:
    """What a sum of ``freedom`` squared deviations exceeds in :data:`FALSE_ALARMS` of voxels.

    Parameters
    ----------
    freedom
        Degrees of freedom of white noise; the mean of the sum.
    effective
        Those that it really has: the sum is then wider about the same mean (Satterthwaite 1946,
        10.2307/3002019). By default the same.
    """
    freedom = max(freedom, 1)
    real = freedom if effective is None else min(max(effective, 1.0), freedom)
    return float(chi_squared_quantile(1 - FALSE_ALARMS, real)) * freedom / real


@dataclass(frozen=True)
class SeriesNoise:
    """Noise of ``V`` voxels."""

    sigma: Tensor
    """``(V,)``: standard deviation per channel."""
    freedom: float
    """Effective degrees of freedom of a residual: those of white noise, unless the residuals
    contradict it by two standard deviations. Few voxels hardly tell them."""

    def near(self, declared: float | Tensor) -> Tensor:
        """``(V,)``: the level of each voxel, as far as a declared level allows."""
        level = torch.as_tensor(declared, dtype=self.sigma.dtype, device=self.sigma.device)
        least, most = level / MOST_CHANGE, level * MOST_CHANGE
        return torch.minimum(torch.maximum(self.sigma, least), most)


def series_noise(energy: Tensor, where: Tensor, freedom: int, at: Tensor) -> SeriesNoise:
    """What the residuals of some voxels tell of the noise of all.

    The logarithm of the squared residual is a polynomial of position by median regression, of
    those voxels only that noise of the level found so far explains.

    Parameters
    ----------
    energy
        ``(S,)``: squared norm of the residual of some voxels; not positive or not finite ones
        do not count.
    where
        ``(S, 3)``: their indices along the axes of the image.
    freedom
        Degrees of freedom of a residual in white noise.
    at
        ``(V, 3)``: indices of all voxels.

    Raises
    ------
    DataError
        If no residual is positive.
    """
    values = energy.detach().double().cpu().numpy()
    usable = np.isfinite(values) & (values > 0)
    if not usable.any():
        raise DataError("no residual is above zero, so that none tells the noise")
    logs = np.log(values[usable])
    box = _box(at)
    told = where[torch.as_tensor(usable, device=where.device)]
    weights, effective, degree = _smoothest(logs, told, box, freedom)
    if effective * np.exp(2 * _UNSURE / len(logs) ** 0.5) >= freedom:
        effective = float(freedom)
    fitted = _terms(told, box, degree) @ weights
    # The level of the series itself is the median; the polynomials say how places differ.
    middle = float(np.median(fitted))
    change = 2 * np.log(MOST_CHANGE)
    everywhere = _terms(at, box, degree) @ weights
    level = np.clip(
        np.clip(everywhere, fitted.min(), fitted.max()), middle - change, middle + change
    )
    ratio = chi_squared_quantile(0.5, effective) / effective * freedom
    sigma = np.exp(level / 2) / ratio**0.5
    return SeriesNoise(torch.as_tensor(sigma, device=at.device), effective)


def _smoothest(
    logs: Array, where: Tensor, box: tuple[Array, Array], freedom: int
) -> tuple[Array, float, int]:
    """Weights, effective degrees of freedom and degree: the lowest one that explains the level.

    Chosen by the Bayesian information criterion of a Laplace distribution, whose likelihood the
    median maximises; deviations beyond those of noise count as these do.
    """
    first = None
    chosen = None
    for degree in range(_DEGREE + 1):
        terms = _terms(where, box, degree)
        if first is not None and terms.shape[1] * _PER_TERM > len(logs):
            break
        weights, effective = _robust(logs, terms, freedom)
        away = logs - terms @ weights
        if first is None:
            first = np.log(
                chi_squared_quantile(1 - FALSE_ALARMS, effective)
                / chi_squared_quantile(0.5, effective)
            )
        # Of a single voxel nothing is left.
        size = max(np.minimum(np.abs(away), first).mean(), _ROUND_OFF)
        cost = 2 * len(logs) * np.log(size) + terms.shape[1] * np.log(len(logs))
        if chosen is None or cost < chosen[0]:
            chosen = (cost, weights, effective, degree)
    assert chosen is not None
    return chosen[1], chosen[2], chosen[3]


def _robust(logs: Array, terms: Array, freedom: int) -> tuple[Array, float]:
    """Weights of the terms for the median of ``logs``, and effective degrees of freedom."""
    effective = float(freedom)
    level = np.full(len(logs), np.median(logs))
    weights = np.zeros(terms.shape[1])
    for _ in range(_ITERATIONS):
        limit = np.log(
            chi_squared_quantile(1 - FALSE_ALARMS, effective)
            / chi_squared_quantile(0.5, effective)
        )
        away = logs - level
        root = np.sqrt((away < limit) / np.maximum(np.abs(away), _CLOSE))
        weights = np.linalg.lstsq(terms * root[:, None], logs * root, rcond=None)[0]
        level = terms @ weights
        away = (logs - level)[logs - level < limit]
        if not away.size:
            break
        middle, low = np.quantile(away, [0.5, _LOW])
        effective = _freedom(float(middle - low), freedom)
        # The first term is constant.
        weights[0] += middle
        level = level + middle
    return weights, effective


def chi_squared_quantile(share: float, freedom: Any) -> Any:
    """What the sum is below in a ``share`` of white noise.

    SciPy's ``stats``, with the same formula, takes half a second to import.
    """
    return 2 * gammaincinv(freedom / 2, share)


def _freedom(width: float, most: int) -> float:
    """Degrees of freedom whose median over low quantile has the logarithm ``width``."""
    able = np.geomspace(1, most, 100)
    widths = np.log(chi_squared_quantile(0.5, able) / chi_squared_quantile(_LOW, able))
    return float(np.interp(-width, -widths, able))


def _box(at: Tensor) -> tuple[Array, Array]:
    places = at.double().cpu().numpy()
    return places.min(0), places.max(0)


def _terms(at: Tensor, box: tuple[Array, Array], degree: int) -> Array:
    """Products of Legendre polynomials ``(V, T)`` within ``box``; the first one is 1."""
    low, high = box
    axes = np.flatnonzero(high > low)
    places = 2 * (at.double().cpu().numpy()[:, axes] - low[axes]) / (high - low)[axes] - 1
    each = [legendre.legvander(places[:, axis], degree) for axis in range(len(axes))]
    columns = [np.ones(len(places))]
    for powers in itertools.product(range(degree + 1), repeat=len(axes)):
        if 0 < sum(powers) <= degree:
            parts = [part[:, power] for part, power in zip(each, powers, strict=True)]
            columns.append(np.prod(parts, axis=0))
    return np.stack(columns, axis=1)
