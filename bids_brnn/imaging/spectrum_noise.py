"""The noise level of a Z-spectrum: magnitudes of few measurements, some of them averaged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError
from bids_brnn.imaging.noise_level import (
    RESIDUAL,
    SOURCES,
    NoiseLevel,
    air_level,
    compared,
)
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import slabs, to_voxels

LEAST_SNR = 5.0
"""Signal over noise from which on a magnitude is Gaussian; below, its mean is 2 % high or more."""
_MOST_DIVIDED = 1.5
"""Median of an image divided by that without MT pulse, which no tissue is brighter than."""
_EVEN, _MOST, _FEW = 1e-3, 0.9, 8
"""Relative deviation, share of voxels and number of voxels of an image that was divided by itself:
where it was dark, programs write 0 into the quotient."""
_LIKE_AIR = 1.3
"""Factor by which the relative variation of air may be off that of pure noise."""


def spectrum_noise(
    data: NDArray[Any],
    mask: NDArray[np.bool_],
    averages: NDArray[Any],
    *,
    declared: float | None = None,
    normalised: bool = False,
    threads: int = 1,
) -> NoiseLevel:
    """Noise level of one repeat, from what is declared or from air.

    Air of an average of ``n`` magnitudes has a mean square over two of
    ``sigma^2 (pi/4 + (1 - pi/4)/n)``: means of Rayleigh variables do not vanish. The measurements
    with the fewest repeats are asked.

    Parameters
    ----------
    data
        ``(X, Y, Z, N)`` complex with zero imaginary part.
    mask
        ``(X, Y, Z)``.
    averages
        ``(N,)`` repeats of each measurement.
    declared
        ``NoiseStandardDeviation`` of the sidecar.
    normalised
        Whether the images were divided by that without MT pulse: their air tells nothing.
    threads
        CPU threads; the level is the same with any number.

    Raises
    ------
    DataError
        If what is declared is above the largest value of the data.
    """
    fewest = float(averages.min())
    # All of them need no copy.
    some = data if (averages == fewest).all() else data[..., averages == fewest]
    factor = math.sqrt(math.pi / 4 + (1 - math.pi / 4) / fewest)
    told = None if normalised else air_level(some, mask, threads)
    found = NoiseLevel(None, RESIDUAL)
    if told is not None and _is_air(some, mask, told, fewest, threads):
        found = NoiseLevel(told / factor, SOURCES["air"])
    return found if declared is None else compared(declared, found, some)


def _is_air(
    data: NDArray[Any], mask: NDArray[np.bool_], level: float, averages: float, threads: int
) -> bool:
    """Whether dark voxels outside the mask vary as the noise of magnitudes does.

    Rayleigh variables have a standard deviation of ``sqrt(4/pi - 1)`` of their mean, averages of
    ``n`` less by ``sqrt(n)``. Tissue beside a mask of a region varies less: measurements of a
    Z-spectrum resemble each other, so that tissue alone would pass for noise of one level.
    """
    limit = level**2 * (1 + 5 / math.sqrt(data.shape[3]))
    count, total, squares = 0, np.zeros(data.shape[3]), np.zeros(data.shape[3])

    def sums(part: slice) -> tuple[int, NDArray[Any], NDArray[Any]]:
        outside = np.abs(to_voxels(data[..., part, :], ~mask[..., part])).astype(np.float64)
        energy = np.square(outside).mean(axis=1) / 2
        dark = outside[(energy > 0) & (energy < limit)]
        return len(dark), dark.sum(axis=0), np.square(dark).sum(axis=0)

    for n, first, second in in_threads(sums, slabs(data.shape), threads):
        count += n
        total += first
        squares += second
    mean = total / count
    expected = math.sqrt((4 / math.pi - 1) / averages)
    spread = float(np.median(np.sqrt((squares / count - mean**2).clip(0)) / mean))
    return expected / _LIKE_AIR < spread < expected * _LIKE_AIR


def check_divided(
    data: NDArray[Any], mask: NDArray[np.bool_], label: str, *, normalised: bool, threads: int = 1
) -> None:
    """Refuse images that are not as they are said to be: divided by that without MT pulse, or not.

    Parameters
    ----------
    data
        ``(X, Y, Z, N)``.
    mask
        ``(X, Y, Z)``.
    label
        Of the series, for messages.
    normalised
        What is said of them.

    Raises
    ------
    DataError
        If they are brighter than such a quotient can be, or one of them is the same everywhere.
    """
    inside = np.ascontiguousarray(mask)

    def sizes(image: int) -> tuple[float, bool]:
        values = np.abs(data[..., image][inside])
        values = values[np.isfinite(values)]
        if not len(values):
            return 0.0, False
        middle = float(np.median(values))
        even = float((np.abs(values - middle) <= _EVEN * middle).mean())
        return middle, len(values) >= _FEW and middle > 0 and even > _MOST

    found = list(in_threads(sizes, range(data.shape[3]), threads))
    brightest = max(middle for middle, _ in found)
    if normalised and brightest > _MOST_DIVIDED:
        raise DataError(
            f"{label}: Normalised is true, but the median of an image inside the mask is "
            f"{brightest:.4g}, and one that is divided by that without MT pulse is 1 at most. "
            "Give quotients (not in percent), or all images as they were and no Normalised."
        )
    constant = [place for place, (_, is_even) in enumerate(found, 1) if is_even]
    if constant and not normalised:
        raise DataError(
            f"{label}: image {constant[0]} is the same in the whole mask, as if all were divided "
            'by it; write "Normalised": true, or give the images as they were.'
        )


def spectrum_snr(
    data: NDArray[Any], mask: NDArray[np.bool_], std: float, threads: int = 1
) -> tuple[float, float]:
    """Medians inside the mask of signal over noise: of the darkest and the brightest measurement.

    The noise is that of one repeat: it is what biases a mean of magnitudes.
    """
    inside = np.ascontiguousarray(mask)  # as voxels are looked up by it

    def sizes(image: int) -> NDArray[Any]:
        return np.abs(data[..., image][inside])

    values = list(in_threads(sizes, range(data.shape[3]), threads))
    finite = np.logical_and.reduce([np.isfinite(part) for part in values])
    medians = list(in_threads(lambda part: float(np.median(part[finite])), values, threads))
    return min(medians) / std, max(medians) / std
