"""Where the samples of a train lie: one after each RF pulse, at the centre of k-space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.pulseq.timeline import Readout, Timeline

_STILL = 0.5
"""1/m: moments below this move nothing by a noticeable phase (1 degree in 5 mm)."""
_CENTRE = 0.1
"""Share of the largest |k| of a readout below which it has passed the centre."""
_PHASE = 5e-3  # rad


def samples_of(timeline: Timeline) -> list[float | None]:
    """Time of the sample after each RF pulse, s; None where nothing is sampled.

    Raises
    ------
    SequenceError
        If there are several echoes after one pulse, samples before the first pulse, none at the
        centre of k-space, or a receiver whose phase does not follow that of the pulses.
    """
    centres = np.array([pulse.centre for pulse in timeline.pulses])
    after: list[list[Readout]] = [[] for _ in centres]
    for readout in timeline.readouts:
        index = int(np.searchsorted(centres, readout.times[0], side="right")) - 1
        if index < 0:
            raise SequenceError(
                "the file samples before its first RF pulse (noise?); no model has such a sample"
            )
        if index + 1 < len(centres) and readout.times[-1] > centres[index + 1]:
            raise SequenceError(f"a readout lasts beyond RF pulse {index + 2}")
        after[index].append(readout)
    if not timeline.readouts:
        raise SequenceError("the file samples nothing: it has no ADC")
    found: list[float | None] = []
    nearest, largest, turns = [], [0.0], []
    for number, (readouts, pulse) in enumerate(zip(after, timeline.pulses, strict=True), 1):
        if not readouts:
            found.append(None)
            continue
        chosen, time, distance, reach = _echo(timeline, readouts, pulse.centre, number)
        nearest.append(distance)
        largest.append(reach)
        found.append(time)
        receiver = float(np.interp(time, chosen.times, chosen.phases))
        turns.append((number, receiver - pulse.phase))
        half = chosen.times[-1] - chosen.times[0] + 1e-9
        if chosen.off_resonance and not timeline.is_on(time - half, time + half):
            raise SequenceError(
                f"the receiver after RF pulse {number} is {chosen.off_resonance:g} Hz off "
                "resonance without a gradient; these models sample on resonance"
            )
    if min(nearest) > max(_STILL, _CENTRE * max(largest)):
        raise SequenceError(
            f"no sample lies at the centre of k-space: the nearest one is {min(nearest):.3g} 1/m "
            "away, so that gradients are in another place than these models have them"
        )
    _check_receiver(turns)
    return found


def _echo(
    timeline: Timeline, readouts: Sequence[Readout], centre: float, number: int
) -> tuple[Readout, float, float, float]:
    """The readout with the echo, its time, and the smallest and largest |k| (1/m)."""
    start = timeline.moments(np.array(centre))
    ways = [np.linalg.norm(timeline.moments(each.times) - start, axis=-1) for each in readouts]
    reach = max(float(way.max()) for way in ways)
    closest = min(float(way.min()) for way in ways)
    limit = closest + max(_STILL, _CENTRE * reach)
    at = [index for index, way in enumerate(ways) if way.min() <= limit]
    if len(at) > 1:
        raise SequenceError(
            f"{len(at)} echoes are sampled after RF pulse {number}; multi-echo trains cannot be "
            "imported"
        )
    readout, way = readouts[at[0]], ways[at[0]]
    return readout, _time_of_echo(readout.times, way), closest, reach


def _time_of_echo(times: NDArray[np.float64], way: NDArray[np.float64]) -> float:
    """Where |k| is smallest; the middle where it does not change."""
    if np.ptp(way) <= _STILL or len(times) == 1:
        return float((times[0] + times[-1]) / 2)
    least = int(way.argmin())
    for other in (least - 1, least + 1):  # between two samples that are equally near
        if 0 <= other < len(way) and abs(way[other] - way[least]) < 0.05 * np.ptp(way[
            max(least - 1, 0) : least + 2]):  # fmt: skip
            return float((times[least] + times[other]) / 2)
    return float(times[least])


def _check_receiver(turns: Sequence[tuple[int, float]]) -> None:
    """Refuse receivers whose phase, less that of the pulse, changes along the train."""
    first = turns[0][1]
    for number, turn in turns:
        off = abs((turn - first + np.pi) % (2 * np.pi) - np.pi)
        if off > _PHASE:
            raise SequenceError(
                f"the phase of the receiver does not follow that of RF pulse {number}: their "
                f"difference changes by {np.degrees(off):.3g} degrees along the train, which a "
                "table cannot say"
            )
