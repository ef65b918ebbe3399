"""Protocols of conventional qMT: one shaped, off-resonant MT pulse per excitation, several times.

Angles are radians, offsets Hz as on disk. The MT pulse begins a repetition; a delay, a short
excitation and the rest of the repetition time follow (spoiled gradient echo).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError, unknown_names
from bids_brnn.sequences.columns import REMARKS
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.system.kinds import point

MOST_OFFSET = 1e6
"""Hz."""
MOST_ANGLE = 1e4
"""rad; that of 10 uT for 3 s is 8,000."""
MOST_CYCLES = 1e5
"""Offset times duration: 20 kHz for 5 s."""


@dataclass(frozen=True, eq=False)
class ZSpectrum:
    """Measurements ``N`` of one acquisition, and the timing that they share.

    Raises
    ------
    SequenceError
        If a time does not fit, an angle or offset is impossible, or no pulse is on.
    """

    mt_flip_angle: NDArray[np.float64]
    """``(N,)`` rad; 0 where the MT pulse is off."""
    offset: NDArray[np.float64]
    """``(N,)`` Hz."""
    pulse: MTPulse
    flip_angle: float
    """Of the excitation, rad."""
    repetition_time: float
    """s."""
    mt_delay: float = 0.0
    """s, from the end of the MT pulse to the start of the excitation."""
    excitation_duration: float = 0.0
    """s."""
    normalised: bool = False
    """Whether the images are divided by that without MT pulse."""
    weights: NDArray[np.float64] | None = None
    """``(N,)``: number of images averaged in each measurement; None: one each."""
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.mt_flip_angle.shape != self.offset.shape or self.offset.ndim != 1:
            raise SequenceError("mt_flip_angle and offset need one value per measurement")
        if not np.isfinite(self.mt_flip_angle).all() or not np.isfinite(self.offset).all():
            raise SequenceError("mt_flip_angle and offset must be finite")
        self._check_sizes()
        if not (self.mt_flip_angle > 0).any():
            raise SequenceError("no measurement has an MT pulse")
        weights = self.weights
        if weights is not None and not (
            weights.shape == self.offset.shape and (weights > 0).all()
        ):
            raise SequenceError("weights need one number above 0 per measurement")
        if self.rest < 0 or min(self.mt_delay, self.excitation_duration) < 0:
            raise SequenceError(
                f"MT pulse, delay and excitation last {self.repetition_time - self.rest:g} s, "
                f"longer than the repetition time of {self.repetition_time:g} s"
            )

    def _check_sizes(self) -> None:
        """Refuse what no scanner does: a pulse is computed in steps of its oscillations."""
        offset = float(np.abs(self.offset).max(initial=0.0))
        for name, value, most, unit in (
            ("the largest offset", offset, MOST_OFFSET, "Hz"),
            ("the largest flip angle", float(np.abs(self.mt_flip_angle).max(initial=0.0)),
             MOST_ANGLE, "rad"),
            ("offset times duration", offset * self.pulse.duration, MOST_CYCLES,
             "cycles in one pulse"),
        ):  # fmt: skip
            if value > most:
                raise SequenceError(
                    f"{name} of the MT pulses is {value:.3g} {unit}, above {most:g}; offsets are "
                    "in Hz, angles in degrees in tables and sidecars, durations in s"
                )

    @property
    def rest(self) -> float:
        """s, from the end of the excitation to the next MT pulse."""
        used = self.pulse.duration + self.mt_delay + self.excitation_duration
        return self.repetition_time - used

    @property
    def duration(self) -> float:
        """s, of one repetition of each measurement."""
        return self.repetition_time * self.n_samples

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return len(self.offset)

    @property
    def amplitude(self) -> Literal["real", "one"]:
        """What is unknown of M0: a real scale, or nothing where images come divided by it."""
        return "one" if self.normalised else "real"

    @property
    def mtr_index(self) -> int:
        """The measurement of the conventional MT ratio: :data:`MTR_OFFSET`, largest angle.

        That is, of the measurements whose offset is nearest to it (as a ratio), the one with the
        largest flip angle.
        """
        on = self.mt_flip_angle > 0
        away = np.abs(np.log(np.maximum(np.abs(self.offset), 1.0) / MTR_OFFSET))
        away = np.where(on, np.round(away, 6), np.inf)
        nearest = away == away.min()
        return int(np.argmax(np.where(nearest, self.mt_flip_angle, -1.0)))

    @property
    def digest(self) -> str:
        """Hash of the values."""
        state = hashlib.sha256()
        for values in (self.mt_flip_angle, self.offset):
            state.update(np.round(values, 9).tobytes())
        pulse = self.pulse
        width = -1.0 if pulse.bandwidth is None else pulse.bandwidth
        times = (self.repetition_time, self.mt_delay, self.excitation_duration)
        numbers = (pulse.duration, width, self.flip_angle, *times)
        # Numbers of NumPy and of Python are the same.
        words = [f"{float(value):.12g}" for value in numbers]
        state.update(" ".join([pulse.shape, *words, str(bool(self.normalised))]).encode())
        if self.weights is not None:
            state.update(np.round(self.weights, 9).tobytes())
        return state.hexdigest()[:16]

    @classmethod
    def from_table(
        cls, table: Mapping[str, list[str]], constants: Mapping[str, Any], name: str = ""
    ) -> ZSpectrum:
        """A protocol from the columns of a ``zspectrum.tsv`` and what its JSON says.

        Parameters
        ----------
        table
            Texts by column: ``mt_flip_angle`` (deg), ``offset`` (Hz), ``mt_state`` (``on`` or
            ``off``; by default on), and any of :data:`CONSTANTS` with the same value in each row.
        constants
            :data:`CONSTANTS` by name; angles in deg, times in s, frequencies in Hz.
        name
            For messages.

        Raises
        ------
        SequenceError
            Naming what is unknown, missing or impossible.
        """
        known = [*COLUMNS, *CONSTANTS]
        if unknown := sorted(set(table) - {*known, *REMARKS}):
            raise SequenceError(unknown_names(name, "column", unknown, known))
        given = {**{key: constants[key] for key in CONSTANTS if key in constants}}
        for key in CONSTANTS.keys() & table.keys():
            values = set(table[key])
            if len(values) != 1:
                raise SequenceError(f"{name}: {key} must be the same in every row")
            given[key] = values.pop()
        needed = [key for key, (is_needed, _) in CONSTANTS.items() if is_needed]
        missing = [key for key in ("mt_flip_angle", "offset") if key not in table]
        missing += [key for key in needed if key not in given]
        if missing:
            example = ", ".join(f'"{key}": {CONSTANTS[key][1]}' for key in needed)
            raise SequenceError(
                f"{name}: {', '.join(missing)} missing; columns are mt_flip_angle (deg) and "
                f"offset (Hz), and constants stand in its JSON, for example {{{example}}}"
            )
        states = table.get("mt_state", ["on"] * len(table["offset"]))
        on = [_state(value, f"{name}, row {row}") for row, value in enumerate(states, 1)]
        angle, offset = (
            np.array(
                [
                    _number(text, key, f"{name}, row {row}") if is_on else 0.0
                    for row, (text, is_on) in enumerate(zip(table[key], on, strict=True), 1)
                ]
            )
            for key in ("mt_flip_angle", "offset")
        )
        _check_units(angle, offset, name)
        numbers = {
            key: _number(given[key], key, name)
            for key in CONSTANTS.keys() & given.keys() - {"MTPulseShape", "Normalised"}
        }
        _check_constants(numbers, name)
        normalised = _is_true(given.get("Normalised"), "Normalised", name)
        if not normalised and (angle > 0).all():
            raise SequenceError(
                f"{name}: there is no image without MT pulse (mt_state off; one whose pulse is so "
                "far from water that it saturates nothing counts as such); if the images are "
                'divided by it already, say "Normalised": true'
            )
        return cls(
            mt_flip_angle=np.deg2rad(angle),
            offset=offset,
            pulse=MTPulse(
                str(given["MTPulseShape"]).upper(),  # type: ignore[arg-type]
                numbers["MTPulseDuration"],
                numbers.get("MTPulseBandwidth"),
            ),
            flip_angle=math.radians(numbers["FlipAngle"]),
            repetition_time=numbers["RepetitionTimeExcitation"],
            mt_delay=numbers.get("MTDelay", 0.0),
            excitation_duration=numbers.get("ExcitationDuration", 0.0),
            normalised=normalised,
            name=name,
        )

    def to_table(self) -> tuple[dict[str, list[float | str]], dict[str, float | str | bool]]:
        """Columns and constants from which :meth:`from_table` makes this protocol again.

        Angles in deg, offsets in Hz, times in s; an offset without MT pulse is 0.
        """
        on = self.mt_flip_angle > 0
        table: dict[str, list[float | str]] = {
            "mt_flip_angle": np.round(np.rad2deg(self.mt_flip_angle), 9).tolist(),
            "offset": np.where(on, self.offset, 0.0).tolist(),
            "mt_state": np.where(on, "on", "off").tolist(),
        }
        constants: dict[str, float | str | bool] = {
            "MTPulseShape": self.pulse.shape,
            "MTPulseDuration": self.pulse.duration,
            "FlipAngle": round(math.degrees(self.flip_angle), 9),
            "RepetitionTimeExcitation": self.repetition_time,
            "MTDelay": self.mt_delay,
            "ExcitationDuration": self.excitation_duration,
            "Normalised": self.normalised,
        }
        if self.pulse.bandwidth is not None:
            constants["MTPulseBandwidth"] = self.pulse.bandwidth
        return table, constants


MTR_OFFSET = 1500.0
"""Hz: clinical MT ratios are measured at 1 to 2 kHz."""
COLUMNS = ("mt_flip_angle", "offset", "mt_state")
"""Of ``zspectrum.tsv``: deg, Hz, on or off."""
CONSTANTS: Mapping[str, tuple[bool, str]] = {
    "MTPulseShape": (True, '"GAUSSHANN"'),
    "MTPulseDuration": (True, "0.0102"),
    "FlipAngle": (True, "7"),
    "RepetitionTimeExcitation": (True, "0.025"),
    "MTPulseBandwidth": (False, "200"),
    "MTDelay": (False, "0.003"),
    "ExcitationDuration": (False, "0.0018"),
    "Normalised": (False, "false"),
}
"""What all measurements share: whether it must be given, and an example."""
_FLAGS = {"true": True, "1": True, "false": False, "0": False, "none": False, "n/a": False}
_MOST_DEGREES = 1500.0
_LEAST_DEGREES = 8.0  # of an MT pulse that saturates anything
_LEAST_OFFSET = 20.0  # Hz; no MT pulse is so long that it would tell this from 0
_MOST_OFFSET = 1e6  # Hz
_RANGES: Mapping[str, tuple[float, float, str]] = {
    "MTPulseDuration": (1e-5, 2.0, "s"),
    "FlipAngle": (0.5, 90.0, "degrees, that of the excitation"),
    "RepetitionTimeExcitation": (1e-3, 5.0, "s"),
    "MTPulseBandwidth": (5.0, 1e5, "Hz"),
    "MTDelay": (0.0, 1.0, "s"),
    "ExcitationDuration": (0.0, 0.1, "s"),
}
"""What scanners play, by key: least, most, unit."""


def usual_protocol() -> ZSpectrum:
    """Two MT flip angles at six offsets and an image without MT pulse, of a 3 T protocol."""
    offsets = np.array([1000.0, 2000.0, 4000.0, 7000.0, 12000.0, 20000.0])
    return ZSpectrum(
        mt_flip_angle=np.deg2rad(np.array([0.0, *[350.0] * 6, *[650.0] * 6])),
        offset=np.array([0.0, *offsets, *offsets]),
        pulse=MTPulse("GAUSSIAN", 0.012),
        flip_angle=math.radians(8.0),
        repetition_time=0.032,
        mt_delay=0.002,
        excitation_duration=0.001,
        name="usual",
    )


def _number(value: object, key: str, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise SequenceError(f"{name}: {key} is {value!r}; a finite number is needed{point(value)}")
    return number


def _is_true(value: object, key: str, name: str) -> bool:
    """A constant that is true or false; a column holds it as text. None, and n/a, say nothing."""
    found = _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise SequenceError(f"{name}: {key} is {value!r}; write true or false")
    return found


def _state(value: str, name: str) -> bool:
    if value.strip().lower() not in ("on", "off"):
        raise SequenceError(f'{name}: mt_state is "{value}"; it is on or off')
    return value.strip().lower() == "on"


def _check_units(angle: NDArray[np.float64], offset: NDArray[np.float64], name: str) -> None:
    """Refuse values that mean another unit than degrees and Hz."""
    on = angle > 0
    if (angle < 0).any() or (angle > _MOST_DEGREES).any():
        worst = angle.min() if (angle < 0).any() else angle.max()
        raise SequenceError(
            f"{name}: mt_flip_angle is {worst:g} once; degrees from 0 to {_MOST_DEGREES:g} are "
            "needed"
        )
    if (on & (offset == 0)).any():
        raise SequenceError(
            f"{name}: offset is 0 in row {int(np.argmax(on & (offset == 0))) + 1}, where there is "
            "an MT pulse; write how far it is from water in Hz, or mt_state off if there was none"
        )
    # One value in another unit among others is as wrong as all of them.
    if on.any() and (angle[on].max() < 4 * math.pi or angle[on].min() < _LEAST_DEGREES):
        every = angle[on].max() < 4 * math.pi
        words = f"{angle[on].max():.4g} at most" if every else f"{angle[on].min():.4g} once"
        raise SequenceError(f"{name}: mt_flip_angle is {words}; write it in degrees, not radians")
    size = np.abs(offset[on])
    if size.size and (size.max() < 200 or size.min() < _LEAST_OFFSET):
        worst = size.max() if size.max() < 200 else size.min()
        where = "at most" if size.max() < 200 else "once"
        raise SequenceError(
            f"{name}: offset is {worst:g} {where}; write it in Hz, not in kHz or ppm"
        )
    if size.size and size.max() > _MOST_OFFSET:
        raise SequenceError(f"{name}: offset reaches {size.max():g}; write it in Hz")


def _check_constants(numbers: Mapping[str, float], name: str) -> None:
    """Refuse constants that mean another unit than degrees, s and Hz."""
    for key, (low, high, unit) in _RANGES.items():
        if key in numbers and not low <= numbers[key] <= high:
            raise SequenceError(
                f"{name}: {key} is {numbers[key]:g}; write it in {unit} ({low:g} to {high:g})"
            )
