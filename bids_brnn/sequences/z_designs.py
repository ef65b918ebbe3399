"""Protocols of conventional qMT that are in use, to compare what they can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum, usual_protocol


def qmrlab_like() -> ZSpectrum:
    """Two angles at five offsets from 443 Hz to 17 kHz, as in the examples of qMRLab.

    With the image without MT pulse that such data were divided by.
    """
    offsets = [443.0, 1088.0, 2732.0, 6862.0, 17235.0]
    return replace(
        _crossed([142.0, 426.0], offsets),
        pulse=MTPulse("GAUSSHANN", 0.0102, 200.0),
        flip_angle=math.radians(7.0),
        repetition_time=0.025,
        mt_delay=0.003,
        excitation_duration=0.0018,
        name="like qMRLab",
    )


def wand_like() -> ZSpectrum:
    """Three angles at seven offsets from 1 to 56 kHz, as the names of WAND number them.

    Its files hold angles and offsets, neither pulse nor timing: these are of the usual protocol.
    The offsets between the ends are our own, evenly spaced on a logarithmic scale.
    """
    offsets = np.geomspace(1000.0, 56360.0, 7).round(-1).tolist()
    return replace(
        _crossed([332.0, 628.0, 333.0], offsets), flip_angle=math.radians(5.0), name="like WAND"
    )


def demo_protocol() -> ZSpectrum:
    """Eleven images with and one without MT pulse, such that all four parameters can be told.

    Weak pulses near resonance tell R2f, strong ones far from it the semi-solid pool.
    """
    weak, strong = [300.0, 450.0, 700.0, 1500.0, 6000.0], [1e3, 2e3, 4e3, 8e3, 14e3, 28e3]
    angles = [0.0, *[250.0] * len(weak), *[700.0] * len(strong)]
    return replace(
        usual_protocol(),
        mt_flip_angle=np.deg2rad(np.array(angles)),
        offset=np.array([0.0, *weak, *strong]),
        name="demo",
    )


def _crossed(angles: Sequence[float], offsets: Sequence[float]) -> ZSpectrum:
    """Every angle (deg) at every offset (Hz), and an image without MT pulse."""
    every = [angle for angle in angles for _ in offsets]
    return replace(
        usual_protocol(),
        mt_flip_angle=np.deg2rad(np.array([0.0, *every])),
        offset=np.array([0.0, *list(offsets) * len(angles)]),
    )


Z_PROTOCOLS: Mapping[str, Callable[[], ZSpectrum]] = {
    "usual": usual_protocol,
    "like qMRLab": qmrlab_like,
    "like WAND": wand_like,
    "demo": demo_protocol,
}
"""By the name that the documentation gives them."""
