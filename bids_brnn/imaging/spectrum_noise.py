"""The noise level of a Z-spectrum: magnitudes of few measurements, some of them averaged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.imaging.noise_level import NoiseLevel, air_level, find_noise_level

LEAST_SNR = 5.0
"""Signal over noise from which on a magnitude is Gaussian; below, its mean is 2 % high or more."""
_LIKE_AIR = 1.3
"""Factor by which the relative variation of air may be off that of pure noise."""
_RESIDUAL = "the residual of each voxel"


def spectrum_noise(
    data: NDArray[Any],
    mask: NDArray[np.bool_],
    averages: NDArray[Any],
    *,
    declared: float | None = None,
    normalised: bool = False,
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
    """
    if normalised and declared is None:
        return NoiseLevel(None, _RESIDUAL)
    fewest = float(averages.min())
    some = data[..., averages == fewest]
    factor = math.sqrt(math.pi / 4 + (1 - math.pi / 4) / fewest)
    scaled = None if declared is None else declared * factor
    found = find_noise_level(some, mask, declared=scaled, magnitude=True)
    told = air_level(some, mask)
    if told is not None and not _is_air(np.abs(some), mask, told, fewest):
        found = NoiseLevel(declared, found.source if declared else _RESIDUAL)
    if declared is not None or found.std is None:
        return NoiseLevel(declared, found.source, found.warning)
    return NoiseLevel(found.std / factor, found.source, found.warning)


def _is_air(values: NDArray[Any], mask: NDArray[np.bool_], level: float, averages: float) -> bool:
    """Whether dark voxels outside the mask vary as the noise of magnitudes does.

    Rayleigh variables have a standard deviation of ``sqrt(4/pi - 1)`` of their mean, averages of
    ``n`` less by ``sqrt(n)``. Tissue beside a mask of a region varies less: measurements of a
    Z-spectrum resemble each other, so that tissue alone would pass for noise of one level.
    """
    outside = values[~mask]
    energy = np.square(outside, dtype=np.float64).mean(axis=1) / 2
    dark = outside[(energy > 0) & (energy < level**2 * (1 + 5 / math.sqrt(values.shape[3])))]
    expected = math.sqrt((4 / math.pi - 1) / averages)
    spread = float(np.median(dark.std(axis=0) / dark.mean(axis=0)))
    return expected / _LIKE_AIR < spread < expected * _LIKE_AIR


def spectrum_snr(data: NDArray[Any], mask: NDArray[np.bool_], std: float) -> tuple[float, float]:
    """Medians inside the mask of signal over noise: of the darkest and the brightest measurement.

    The noise is that of one repeat: it is what biases a mean of magnitudes.
    """
    values = np.abs(data[mask])
    medians = np.median(values[np.isfinite(values).all(axis=1)], axis=0)
    return float(medians.min()) / std, float(medians.max()) / std
