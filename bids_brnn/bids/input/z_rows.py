"""What the sidecars of the volumes of a Z-spectrum say of their MT pulses.

Three habits are read: BIDS with ``MTFlipAngle`` (``MTState``, ``MTOffsetFrequency``), where
``FlipAngle`` is that of the excitation; ``Angle`` and ``Offset`` of qmrust; and data whose
``FlipAngle`` is that of the MT pulse in images with one, that of the excitation in those without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_brnn.bids.input.z_constants import Statements
from bids_brnn.bids.input.z_series import Measurement
from bids_brnn.errors import DataError

ANGLES, OFFSETS = ("MTFlipAngle", "Angle"), ("MTOffsetFrequency", "Offset")
"""Keys of an MT pulse: its flip angle in deg, its offset in Hz; BIDS and ours first."""
_STATES = {"true": True, "false": False, "on": True, "off": False}
_ONLY_MT = 90.0
"""Degrees beyond which no excitation of a spoiled gradient echo goes."""


@dataclass(frozen=True)
class Row:
    """One measurement as its sidecars have it."""

    file: str
    on: bool
    angle: float | None = None
    """Of the MT pulse, deg; None: not said."""
    offset: float | None = None
    """Hz; None: not said."""


def read_rows(
    found: Sequence[Measurement],
    metadata: Sequence[Mapping[str, Any]],
    said: Statements,
    notes: list[str],
) -> list[Row]:
    """Measurements from the sidecars of their files.

    Parameters
    ----------
    found
        The measurements.
    metadata
        Of each, its sidecars merged.
    said
        Constants; ``FlipAngle`` of the excitation is added to them.
    notes
        Decisions; grows.

    Raises
    ------
    DataError
        If statements contradict each other or are no numbers.
    """
    states = [_state(item, about, notes) for item, about in zip(found, metadata, strict=True)]
    for item, about, on in zip(found, metadata, states, strict=True):
        if not on or _first(about, ANGLES, item.name) is not None:
            said.add("FlipAngle", about.get("FlipAngle"), item.name)
    excitation = said.number("FlipAngle")
    rows, taken = [], []
    for item, about, on in zip(found, metadata, states, strict=True):
        if not on:
            rows.append(Row(item.name, on=False))
            continue
        angle = _first(about, ANGLES, item.name)
        if angle is None:
            angle = _of_pulse(about, excitation, item.name)
            taken += [] if angle is None else [angle]
        if angle == 0:
            raise DataError(
                f"{item.name}: it is an image with MT pulse, whose flip angle is 0; write "
                '"MTState": false if there was none, else the angle in degrees.'
            )
        rows.append(Row(item.name, True, angle, _first(about, OFFSETS, item.name)))
    if taken:
        angles = ", ".join(f"{angle:g}" for angle in dict.fromkeys(taken))
        notes.append(
            f"{said.name}: FlipAngle of images with an MT pulse ({angles} deg) is taken as that "
            "of the MT pulse, as it is another one without."
        )
    return rows


def state_of(said: object) -> bool | None:
    """Whether there was an MT pulse, as ``MTState`` or a file name says; None if it says none."""
    if isinstance(said, bool):
        return said
    return _STATES.get(said.lower()) if isinstance(said, str) else None


def _state(item: Measurement, about: Mapping[str, Any], notes: list[str]) -> bool:
    """Whether there was an MT pulse."""
    key = about.get("MTState")
    told, named = state_of(key), state_of(item.labels[1])
    if key is not None and told is None:
        raise DataError(f"{item.name}: MTState is {key!r}; write true or false.")
    if told is not None and named is not None and told != named:
        raise DataError(
            f"{item.name}: its name says mt-{item.labels[1]}, MTState says {str(told).lower()}; "
            "correct one of them."
        )
    angle = _first(about, ANGLES, item.name)
    offset = _first(about, OFFSETS, item.name)
    for keys, value in ((OFFSETS, offset), (ANGLES, angle)):
        if told is False and value:
            which = next(key for key in keys if key in about)
            raise DataError(
                f"{item.name}: MTState is false, so that there was no MT pulse, but {which} is "
                f"{value:g}; correct one of them."
            )
    if named is False and offset:
        notes.append(
            f"{item.name}: its name says mt-off; the offset of {offset:g} Hz in its sidecar is "
            "not used."
        )
    if told is None:
        told = named
    if told is None:
        told = angle != 0
    return told


def _of_pulse(about: Mapping[str, Any], excitation: float | None, file: str) -> float | None:
    """``FlipAngle`` where it can be that of the MT pulse only, else None."""
    angle = _number(about, "FlipAngle", file)
    if angle is None:
        return None
    if excitation is None:
        return angle if angle > _ONLY_MT else None
    return None if math.isclose(angle, excitation, rel_tol=1e-6) else angle


def _first(about: Mapping[str, Any], keys: Sequence[str], file: str) -> float | None:
    """The number under one of several keys, which must agree."""
    given = {key: _number(about, key, file) for key in keys if about.get(key) is not None}
    if len(set(given.values())) > 1:
        words = ", ".join(f"{key} is {value:g}" for key, value in given.items())
        raise DataError(f"{file}: {words}, which mean the same; correct or remove one.")
    return next(iter(given.values()), None)


def _number(about: Mapping[str, Any], key: str, file: str) -> float | None:
    value = about.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{file}: {key} is {value!r}; one number is needed.")
    return float(value)
