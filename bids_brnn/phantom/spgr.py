"""The series of conventional qMT: spoiled gradient echoes with off-resonant MT pulses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_brnn.phantom.anatomy import Array, Head, parameter_map
from bids_brnn.phantom.series import Series
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model, model_entry
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

MODEL = "gbloch-zspectrum"
"""Signal model that makes the images."""
_QUALITY = 5 / 3  # of images over single time frames: SNR 100 where the data set has 60


def spgr_series(
    protocol: ZSpectrum,
    *,
    model: str = MODEL,
    acquisition: str = "spgr",
    fields: Sequence[str] = ("B1", "w0"),
    quality: float = _QUALITY,
) -> Series:
    """Magnitudes, one image per MT pulse, with maps of R1 and of ``fields``."""
    names = {"B1": f"acq-{acquisition}_TB1map", "w0": f"acq-{acquisition}_fieldmap"}
    return Series(
        ObservedR1(build_model(model, protocol)),
        protocol,
        model_entry(model),
        acquisition=acquisition,
        parts=("mag",),
        metadata={"PulseSequenceType": "spoiled gradient echo with off-resonant MT pulses"},
        fields={"R1": "desc-vfa_R1map", **{name: names[name] for name in fields}},
        tissue=conventional_tissue,
        quality=quality,
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
