"""Whether what a sidecar says of a pulse train agrees with its table, which is what counts.

Scanners and converters write keys of BIDS that the table says better. They are not needed, but
where both speak of one thing and differ, one of them is of another measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.input.declared import KEYS
from bids_brnn.errors import DataError
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.system.kinds import shown

_RELATIVE, _TIME, _ANGLE = 0.1, 1e-4, 0.5
"""Rounding and nominal values: a tenth of what the table says, and 0.1 ms or half a degree."""
_RF = ("RF", "COMBINED")
"""Values of ``SpoilingType`` that say that the RF phase grows quadratically."""


def check_agreement(
    sequence: PulseSequence,
    metadata: Mapping[str, Any],
    beside: Mapping[str, Any],
    name: str,
    table: str,
) -> None:
    """Refuse a sidecar that contradicts the pulse table of its series.

    Parameters
    ----------
    sequence
        Of the table.
    metadata
        Sidecar of the series.
    beside
        What the JSON file of the table's name holds.
    name, table
        Of the series and of the table, for messages.

    Raises
    ------
    DataError
        Naming the key and both values.
    """
    for key in KEYS:
        if key in beside and beside[key] != metadata.get(key):
            told = f"is {shown(metadata[key])} there" if key in metadata else "is not there"
            raise DataError(
                f"{name}: {key} is {shown(beside[key])} in the JSON file of {table}, where it is "
                f"not read; it belongs into the sidecar of the series, and {told}. Correct one."
            )
    for contradiction in (
        _echo_times(sequence, metadata.get("EchoTime")),
        _inversion(sequence, metadata.get("InversionTime")),
        _angles(sequence, metadata.get("FlipAngle")),
        _gradients(sequence, metadata.get("SpoilingState")),
        _phases(sequence, metadata.get("SpoilingType")),
    ):
        if contradiction:
            raise DataError(
                f"{name}: {contradiction} in {table}; correct the one that is wrong, or remove "
                "the key from the sidecar."
            )


def _echo_times(sequence: PulseSequence, said: object) -> str:
    times = sequence.echo_time[np.isfinite(sequence.echo_time)]
    least, most = times.min(), times.max()
    for value in _numbers(said):
        slack = _RELATIVE * abs(value) + _TIME
        if not least - slack <= value <= most + slack:
            return f"EchoTime is {value:g} s in the sidecar, but {_range(times, 's')}"
    return ""


def _inversion(sequence: PulseSequence, said: object) -> str:
    intervals = sequence.repetition_time[sequence.inversion & ~sequence.padding]
    for value in _numbers(said):
        if value <= 0:  # of sequences without, by some converters
            continue
        if not intervals.size:
            # Trains that repeat with alternate signs, or begin inverted, need no pulse for it.
            if sequence.start in ("thermal", "periodic"):
                return f"InversionTime is {value:g} s in the sidecar, but there is no inversion"
        elif np.min(np.abs(intervals - value)) > _RELATIVE * value + 10 * _TIME:
            where = f"the pulse after an inversion comes {_range(intervals, 's')} later"
            return f"InversionTime is {value:g} s in the sidecar, but {where}"
    return ""


def _angles(sequence: PulseSequence, said: object) -> str:
    """Of one number only where the train has one angle: of others it is a nominal scale."""
    played = sequence.flip_angle[~sequence.inversion & ~sequence.padding]
    sampled = sequence.flip_angle[np.isfinite(sequence.echo_time).any(-1) & ~sequence.inversion]
    values = np.degrees(sampled)
    told = np.array(_numbers(said))
    if told.size > 1:
        for own in (sampled, played):
            if told.size == own.size and _close(told, np.degrees(own)):
                return ""
        if told.size in (sampled.size, played.size):
            return "FlipAngle of the sidecar lists other angles than those"
    elif told.size and values.size and np.ptp(values) <= _ANGLE and not _close(told, values):
        return f"FlipAngle is {told[0]:g} deg in the sidecar, but {_range(values, 'deg')}"
    return ""


def _close(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return bool((np.abs(first - second) <= _RELATIVE * np.abs(second) + _ANGLE).all())


def _gradients(sequence: PulseSequence, said: object) -> str:
    sampled = np.isfinite(sequence.echo_time).any(-1)
    if said is False and (sequence.gradient[sampled] != "balanced").any():
        odd = sequence.gradient[sampled & (sequence.gradient != "balanced")][0]
        return f"SpoilingState is false in the sidecar, but the gradient of pulses is {odd}"
    everything = sequence.gradient[~sequence.padding]
    if said is True and (everything == "balanced").all() and not _is_rf_spoiled(sequence):
        return "SpoilingState is true in the sidecar, but every gradient is balanced"
    return ""


def _phases(sequence: PulseSequence, said: object) -> str:
    if isinstance(said, str) and said.strip().upper() in _RF and not _is_rf_spoiled(sequence):
        return f"SpoilingType is {said.strip()} in the sidecar, but RF phases grow by equal steps"
    return ""


def _is_rf_spoiled(sequence: PulseSequence) -> bool:
    """Whether the phase of excitations grows other than by equal steps."""
    for train in range(sequence.n_trains):
        counts = ~sequence.inversion[train] & ~sequence.padding[train]
        second = np.diff(sequence.rf_phase[train, counts], n=2)
        if (np.abs(np.angle(np.exp(1j * second))) > math.radians(_ANGLE)).any():
            return True
    return False


def _range(values: NDArray[np.float64], unit: str) -> str:
    least, most = values.min(), values.max()
    return f"{least:g} {unit}" if math.isclose(least, most) else f"{least:g} to {most:g} {unit}"


def _numbers(said: object) -> Sequence[float]:
    """Finite numbers of a key that converters write; anything else says nothing."""
    items = said if isinstance(said, list) else [said]
    found = [float(v) for v in items if isinstance(v, int | float) and not isinstance(v, bool)]
    return found if len(found) == len(items) and all(map(math.isfinite, found)) else []
