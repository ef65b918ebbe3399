"""From what a sequence plays to a pulse table; what no table says is refused, never dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np

from bids_brnn.errors import SequenceError
from bids_brnn.pulseq.gradients import gradients_of
from bids_brnn.pulseq.repeats import Row, cut, is_shifted
from bids_brnn.pulseq.samples import samples_of
from bids_brnn.pulseq.timeline import Pulse, Timeline
from bids_brnn.sequences.pulse_sequence import PulseSequence, Start
from bids_brnn.signals.registry import ModelEntry

Unlabelled = Literal["inversion", "excitation"]
_NEARLY_180 = math.radians(170.0)
_INVERTED, _FULLY = -0.9, -0.99
"""Mz after over before: at most this of an inversion; beyond the second a note is due."""
_RECOVERED = 5.0
"""s between two plays after which grey matter (T1 of 1.3 s at 3 T) misses 2 % of equilibrium."""
_TRANSVERSE = 0.05
_B1 = (0.8, 0.9, 1.0, 1.1, 1.2)
_REFUSED = {
    "refocusing": "spin echoes are not what these models describe",
    "saturation": "these models know no saturation pulses",
    "preparation": "these models know no preparation pulses but inversions",
}


@dataclass(frozen=True)
class Imported:
    """A train from a file, and what was decided on the way."""

    sequence: PulseSequence
    notes: list[str] = field(default_factory=list)


def sequence_of(
    timeline: Timeline,
    entry: ModelEntry,
    *,
    start: Start | None = None,
    trains: int = 1,
    unlabelled: Unlabelled | None = None,
    name: str = "",
) -> Imported:
    """The pulse trains of a timeline for a signal model.

    Parameters
    ----------
    timeline
        What is played.
    entry
        The signal model that the table is for.
    start
        State before the first pulse; None: of models of steady states what the repetitions of the
        file tell, of others that of the model.
    trains
        Number of different trains of equal length in the file; each may be repeated.
    unlabelled
        What RF pulses of 180 degrees are of which the file does not say it.
    name
        Of the file, for messages.

    Raises
    ------
    SequenceError
        Naming the RF pulse (counted from 1) and what a table cannot say of it.
    """
    pulses = timeline.pulses
    if len(pulses) < 2:
        raise SequenceError(f"{name} plays fewer than two RF pulses; a train needs more")
    notes: list[str] = []
    kinds = [_kind(pulse, number, unlabelled) for number, pulse in enumerate(pulses, 1)]
    _check_shapes(timeline, kinds, entry, notes)
    samples = samples_of(timeline)
    rows = _rows(timeline, kinds, samples)
    parts, copies, shifted = cut(rows, trains)
    pause = min(rows[part[-1]].repetition for part in parts)
    start = _start(start, entry, copies, shifted, pause, notes)
    gradients = gradients_of(
        timeline, kinds, parts, starts_fresh=start in ("thermal", "inversion"),
        is_qmt=entry.needs_duration,
    )  # fmt: skip
    _check_inversions(timeline, kinds, parts, gradients, entry, notes)
    table = _table(rows, parts, gradients, repeats=start in ("periodic", "antiperiodic"))
    found = PulseSequence.from_table(
        table, start=start, needs_duration=entry.needs_duration, name=name
    )
    return Imported(found, notes)


def _kind(pulse: Pulse, number: int, unlabelled: Unlabelled | None) -> str:
    """``inversion`` or ``excitation``."""
    if pulse.use in _REFUSED:
        raise SequenceError(f"RF pulse {number} is used for {pulse.use}: {_REFUSED[pulse.use]}")
    if pulse.use in ("inversion", "excitation"):
        return pulse.use
    strong = not pulse.shape.is_real or abs(pulse.shape.area) >= _NEARLY_180
    if strong and np.abs(pulse.shape.amplitude).max() > 0:
        if unlabelled is None:
            raise SequenceError(
                f"RF pulse {number} turns by about 180 degrees, and the file does not say whether "
                "it inverts (Pulseq before 1.5 knows no use of pulses); say it with "
                "--unlabelled-180 inversion or excitation"
            )
        return unlabelled
    return "excitation"


def _check_shapes(
    timeline: Timeline, kinds: Sequence[str], entry: ModelEntry, notes: list[str]
) -> None:
    """Refuse shapes that the model does not know, and shapes that differ."""
    profile, selective = None, False
    for number, (pulse, kind) in enumerate(zip(timeline.pulses, kinds, strict=True), 1):
        shape = pulse.shape
        half = shape.duration / 2
        is_on = timeline.is_on(pulse.centre - half, pulse.centre + half)
        if pulse.off_resonance and not is_on:
            raise SequenceError(
                f"RF pulse {number} is {pulse.off_resonance:g} Hz off resonance, without a "
                "gradient that would make it select a slice; these models know pulses on "
                "resonance only"
            )
        if not np.abs(shape.amplitude).max() > 0:
            continue
        if entry.needs_duration and not shape.is_rectangular:
            raise SequenceError(
                f"RF pulse {number} is not rectangular; the model {entry.name} knows rectangular "
                "pulses only"
            )
        if kind == "inversion":
            continue
        if not shape.is_real:
            raise SequenceError(
                f"the phase of RF pulse {number} changes during the pulse, so that it turns about "
                "no fixed axis; a table knows its flip angle only"
            )
        selective |= is_on
        if shape.is_rectangular and not is_on:
            continue
        here = (shape.duration, shape.profile)
        if profile is None:
            profile = here
        elif (
            abs(here[0] - profile[0]) > 1e-6
            or np.abs(here[1] - profile[1]).max() > 0.02 * np.abs(profile[1]).max()
        ):
            raise SequenceError(
                f"RF pulse {number} has another shape or duration than those before; excitations "
                "of one table share their slice profile"
            )
    if selective:
        notes.append(
            "RF pulses select a slice; the table holds the flip angle in its middle, and the "
            "profile is not part of the model."
        )


def _check_inversions(
    timeline: Timeline,
    kinds: Sequence[str],
    parts: Sequence[range],
    gradients: dict[int, str],
    entry: ModelEntry,
    notes: list[str],
) -> None:
    """Refuse inversions that do not invert, or that leave transverse magnetization."""
    looked: dict[int, tuple[float, float]] = {}
    for index in (index for part in parts for index in part if kinds[index] == "inversion"):
        shape = timeline.pulses[index].shape
        if id(shape) not in looked:
            left = 0.0
            if not shape.is_real:
                left = max(shape.after(scale)[1] for scale in _B1)
            elif gradients[index] == "balanced":
                left = max(abs(math.sin(abs(shape.area) * scale)) for scale in _B1)
            z = math.cos(abs(shape.area)) if shape.is_real else shape.after()[0]
            looked[id(shape)] = (z, left)
            if _INVERTED >= z > _FULLY:
                notes.append(
                    f"RF pulse {index + 1} inverts {-100 * z:.0f} %; the table says 180 degrees."
                )
        z, left = looked[id(shape)]
        if z > _INVERTED:
            raise SequenceError(
                f"RF pulse {index + 1} is called an inversion, but leaves {z:.2f} of the "
                "longitudinal magnetization on resonance, not -1"
            )
        if gradients[index] == "balanced" and not entry.needs_duration:
            if left > _TRANSVERSE:
                raise SequenceError(
                    f"no gradient spoils what RF pulse {index + 1}, an inversion, leaves "
                    "transverse where B1 is not nominal; these models take it as spoiled"
                )
            gradients[index] = "spoiler"


def _rows(
    timeline: Timeline, kinds: Sequence[str], samples: Sequence[float | None]
) -> list[Row]:  # fmt: skip
    centres = np.array([pulse.centre for pulse in timeline.pulses])
    ends = np.append(centres[1:], timeline.duration + centres[0])
    return [
        Row(
            flip=math.pi if kind == "inversion" else abs(pulse.shape.area),
            phase=pulse.phase,
            duration=pulse.shape.duration,
            inverts=kind == "inversion",
            rectangular=pulse.shape.is_rectangular,
            echo=None if sample is None else sample - pulse.centre,
            repetition=float(end - pulse.centre),
        )
        for pulse, kind, sample, end in zip(timeline.pulses, kinds, samples, ends, strict=True)
    ]


def _start(
    wanted: Start | None,
    entry: ModelEntry,
    copies: int,
    shifted: bool,
    pause: float,
    notes: list[str],
) -> Start:
    told = is_shifted(shifted)
    if copies > 1:
        notes.append(f"The file plays its train {copies} times; the table holds it once.")
    if wanted is not None:
        return wanted
    if entry.start not in ("periodic", "antiperiodic"):
        if copies > 1 and pause < _RECOVERED:
            notes.append(
                "Each play of the train is taken to begin in equilibrium, but the next one begins "
                f"{pause:.3g} s after the last pulse, before tissue has recovered. That is right "
                "for other slices only: else use the images of the first play, or pause longer."
            )
        return entry.start
    if copies == 1:
        raise SequenceError(
            "the file plays its train once, which does not tell how it is repeated; say it with "
            "--boundary-condition (periodic: with the same RF phases, antiperiodic: with all of "
            "them turned by 180 degrees, thermal: from equilibrium)"
        )
    notes.append(f'The repetitions of the train in the file make it "{told}".')
    return cast("Start", told)


def _table(
    rows: Sequence[Row], parts: Sequence[range], gradients: dict[int, str], *, repeats: bool
) -> dict[str, list[str]]:
    """Columns of the table, in degrees and seconds."""
    names = ("train", "onset", "flip_angle", "duration", "phase", "shape", "pulse_type",
             "gradient", "readout", "echo_time")  # fmt: skip
    table: dict[str, list[str]] = {name: [] for name in names}

    def add(*cells: str) -> None:
        for name, cell in zip(names, cells, strict=True):
            table[name].append(cell)

    for train, part in enumerate(parts, 1):
        onset = 0.0
        for index in part:
            row = rows[index]
            kind = "inversion" if row.inverts else "excitation"
            echo = "n/a" if row.echo is None else _text(row.echo)
            shape = "rect" if row.rectangular or not row.flip else "shaped"
            add(
                str(train), _text(onset), _degrees(row.flip), _text(row.duration),
                _degrees(row.phase % (2 * math.pi)), shape, kind, gradients[index],
                str(int(row.echo is not None)), echo,
            )  # fmt: skip
            onset += row.repetition
        last, before = rows[part[-1]].repetition, rows[part[max(len(part) - 2, 0)]].repetition
        if repeats and abs(last - before) > 1e-8:
            # A table repeats its last interval; half of the pause, twice, is the pause.
            phase = _degrees(rows[part[-1]].phase % (2 * math.pi))
            add(str(train), _text(onset - last / 2), "0", "0", phase, "rect", "excitation",
                "balanced", "0", "n/a")  # fmt: skip
    return table


def _text(seconds: float) -> str:
    return f"{round(seconds, 9):.12g}"


def _degrees(angle: float) -> str:
    degrees = round(math.degrees(angle), 4)
    return f"{degrees % 360 if degrees >= 360 - 5e-4 else degrees:.9g}"
