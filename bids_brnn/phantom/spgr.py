"""The series of conventional qMT: spoiled gradient echoes with off-resonant MT pulses."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bids_brnn.parameters import OBSERVED_R1
from bids_brnn.phantom.anatomy import Array, Head, parameter_map
from bids_brnn.phantom.series import Series
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model, model_entry
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

MODEL = "ramani"
"""Signal model that makes the images."""
_QUALITY = 5 / 3  # of images over single time frames: SNR 100 where the data set has 60


def demo_protocol() -> ZSpectrum:
    """Eleven images with and one without MT pulse, such that all four parameters can be told.

    Weak pulses near resonance tell R2f, strong ones far from it the semi-solid pool: at SNR 100
    the Cramer-Rao bound of R2f in white matter is a quarter of that of a protocol of two angles at
    the same six offsets from 1 to 20 kHz, and the others are no worse.
    """
    weak, strong = [400.0, 600.0, 1000.0, 2500.0, 8000.0], [1e3, 2e3, 4e3, 8e3, 14e3, 28e3]
    angles = [0.0, *[250.0] * len(weak), *[700.0] * len(strong)]
    return ZSpectrum(
        mt_flip_angle=np.deg2rad(np.array(angles)),
        offset=np.array([0.0, *weak, *strong]),
        pulse=MTPulse("GAUSSIAN", 0.012),
        flip_angle=math.radians(8.0),
        repetition_time=0.032,
        mt_delay=0.002,
        excitation_duration=0.001,
        name="demo",
    )


def spgr_series(protocol: ZSpectrum) -> Series:
    """Magnitudes, one image per MT pulse, with maps of R1, B1 and B0."""
    return Series(
        ObservedR1(build_model(MODEL, protocol)),
        protocol,
        model_entry(MODEL),
        acquisition="spgr",
        parts=("mag",),
        metadata={"PulseSequenceType": "spoiled gradient echo with off-resonant MT pulses"},
        fields={
            "R1": "desc-vfa_R1map",
            "B1": "acq-spgr_TB1map",
            "w0": "acq-spgr_fieldmap",
        },
        tissue=conventional_tissue,
        quality=_QUALITY,
        stream=(3,),
    )


def conventional_tissue(
    head: Head, name: str, labels: NDArray[np.uint8], points: Array
) -> Array:  # fmt: skip
    """Parameters of a head as conventional qMT has them.

    R1s is what is assumed of it, not that of the tissue; the observed R1 is that of the tissue,
    with its own R1f and R1s. R1f of this series follows from both, and differs from the tissue's:
    such is the assumption.
    """
    if name == "R1s":
        return np.full(labels.shape, OBSERVED_R1["R1s"].start)
    if name == "R1":
        pools = ("m0s", "R1f", "Rx", "R1s")
        return observed_rate(*(parameter_map(head, pool, labels, points) for pool in pools))
    return parameter_map(head, name, labels, points)


def observed_rate(m0s: Array, R1f: Array, Rx: Array, R1s: Array) -> Array:
    """The slower rate (1/s) at which two exchanging pools recover, elementwise.

    The smaller eigenvalue of relaxation and exchange: what an inversion recovery or variable
    flip angles see once the pools have equilibrated.
    """
    free, solid = R1f + Rx * m0s, R1s + Rx * (1 - m0s)
    root = np.sqrt(((free - solid) / 2) ** 2 + Rx**2 * m0s * (1 - m0s))
    rate: Array = (free + solid) / 2 - root
    return rate
