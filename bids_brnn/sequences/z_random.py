"""Protocols of Z-spectra at random: a prior of what a scanner could play."""

from __future__ import annotations

import math

import numpy as np

from bids_brnn.sequences.mt_pulse import MTPulse, Shape
from bids_brnn.sequences.z_spectrum import ZSpectrum

_SHAPES: dict[Shape, float] = {
    "HARD": 0.06, "GAUSSIAN": 0.34, "GAUSSHANN": 0.25, "SINC": 0.12, "SINCHANN": 0.08,
    "SINCGAUSS": 0.05, "FERMI": 0.10,
}  # fmt: skip
"""Shares."""
_MOST_FIELD = 2 * math.pi * 42.577e6 * 25e-6
"""rad/s: 25 uT."""
_FEWEST = 5
"""Images."""


def random_protocol(rng: np.random.Generator) -> ZSpectrum:
    """A protocol that a scanner could play: 5 to 30 images, one to three flip angles.

    Pulses last 5 to 20 ms, the root of their power over a repetition is 100 to 1400 rad/s, and
    their offsets begin at 200 to 1500 Hz and end at 8 to 60 kHz; six in ten protocols measure
    every angle at every offset, a third is divided by the image without MT pulse.
    """
    while True:
        found = _drawn(rng)
        if found is not None:
            return found


def _drawn(rng: np.random.Generator) -> ZSpectrum | None:
    """A protocol, or None where its peak field is out of reach or images are too few."""
    duration = _log_uniform(rng, 0.005, 0.02)
    shape = list(_SHAPES)[int(rng.choice(len(_SHAPES), p=list(_SHAPES.values())))]
    narrow = shape.startswith("GAUSS") and rng.random() < 0.5
    pulse = MTPulse(shape, duration, rng.uniform(1.0, 3.0) / duration if narrow else None)
    delay = float(rng.choice([0.0, 0.001, 0.002, 0.003, 0.005]))
    excitation = rng.uniform(5e-4, 3e-3)
    repetition = duration + delay + excitation + _log_uniform(rng, 4e-3, 0.05)
    n_angles = int(rng.choice([1, 2, 2, 2, 3]))
    mean_field = np.exp(rng.uniform(math.log(100), math.log(1400), n_angles))
    angles = mean_field * math.sqrt(repetition / pulse.power)
    if (angles / pulse.area).max() > _MOST_FIELD:
        return None
    angle, offset = _measurements(rng, angles)
    divided = bool(rng.random() < 0.35)
    weights = np.ones(len(angle))
    if not divided:
        angle, offset = np.append(0.0, angle), np.append(0.0, offset)
        weights = np.append(float(rng.choice([1, 1, 2])), weights)
    if len(angle) < _FEWEST:
        return None
    return ZSpectrum(
        angle, offset, pulse, math.radians(rng.uniform(3, 20)), repetition, delay, excitation,
        divided, None if (weights == 1).all() else weights,
    )  # fmt: skip


def _measurements(rng: np.random.Generator, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle (rad) and offset (Hz) of 4 to 29 images with MT pulse."""
    low, high = _log_uniform(rng, 200, 1500), _log_uniform(rng, 8000, 60000)
    n = int(rng.integers(4, 30))
    if rng.random() < 0.6:
        each = max(2, n // len(angles))
        offset = np.geomspace(low, high, each) * np.exp(0.05 * rng.standard_normal(each))
        return np.repeat(angles, each), np.tile(offset, len(angles))
    return rng.choice(angles, n), np.exp(rng.uniform(math.log(low), math.log(high), n))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def figures(protocol: ZSpectrum) -> dict[str, float]:
    """What protocols differ in, by words and units: where a network for many of them ends."""
    on = protocol.mt_flip_angle > 0
    largest = float(protocol.mt_flip_angle.max())
    offset = np.abs(protocol.offset[on])
    pulse = protocol.pulse
    return {
        "number of images": float(protocol.n_samples),
        "repetition time (s)": protocol.repetition_time,
        "duration of the MT pulse (s)": pulse.duration,
        "root mean square field of the MT pulses (rad/s)": largest
        * math.sqrt(pulse.power / protocol.repetition_time),
        "excitation flip angle (deg)": math.degrees(protocol.flip_angle),
        "lowest offset (Hz)": float(offset.min()),
        "highest offset (Hz)": float(offset.max()),
    }
