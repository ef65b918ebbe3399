"""The noise level of a series, before anything changes its noise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.errors import DataError
from bids_brnn.imaging.grids import load
from bids_brnn.imaging.noise_level import find_noise_level
from bids_brnn.imaging.spectrum_noise import (
    LEAST_SNR,
    check_divided,
    spectrum_noise,
    spectrum_snr,
)
from bids_brnn.interfaces.base import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGNITUDES = (
    "magnitudes only: compared with the magnitudes of the model; in frames whose signal is below "
    "about three times the noise, the noise raises the magnitude (Rician distribution), which "
    "biases the maps, T2 most; standard deviations hold for high SNR only"
)
SPECTRUM = (
    "magnitudes, whose noise raises them where the signal is below about {least:g} times its "
    "level (Rician distribution); {words}"
)
"""Of Z-spectra."""
_LOG = logging.getLogger("bids_brnn.prepare")


class EstimateNoiseInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`EstimateNoise`."""

    coefficients = File(exists=True, mandatory=True, desc="complex NIfTI (x, y, z, values)")
    mask = File(exists=True, mandatory=True, desc="mask on the same grid")
    declared = traits.Float(desc="noise standard deviation per channel, if the sidecar tells it")
    frames = traits.Bool(False, usedefault=True, desc="time frames, not coefficients")
    magnitude = traits.Bool(False, usedefault=True, desc="magnitudes, imaginary part zero")
    averages = traits.List(
        traits.Float, desc="of a Z-spectrum: repeats that were averaged for each measurement"
    )
    normalised = traits.Bool(
        False, usedefault=True, desc="divided by the image without MT pulse: noise is not even"
    )
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="CPU threads")


class EstimateNoiseOutputSpec(TraitedSpec):
    """Outputs of :class:`EstimateNoise`."""

    noise_level = traits.Float(desc="standard deviation per channel; 0 where it is unknown")
    noise_source = traits.Str(desc="how it was found, in words")
    noise_warning = traits.Str(desc="how the sidecar and the data differ, in words; or nothing")
    steps = traits.List(traits.Str, desc="what sidecars must tell of the data, in words")


class EstimateNoise(Node):
    """Find the noise level: sidecar (compared with the data), time frames, air, in this order.

    >>> EstimateNoise().inputs.declared
    <undefined>
    """

    input_spec = EstimateNoiseInputSpec
    output_spec = EstimateNoiseOutputSpec

    def work(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Load and estimate."""
        inputs = self.inputs
        data = np.asanyarray(load(inputs.coefficients).dataobj)
        mask = np.asanyarray(load(inputs.mask).dataobj) > 0
        declared = inputs.declared if isdefined(inputs.declared) else None
        averages = np.array(inputs.averages) if isdefined(inputs.averages) else None
        if averages is None:
            found = find_noise_level(
                data,
                mask,
                declared=declared,
                frames=inputs.frames,
                magnitude=inputs.magnitude,
                threads=inputs.num_threads,
            )
        else:
            check_divided(
                data,
                mask,
                inputs.label,
                normalised=inputs.normalised,
                threads=inputs.num_threads,
            )
            found = spectrum_noise(
                data,
                mask,
                averages,
                declared=declared,
                normalised=inputs.normalised,
                threads=inputs.num_threads,
            )
        level = "unknown" if found.std is None else f"{found.std:.4g} per channel"
        _LOG.info("%s: noise level %s, from %s", inputs.label, level, found.source)
        if found.warning:
            _LOG.warning("%s: %s", inputs.label, found.warning)
        steps = []
        if averages is not None:
            words = spectrum_words(data, mask, found.std, inputs.label, inputs.num_threads)
            steps.append(SPECTRUM.format(least=LEAST_SNR, words=words))
            if (repeated := int((averages > 1).sum())) > 0:
                steps.append(f"repeats of {repeated} of {len(averages)} measurements averaged")
        elif inputs.magnitude:
            _LOG.warning("%s: %s", inputs.label, MAGNITUDES)
            steps.append(MAGNITUDES)
        return {
            "noise_level": found.std or 0.0,
            "noise_source": found.source,
            "noise_warning": found.warning,
            "steps": steps,
        }


def spectrum_words(
    data: NDArray[Any], mask: NDArray[np.bool_], std: float | None, label: str, threads: int = 1
) -> str:
    """What noise means for a Z-spectrum, in words; warns where a part of it is below it.

    Raises
    ------
    DataError
        If even the brightest measurement is.
    """
    if not std:
        return "their noise is not known before the fit"
    dark, bright = spectrum_snr(data, mask, std, threads)
    if bright < LEAST_SNR:
        raise DataError(
            f"{label}: even the brightest images have a signal of {bright:.2g} times the noise "
            f"inside the mask ({LEAST_SNR:g} are needed): noise would bias every map. Average "
            "repeats, or give a mask of the brain alone; if the noise is wrong, "
            "write NoiseStandardDeviation into the sidecar."
        )
    if dark < LEAST_SNR:
        words = (
            f"the darkest measurement is at {dark:.2g} times, which biases the maps: m0s comes "
            "out too small"
        )
        _LOG.warning("%s: %s", label, SPECTRUM.format(least=LEAST_SNR, words=words))
        return words
    return f"the darkest measurement is at {dark:.3g} times"
