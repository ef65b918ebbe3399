"""The noise level of a series, before anything changes its noise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_brnn.imaging.grids import load
from bids_brnn.imaging.noise_level import find_noise_level
from bids_brnn.interfaces.base import Node

MAGNITUDES = (
    "magnitudes only: compared with the magnitudes of the model; in frames whose signal is below "
    "about three times the noise, the noise raises the magnitude (Rician distribution), which "
    "biases the maps, T2 most; standard deviations hold for high SNR only"
)
_LOG = logging.getLogger("bids_brnn.prepare")


class EstimateNoiseInputSpec(BaseInterfaceInputSpec):
    """Inputs of :class:`EstimateNoise`."""

    coefficients = File(exists=True, mandatory=True, desc="complex NIfTI (x, y, z, values)")
    mask = File(exists=True, mandatory=True, desc="mask on the same grid")
    declared = traits.Float(desc="noise standard deviation per channel, if the sidecar tells it")
    frames = traits.Bool(False, usedefault=True, desc="time frames, not coefficients")
    magnitude = traits.Bool(False, usedefault=True, desc="magnitudes, imaginary part zero")
    label = traits.Str("", usedefault=True, nohash=True, desc="name for messages")


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
        found = find_noise_level(
            np.asanyarray(load(inputs.coefficients).dataobj),
            np.asanyarray(load(inputs.mask).dataobj) > 0,
            declared=inputs.declared if isdefined(inputs.declared) else None,
            frames=inputs.frames,
            magnitude=inputs.magnitude,
        )
        level = "unknown" if found.std is None else f"{found.std:.4g} per channel"
        _LOG.info("%s: noise level %s, from %s", inputs.label, level, found.source)
        if found.warning:
            _LOG.warning("%s: %s", inputs.label, found.warning)
        steps = []
        if inputs.magnitude:
            _LOG.warning("%s: %s", inputs.label, MAGNITUDES)
            steps.append(MAGNITUDES)
        return {
            "noise_level": found.std or 0.0,
            "noise_source": found.source,
            "noise_warning": found.warning,
            "steps": steps,
        }
