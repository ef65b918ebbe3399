"""The noise level of a series, from its own data.

The level is the standard deviation in *each* of the real and the imaginary channel, as everywhere
here. Two places tell it: air, where there is nothing but noise, and the part of many time frames
that no low-rank signal explains. NumPy only: preparation never loads torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import slabs, to_voxels

Array = NDArray[Any]

_MARGIN = 2
"""Voxels between mask and air: blur of the point-spread function, and an edge that missed."""
_LEAST_VOXELS = 30
_LEAST_FRAMES = 20
_MOST_VOXELS = 500
"""Voxels whose frames are decomposed: the level of 1000 frames is then known to .05 %."""
_FLAT = 2.0
"""Largest energy of one coefficient or frame in air, in the mean of all; 1 for white noise."""
_LEAST_SHARE = 1e-3
"""Of the signal, below which the noise of frames is that of rounding: no image has an SNR of 1000,
but frames made of few coefficients, or denoised, have lost the noise beside them."""
_SPREAD = 2.0
"""Largest spread of the energy of air voxels, in that of white noise of one level."""


RESIDUAL = "the residual of each voxel"
"""What tells the level where nothing else does."""
SOURCES = {
    "air": "air outside the mask",
    "frames": "time frames inside the mask, without the low-rank signal (Marchenko-Pastur)",
}


@dataclass(frozen=True)
class NoiseLevel:
    """Noise of a series."""

    std: float | None
    """Standard deviation per channel; None where the data do not tell it."""
    source: str
    """How it was found, in words."""
    warning: str = ""
    """That what is declared and what the data tell differ, in words."""


ODD = (
    "the images are not what model and table say: compare the order of the volumes with the "
    "table, and whether the table is of this measurement; do not trust the maps before that"
)
"""What a residual far above the noise means."""
DECLARED = "NoiseStandardDeviation of the sidecar"
_TOLERANCE = 2.0
"""Factor between two levels from which on they contradict each other."""


def find_noise_level(
    data: Array,
    mask: NDArray[np.bool_],
    *,
    declared: float | None = None,
    frames: bool = False,
    magnitude: bool = False,
    threads: int = 1,
) -> NoiseLevel:
    """What is declared, compared with the data; else the residual of time frames, else air.

    Parameters
    ----------
    data
        ``(X, Y, Z, N)`` complex; magnitudes have a zero imaginary part.
    mask
        ``(X, Y, Z)``: where there is signal.
    declared
        ``NoiseStandardDeviation`` of the sidecar.
    frames
        Whether the last axis holds time frames; coefficients leave no room for a residual.
    magnitude
        Whether the data are magnitudes: air then comes first, as it gives the level exactly
        (second moment of a Rayleigh distribution) and dark frames inside the head do not.
    threads
        CPU threads; the level is the same with any number.

    Returns
    -------
    NoiseLevel
        With a warning where the data tell another level than the sidecar.

    Raises
    ------
    DataError
        If what is declared is above the largest value of the data.
    """
    found = _from_data(data, mask, frames=frames, magnitude=magnitude, threads=threads)
    return found if declared is None else compared(declared, found, data)


def compared(declared: float, found: NoiseLevel, data: Array) -> NoiseLevel:
    """What is declared, with a warning where the data tell another level.

    Raises
    ------
    DataError
        See :func:`find_noise_level`.
    """
    largest = max((_largest(data[..., part, :]) for part in slabs(data.shape)), default=0.0)
    if declared > largest:
        raise DataError(
            f"{DECLARED} is {declared:.4g}, the largest value of the images is {largest:.4g}; "
            "correct it, or remove it so that it is estimated."
        )
    return NoiseLevel(declared, DECLARED, contradiction(declared, found.std, found.source))


def _largest(values: Array) -> float:
    """Of the magnitudes of finite values."""
    sizes = np.abs(values)
    return float(sizes.max(initial=0.0, where=np.isfinite(sizes)))


def contradiction(declared: float, told: float | None, source: str) -> str:
    """A sentence where two levels differ by a factor of 2 or more, else nothing.

    Parameters
    ----------
    declared
        ``NoiseStandardDeviation`` of the sidecar.
    told, source
        By the data, and how; None where they do not tell it.
    """
    if told is None or not told > 0 or not math.isfinite(told):
        return ""
    factor = max(told / declared, declared / told)
    if factor < _TOLERANCE:
        return ""
    way = "more" if told > declared else "less"
    return (
        f"{DECLARED} is {declared:.4g}, {source}: {told:.4g}, {factor:.3g} times {way}; standard "
        "deviations of the maps follow the sidecar: correct it, or remove it so that the noise is "
        "estimated"
    )


def unexplained(level: float, residual: float) -> str:
    """A sentence where a residual is far above the noise that images tell by themselves.

    Parameters
    ----------
    level
        Of the images, whatever the model: of time frames without their low-rank part.
    residual
        Of the estimate, standard deviation per channel in the median over voxels.
    """
    if not residual >= _TOLERANCE * level:
        return ""
    return (
        f"the residual of the estimate is {residual:.4g}, {residual / level:.3g} times the noise "
        f"of the images ({level:.4g}): either the model leaves out what they show (slice profile, "
        f"motion, artefacts), or {ODD}"
    )


def _from_data(
    data: Array, mask: NDArray[np.bool_], *, frames: bool, magnitude: bool, threads: int
) -> NoiseLevel:
    ways = [("frames", frame_level)] if frames else []
    ways.insert(0 if magnitude else len(ways), ("air", air_level))
    for name, estimate in ways:
        level = estimate(data, mask, threads)
        if level is not None:
            # Magnitudes have one noise channel, whose variance is not shared out to two.
            scale = math.sqrt(2) if name == "frames" and magnitude else 1.0
            return NoiseLevel(scale * level, SOURCES[name])
    return NoiseLevel(None, RESIDUAL)


def air_level(data: Array, mask: NDArray[np.bool_], threads: int = 1) -> float | None:
    """Noise level from voxels outside the mask, or None.

    Air is the darkest population: voxels whose mean energy fits white noise of one level. Skull
    and scalp are brighter and drop out. Voxels that a reconstruction set to zero do not count.
    For complex noise and for magnitudes (Rayleigh) the mean square is twice the variance alike.

    Returns
    -------
    float or None
        None where fewer than 30 voxels are left, their energies spread more than twice as much
        as those of white noise (artefacts, smoothing), or one coefficient or frame has more than
        its share (tissue that fills the image).
    """
    from scipy import ndimage

    # Dilation walks along the last axis, what follows along the first one, as images lie.
    outside = ~ndimage.binary_dilation(np.ascontiguousarray(mask), iterations=_MARGIN)
    in_place = np.full(mask.shape, np.nan, order="F")
    n_values = data.shape[3]

    def measure(part: slice) -> None:
        energy = np.zeros(data[..., part, 0].shape, order="F")
        for image in range(n_values):
            energy += _squares(data[..., part, image])
        np.copyto(in_place[..., part], energy / n_values, where=outside[..., part])

    list(in_threads(measure, slabs(data.shape), threads))
    usable = np.isfinite(in_place) & (in_place > 0)
    energy = in_place[usable]
    if energy.size < _LEAST_VOXELS:
        return None
    width = 1 / math.sqrt(n_values)  # of the mean of N exponential variables
    level = float(np.quantile(energy, 0.2))
    dark = energy < level * (1 + 5 * width)
    for _ in range(50):
        dark = energy < level * (1 + 5 * width)
        update = float(energy[dark].mean())
        if math.isclose(update, level, rel_tol=1e-6):
            break
        level = update
    n_dark = int(dark.sum())
    if n_dark < _LEAST_VOXELS or energy[dark].std() > _SPREAD * width * level:
        return None
    # Even tissue passes so far, where there is no air; but its energy differs between values.
    usable[usable] = dark

    def summed(part: slice) -> Array:
        return _squares(to_voxels(data[..., part, :], usable[..., part])).sum(0)

    total = sum(in_threads(summed, slabs(data.shape), threads), np.zeros(n_values))
    largest = float(total.max()) / n_dark
    return math.sqrt(level) if largest < (_FLAT + 5 / math.sqrt(n_dark)) * level else None


def _squares(values: Array) -> Array:
    """Mean of the squares of both channels, in double precision."""
    found: Array = (np.square(values.real, dtype=np.float64) + np.square(values.imag)) / 2
    return found


def frame_level(data: Array, mask: NDArray[np.bool_], threads: int = 1) -> float | None:
    """Noise level from time frames inside the mask, or None where there are too few, or none.

    Signals of tissue span a few dimensions; the singular values of the other ones follow the law
    of Marchenko and Pastur. Aliasing of undersampled frames is counted as noise.
    """
    del threads  # few voxels are enough
    values = to_voxels(data, mask)
    values = values[np.isfinite(values).all(-1)]
    if len(values) > _MOST_VOXELS:
        values = values[np.linspace(0, len(values) - 1, _MOST_VOXELS).round().astype(int)]
    smaller = min(values.shape)
    if smaller < _LEAST_FRAMES:
        return None
    values = values.astype(np.complex128)
    tall = values if values.shape[0] >= values.shape[1] else values.T
    eigenvalues = np.linalg.eigvalsh(tall.conj().T @ tall)
    rank, variance = marchenko_pastur(eigenvalues, max(values.shape))
    least = _LEAST_SHARE**2 * float(eigenvalues.sum()) / values.size
    if int(rank) > smaller // 2 or not float(variance) > max(least, 0.0):
        return None
    return math.sqrt(float(variance) / 2)


def marchenko_pastur(eigenvalues: Array, longer: int) -> tuple[Array, Array]:
    """Rank of the signal and variance of the noise of low-rank matrices.

    Parameters
    ----------
    eigenvalues
        ``(..., m)`` of ``Y^H Y``, rising, for ``Y`` of ``(longer, m)`` with ``m <= longer``.
    longer
        Rows of the matrices.

    Returns
    -------
    rank, variance
        ``(...)`` each. The variance of complex noise is that of both channels together.

    Notes
    -----
    The smallest rank whose remaining eigenvalues span no more than noise of their mean would
    (Veraart 2016, 10.1016/j.neuroimage.2016.08.016), with the ratio of the sides of what is left
    (Cordero-Grande 2019, 10.1016/j.neuroimage.2019.06.039).
    """
    falling = np.flip(np.clip(eigenvalues, 0, None), -1)
    m = falling.shape[-1]
    left = m - np.arange(m)
    rows = longer - np.arange(m)
    mean = np.flip(np.cumsum(np.flip(falling, -1), -1), -1) / left
    span = (falling - falling[..., -1:]) / (4 * np.sqrt(left / rows))
    fits = span <= mean
    # The last eigenvalue alone spans nothing, so that there always is an answer.
    rank = fits.argmax(-1)
    variance = np.take_along_axis(mean / rows, rank[..., None], -1)[..., 0]
    return rank, variance
