"""What gradients do between RF pulses: balanced, one fixed moment, crushers; or nothing known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.pulseq.samples import samples_of
from bids_brnn.pulseq.timeline import Timeline

_NONE = 1.0
"""1/m: smaller moments are rounding (2 degrees in 5 mm)."""
_SAME = 0.01
"""Relative difference of moments that are meant to be equal."""

Array = NDArray[np.float64]


def gradients_of(
    timeline: Timeline,
    kinds: Sequence[str],
    parts: Sequence[range],
    *,
    starts_fresh: bool,
    is_qmt: bool,
) -> dict[int, str]:
    """``gradient`` of each RF pulse of the trains, by its place in the file.

    Parameters
    ----------
    timeline
        What is played.
    kinds
        ``inversion`` or ``excitation`` of each pulse.
    parts
        Places of the pulses of each train.
    starts_fresh
        Whether a train starts from equilibrium: what follows its last pulse does not matter.
    is_qmt
        Whether crushers on both sides of an inversion refocus.

    Raises
    ------
    SequenceError
        If moments change along the train, or dephase before the sample.
    """
    moments = _between(timeline)
    samples = samples_of(timeline)
    centres = np.array([pulse.centre for pulse in timeline.pulses])
    found: dict[int, str] = {}
    for part in parts:
        last = part[-1]
        plain = [
            index
            for index in part
            if kinds[index] == "excitation"
            and not (index == last and starts_fresh)
            and not (index + 1 < len(kinds) and kinds[index + 1] == "inversion")
            and not (index == len(kinds) - 1 and kinds[0] == "inversion")
        ]
        moment = _common(moments, plain)
        if moment is not None:
            _check_order(timeline, centres, samples, plain, moment)
        usual = "balanced" if moment is None else "dephasing"
        for index in part:
            if kinds[index] == "excitation":
                found[index] = usual
            else:
                found[index] = _of_inversion(moments[index - 1], moments[index], is_qmt)
    return found


def _between(timeline: Timeline) -> Array:
    """Moment from the centre of each pulse to the next, ``(pulses, 3)``; the file repeats."""
    centres = np.array([pulse.centre for pulse in timeline.pulses])
    at = timeline.moments(centres)
    end = timeline.moments(np.array(timeline.duration))
    moments: Array = np.diff(at, axis=0, append=(end + at[0])[None])
    return moments


def _common(moments: Array, plain: Sequence[int]) -> Array | None:
    """The one moment of all intervals; None where all are balanced."""
    if not plain:
        return None
    sizes = np.linalg.norm(moments[list(plain)], axis=-1)
    if sizes.max() <= _NONE:
        return None
    first: Array = moments[plain[0]]
    for index in plain:
        off = float(np.linalg.norm(moments[index] - first))
        if off > max(_NONE, _SAME * float(sizes.max())):
            raise SequenceError(
                f"gradients between RF pulses {index + 1} and {index + 2} leave a moment of "
                f"{_shown(moments[index])} 1/m, those after RF pulse {plain[0] + 1} one of "
                f"{_shown(first)} 1/m; a table knows trains that are balanced or have one fixed "
                "moment"
            )
    return first


def _check_order(
    timeline: Timeline,
    centres: Array,
    samples: Sequence[float | None],
    plain: Sequence[int],
    moment: Array,
) -> None:
    """Refuse dephasing that comes before the sample: the model has it after."""
    size = float(np.linalg.norm(moment))
    for index in plain:
        time = samples[index]
        if time is None:
            continue
        way = timeline.moments(np.array([centres[index], time]))
        along = float((way[1] - way[0]) @ moment) / size
        if abs(along) > max(_NONE, 0.05 * size):
            raise SequenceError(
                f"the gradient that dephases after RF pulse {index + 1} acts before its sample "
                f"({along:.3g} of {size:.3g} 1/m); the FISP model has it after the sample"
            )


def _of_inversion(before: Array, after: Array, is_qmt: bool) -> str:
    if np.linalg.norm(after) <= _NONE:
        return "balanced"
    same = np.linalg.norm(before - after) <= max(_NONE, _SAME * float(np.linalg.norm(after)))
    return "crusher" if is_qmt and same else "spoiler"


def _shown(moment: Array) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in moment) + ")"
