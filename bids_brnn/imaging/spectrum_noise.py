"""The noise level of a Z-spectrum: magnitudes of few measurements, some of them averaged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
