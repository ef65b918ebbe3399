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
_PREPARATION = 0.006
"""Half of an adiabatic pulse, s: scanners count from its start, middle or end, tables may know
no duration of it."""
_SATURATING = (math.radians(75), math.radians(120))
"""Angles of a preparation whose recovery scanners call InversionTime, too."""
_RF, _GRADIENT = ("RF", "COMBINED"), "GRADIENT"
"""Values of ``SpoilingType``: those that say that the RF phase grows quadratically."""


def check_agreement(
    sequence: PulseSequence,
    metadata: Mapping[str, Any],
    beside: Mapping[str, Any],
    name: str,
    table: str,
    notes: list[str],
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
    notes
        What may be meant either way; grows.

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
        _balance(sequence, metadata.get("SpoilingType")),
        _phases(sequence, metadata.get("SpoilingType")),
    ):
        if contradiction:
            raise DataError(
                f"{name}: {contradiction} in {table}; correct the one that is wrong, or remove "
                "the key from the sidecar."
            )
    for state, gradients in _loosely_spoiled(sequence, metadata):
        notes.append(
            f"{name}: SpoilingState is {state} in the sidecar, but {gradients} in {table}, which "
            "is used: scanners mean RF spoiling alone, or any spoiler, by it."
        )


def _echo_times(sequence: PulseSequence, said: object) -> str:
    times = sequence.echo_time[np.isfinite(sequence.echo_time)]
    least, most = times.min(), times.max()
    # Of short echoes some scanners tell the time from the end of the pulse.
    half = float(sequence.rf_duration[np.isfinite(sequence.echo_time).any(-1)].max()) / 2
    for value in _numbers(said):
        slack = _RELATIVE * abs(value) + _TIME
        if value > 0 and not least - slack - half <= value <= most + slack:
            return f"EchoTime is {value:g} s in the sidecar, but {_range(times, 's')}"
    return ""


def _inversion(sequence: PulseSequence, said: object) -> str:
    """Scanners tell the time to the next pulse, or to the one at the centre of k-space."""
    intervals = sequence.repetition_time[sequence.inversion & ~sequence.padding]
    for value in _numbers(said):
        if value <= 0:  # of sequences without, by some converters
            continue
        slack = _RELATIVE * value + _PREPARATION
        if not intervals.size:
            # Trains that repeat with alternate signs, or begin inverted, need no pulse for it.
            if sequence.start in ("thermal", "periodic") and not _is_saturated(sequence):
                return f"InversionTime is {value:g} s in the sidecar, but there is no inversion"
        elif not intervals.min() - slack <= value <= _longest_recovery(sequence) + slack:
            where = f"the pulse after an inversion comes {_range(intervals, 's')} later"
            return f"InversionTime is {value:g} s in the sidecar, but {where}"
    return ""


def _is_saturated(sequence: PulseSequence) -> bool:
    """Whether a pulse without sample may be a saturation."""
    alone = ~np.isfinite(sequence.echo_time).any(-1)
    least, most = _SATURATING
    angle = sequence.flip_angle
    return bool((alone & (angle >= least) & (angle <= most)).any())


def _longest_recovery(sequence: PulseSequence) -> float:
    """From an inversion to the next one, or to the end of its train, s."""
    longest = 0.0
    for train in range(sequence.n_trains):
        times = np.concatenate([[0.0], np.cumsum(sequence.repetition_time[train])])
        moments = times[:-1][sequence.inversion[train] & ~sequence.padding[train]]
        if not moments.size:
            continue
        # A train that repeats goes on to the first inversion of its next turn.
        repeats = sequence.start in ("periodic", "antiperiodic")
        end = times[-1] + (moments[0] if repeats else 0.0)
        longest = max(longest, float(np.diff([*moments, end]).max()))
    return longest


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


def _loosely_spoiled(
    sequence: PulseSequence, metadata: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What a state says that is another one than in the table, but need not contradict it.

    Spoiling of DICOM may be that of RF alone, which FISP goes without; and converters make true of
    any spoiler in a sequence (SequenceVariant SP), which spin echoes have too.
    """
    said = metadata.get("SpoilingState")
    sampled = np.isfinite(sequence.echo_time).any(-1)
    odd = np.unique(sequence.gradient[sampled & (sequence.gradient != "balanced")])
    if said is False and odd.size:
        return [("false", f"the gradient of pulses is {odd[0]}")]
    if said is True and _is_balanced(sequence) and not _is_rf_spoiled(sequence):
        return [("true", "every gradient is balanced")]
    return []


def _is_balanced(sequence: PulseSequence) -> bool:
    return bool((sequence.gradient[~sequence.padding] == "balanced").all())


def _balance(sequence: PulseSequence, said: object) -> str:
    if _word(said) == _GRADIENT and _is_balanced(sequence):
        return f"SpoilingType is {_word(said)} in the sidecar, but every gradient is balanced"
    return ""


def _word(said: object) -> str:
    return said.strip().upper() if isinstance(said, str) else ""


def _phases(sequence: PulseSequence, said: object) -> str:
    if _word(said) in _RF and not _is_rf_spoiled(sequence):
        return f"SpoilingType is {_word(said)} in the sidecar, but RF phases grow by equal steps"
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
