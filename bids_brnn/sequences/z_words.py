"""What columns and constants of a Z-spectrum mean, for templates and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from bids_brnn.sequences.mt_pulse import Shape
from bids_brnn.sequences.z_spectrum import COLUMNS

MEANINGS: Mapping[str, tuple[str, str]] = {
    "mt_flip_angle": ("deg", "flip angle of the MT pulse on resonance"),
    "offset": ("Hz", "frequency of the MT pulse less that of water"),
    "mt_state": ("", "whether there was an MT pulse: on or off"),
    "MTPulseShape": ("", f"one of {', '.join(get_args(Shape))}"),
    "MTPulseDuration": ("s", "of the MT pulse"),
    "FlipAngle": ("deg", "of the excitation"),
    "RepetitionTimeExcitation": ("s", "from one MT pulse to the next"),
    "MTPulseBandwidth": (
        "Hz",
        "full width at half maximum of the spectrum of a Gaussian; time-bandwidth product over "
        "duration of a sinc",
    ),
    "MTDelay": ("s", "from the end of the MT pulse to the excitation"),
    "ExcitationDuration": ("s", "of the excitation"),
    "Normalised": ("", "true: the images are divided by that without MT pulse"),
}
"""Unit (empty where there is none) and meaning, by column and constant."""
UNITS: Mapping[str, str] = {name: MEANINGS[name][0] for name in COLUMNS}
"""Of the columns."""


def described() -> dict[str, dict[str, str]]:
    """What the JSON file beside a table says of its columns."""
    return {
        name: {"Description": meaning} | ({"Units": unit} if unit else {})
        for name, (unit, meaning) in ((name, MEANINGS[name]) for name in COLUMNS)
    }
