"""Pulse trains and protocols as arrays and plain values, for files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from numpy.typing import NDArray

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum

_ARRAYS = tuple(item.name for item in fields(PulseSequence) if item.name not in ("start", "name"))
_TYPES: Mapping[str, str] = {"gradient": "U", "inversion": "b", "basis": "fc"}
"""Kinds of NumPy's types of arrays that are not of real numbers."""
_Z_ARRAYS = ("mt_flip_angle", "offset", "weights")


def arrays_of(sequence: PulseSequence | ZSpectrum) -> dict[str, NDArray[Any]]:
    """Arrays by name."""
    names = _Z_ARRAYS if isinstance(sequence, ZSpectrum) else _ARRAYS
    found = {name: getattr(sequence, name) for name in names}
    return {name: values for name, values in found.items() if values is not None}


def values_of(sequence: PulseSequence | ZSpectrum) -> dict[str, Any]:
    """Everything else, as JSON holds it, without the name."""
    if not isinstance(sequence, ZSpectrum):
        return {"start": sequence.start}
    shared = {
        item.name: getattr(sequence, item.name)
        for item in fields(ZSpectrum)
        if item.name not in (*_Z_ARRAYS, "pulse", "name")
    }
    return {"zspectrum": {**shared, "pulse": asdict(sequence.pulse)}}


def sequence_from(
    arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any], name: str
) -> PulseSequence | ZSpectrum:
    """Inverse of the two above.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing or of another type.
    """
    for key, array in arrays.items():
        if array.dtype.kind not in _TYPES.get(key, "f"):
            raise TypeError(f"{key} cannot be of type {array.dtype.name}")
    if "zspectrum" not in values:
        own: dict[str, Any] = {key: arrays[key] for key in _ARRAYS}
        return PulseSequence(**own, start=values["start"], name=name)
    shared: dict[str, Any] = dict(values["zspectrum"])
    pulse = MTPulse(**shared.pop("pulse"))
    own = {key: arrays[key] for key in _Z_ARRAYS if key in arrays}
    return ZSpectrum(**own, **shared, pulse=pulse, name=name)
