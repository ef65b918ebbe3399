"""What the images of a Z-spectrum and their noise tell beside an estimate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bids_brnn.estimators.maps import residual_sigma
from bids_brnn.information.noise import degrees_of_freedom
from bids_brnn.maps import LEAST_MAGNITUDE, Beside

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.estimators.base import Estimate
    from bids_brnn.parameters import ParameterSet
    from bids_brnn.sequences.z_spectrum import ZSpectrum


def beside_images(
    estimate: Estimate,
    data: Tensor,
    parameters: ParameterSet,
    sequence: ZSpectrum,
    level: float = 0.0,
) -> Beside:
    """MT ratio, chi-squared and the smallest magnitude over noise.

    Parameters
    ----------
    estimate
        Of the voxels ``data`` ``(V, N)``: magnitudes, in the order of ``sequence``.
    parameters
        Of the model.
    sequence
        The protocol.
    level
        Noise standard deviation of one image where it is known other than by the residual; else
        0, and there is no chi-squared.
    """
    weights = None if sequence.weights is None else data.real.new_tensor(sequence.weights)
    told = residual_sigma(
        estimate, data, parameters, amplitude=sequence.amplitude, weights=weights
    )
    root = 1.0 if weights is None else weights.sqrt()
    sigma = told if level <= 0 else told.new_full(told.shape, level)
    if level <= 0 and not sequence.normalised:
        # Noise is the same in all voxels, and few values in each tell it badly.
        sigma = sigma.nanmedian().expand_as(sigma)
    free = len(parameters.columns("estimated", "nuisance"))
    degrees = degrees_of_freedom(sequence.amplitude, data.shape[-1], free)
    return Beside(
        mtr=mt_ratio(data.real, sequence),
        chi2=(told / level) ** 2 if level > 0 and degrees > 0 else None,
        lowest=(data.abs() * root).amin(-1) / sigma,
        has_m0=not sequence.normalised,
        words={"MTR": mtr_words(sequence)},
    )


def mt_ratio(images: Tensor, sequence: ZSpectrum) -> Tensor:
    """1 - image with MT pulse over that without, ``(V,)``, of ``(V, N)`` magnitudes.

    With the pulse of :attr:`ZSpectrum.mtr_index`; images without are averaged.
    """
    with_pulse = images[:, sequence.mtr_index]
    if sequence.normalised:
        return 1 - with_pulse
    off = (sequence.mt_flip_angle == 0).nonzero()[0].tolist()
    weights = images.new_ones(len(off))
    if sequence.weights is not None:
        weights = images.new_tensor(sequence.weights[off])
    return 1 - with_pulse / (images[:, off] @ (weights / weights.sum()))


def mtr_words(sequence: ZSpectrum) -> str:
    """Which measurement the MT ratio is of."""
    index = sequence.mtr_index
    return (
        f"MT pulse of {math.degrees(sequence.mt_flip_angle[index]):.4g} degrees at "
        f"{sequence.offset[index]:.6g} Hz"
    )


def rician_words(beside: Beside) -> str:
    """How many voxels have magnitudes that noise biases, in words; or nothing."""
    if beside.lowest is None:
        return ""
    count = int((beside.lowest < LEAST_MAGNITUDE).sum())
    if count == 0:
        return ""
    return (
        f"{count} of {len(beside.lowest)} voxels have a magnitude below {LEAST_MAGNITUDE:g} noise "
        "standard deviations, where it is biased upwards (Rician) and estimates with it; the map "
        "of flags marks them"
    )
