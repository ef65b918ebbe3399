"""Z-spectra of QUIT (``qi qmt``): a JSON file with the sequence ``MTSat``, and NIfTI images.

TR and Trf in s, FA and sat_angle in degrees, sat_f0 in Hz; ``p1`` and ``p2`` are the integrals of
the amplitude and of its square over those of a rectangular pulse of the same peak and duration
(https://quit.readthedocs.io, doi:10.21105/joss.00656). They tell the bandwidth of a pulse of
known shape. The program wants a T1 map in s, B1 relative and f0 in Hz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from bids_brnn.bids.safe import read_json
from bids_brnn.errors import DataError, SequenceError, UsageError
from bids_brnn.sequences.mt_pulse import MTPulse, Shape
from bids_brnn.system.kinds import ListOf, Number, Table, Text, problem

UNITS: Mapping[str, str] = {"T1": "s", "R1": "1/s", "B1": "1", "B0": "Hz"}
"""That the program prescribes, by map."""
_NUMBER = Number(-1e9, 1e9)
_PULSE = Table({"p1": Number(1e-6, 1), "p2": Number(1e-6, 1)}, {"name": Text(), "Trf": _NUMBER})
_SEQUENCE = Table(
    {
        "TR": _NUMBER,
        "FA": _NUMBER,
        "sat_f0": ListOf(_NUMBER, 1),
        "sat_angle": ListOf(_NUMBER, 1),
        "pulse": _PULSE,
    },
    {"Trf": _NUMBER},
)
_SHAPES: Mapping[str, Shape] = {
    "gauss": "GAUSSIAN", "gaussian": "GAUSSIAN", "gausshann": "GAUSSHANN",
    "hanninggauss": "GAUSSHANN", "hard": "HARD", "rect": "HARD", "block": "HARD", "sinc": "SINC",
    "sinchann": "SINCHANN", "sincgauss": "SINCGAUSS", "fermi": "FERMI",
}  # fmt: skip
"""By what the name of a pulse says, without spaces and marks; names are free in QUIT."""
_FIXED = ("HARD", "FERMI")
_ROUNDED = 0.01
"""Largest difference of p1 and p2: they are written with two or three digits."""
_PRODUCTS = (0.05, 12.0)  # bandwidth times duration: least, most
_POINTS = 1000  # of the midpoint rule; its error is far below the rounding of p1 and p2


@dataclass(frozen=True)
class Protocol:
    """What the sequence says."""

    name: str
    angles: list[float]
    """deg."""
    offsets: list[float]
    """Hz."""
    constants: dict[str, Any]


def read_protocol(path: Path, shape: str | None = None) -> Protocol:
    """The sequence ``MTSat`` of an input of QUIT.

    Parameters
    ----------
    path
        JSON.
    shape
        Of the MT pulse, where its name does not tell.

    Raises
    ------
    DataError
        If keys are missing, lists differ in length, or no pulse of the shape has the integrals.
    UsageError
        If the shape is not told.
    """
    found = read_json(path).get("MTSat")
    if text := problem(_SEQUENCE, found, f"MTSat of {path.name}"):
        raise DataError(text)
    sequence: Mapping[str, Any] = found if isinstance(found, dict) else {}
    angles, offsets = sequence["sat_angle"], sequence["sat_f0"]
    if len(angles) != len(offsets):
        raise DataError(
            f"{path.name}: sat_angle has {len(angles)} entries, sat_f0 {len(offsets)}; one of "
            "each is needed for each image"
        )
    pulse = sequence["pulse"]
    durations = {float(part["Trf"]) for part in (sequence, pulse) if "Trf" in part}
    if len(durations) != 1:
        raise DataError(
            f"{path.name}: Trf, the duration of the MT pulse in s, must stand once in MTSat or in "
            f"its pulse; there {'are two values' if durations else 'is none'}"
        )
    (duration,) = durations
    word = shape or _shape_of(pulse, path.name)
    constants: dict[str, Any] = {
        "MTPulseShape": word,
        "MTPulseDuration": duration,
        "FlipAngle": sequence["FA"],
        "RepetitionTimeExcitation": sequence["TR"],
    }
    if duration > 0:
        width = bandwidth_of(cast("Shape", word), duration, pulse["p1"], pulse["p2"], path.name)
        constants["MTPulseBandwidth"] = width
    return Protocol(path.name, list(map(float, angles)), list(map(float, offsets)), constants)


def _shape_of(pulse: Mapping[str, Any], name: str) -> str:
    said = pulse.get("name", "")
    plain = "".join(sign for sign in str(said).lower() if sign.isalnum()).removesuffix("pulse")
    if plain not in _SHAPES:
        raise UsageError(
            f"{name}: the pulse is called {said!r}, which tells no shape; give --pulse-shape"
        )
    return _SHAPES[plain]


def bandwidth_of(shape: Shape, duration: float, p1: float, p2: float, name: str) -> float | None:
    """Bandwidth (Hz) with which a pulse has the integrals; None where its shape has none.

    Parameters
    ----------
    shape, duration
        Of the pulse; s.
    p1, p2
        Integrals of amplitude and squared amplitude, relative to a rectangle of the same peak.

    Raises
    ------
    DataError
        If no pulse of this shape has them.
    """

    def away(product: float) -> float:
        first, second = integrals(MTPulse(shape, duration, product / duration))
        return math.hypot(first - p1, second - p2)

    try:
        best = 1.0 if shape in _FIXED else _nearest(away)
        first, second = integrals(MTPulse(shape, duration, best / duration))
    except SequenceError as error:
        raise DataError(f"{name}: {error}") from error
    if math.hypot(first - p1, second - p2) > _ROUNDED:
        raise DataError(
            f"{name}: no {shape} pulse has p1 = {p1:g} and p2 = {p2:g} (the nearest has "
            f"{first:.3f} and {second:.3f}); give the right --pulse-shape"
        )
    return None if shape in _FIXED else round(best / duration, 2)


def _nearest(away: Callable[[float], float]) -> float:
    """The product of bandwidth and duration with the least distance: a grid, then finer ones."""
    products = np.geomspace(*_PRODUCTS, 100)
    for _ in range(4):
        best = int(np.argmin([away(product) for product in products]))
        around = products[max(0, best - 1)], products[min(best + 1, len(products) - 1)]
        found, products = float(products[best]), np.geomspace(*around, 20)
    return found


def integrals(pulse: MTPulse) -> tuple[float, float]:
    """``p1`` and ``p2`` of a pulse whose peak is 1."""
    envelope = pulse.envelope(pulse.duration * (np.arange(_POINTS) + 0.5) / _POINTS)
    return float(envelope.mean()), float((envelope**2).mean())
