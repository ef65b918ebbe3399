"""What the scanner played: RF pulse trains as plain arrays, independent of any tissue model.

Inside, angles are radians and times seconds; degrees exist only in ``rfpulses.tsv`` and are
converted in :meth:`PulseSequence.from_table` and :meth:`PulseSequence.to_table`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.columns import check_names
from bids_brnn.sequences.table import Columns, pad_trains

Start = Literal["antiperiodic", "periodic", "thermal", "inversion"]
"""State before the first pulse of each train.

``periodic`` and ``antiperiodic``: the train repeats for ever and the state reproduces itself, the
transverse part with a change of sign in the antiperiodic case. ``thermal``: equilibrium.
``inversion``: equilibrium with the water magnetization inverted."""
Gradient = Literal["balanced", "crusher", "spoiler", "dephasing"]
"""``crusher``: equal moments before and after the pulse; ``spoiler``: transverse magnetization
destroyed before and after it; ``dephasing``: one fixed moment per repetition (FISP)."""

_TIME_SLACK = 1e-9  # s; tables are decimal text


@dataclass(frozen=True, eq=False)
class PulseSequence:
    """RF pulse trains; every array is ``(trains, pulses)`` unless stated otherwise."""

    flip_angle: NDArray[np.float64]
    """Nominal flip angle, rad."""
    rf_duration: NDArray[np.float64]
    """Duration of the (rectangular) pulse, s; 0 for an instantaneous pulse."""
    rf_phase: NDArray[np.float64]
    """Phase of the pulse, rad."""
    repetition_time: NDArray[np.float64]
    """From the centre of this pulse to the centre of the next, s."""
    echo_time: NDArray[np.float64]
    """``(trains, pulses, echoes)``: from pulse centre to sample, s; NaN where no sample."""
    gradient: NDArray[np.str_]
    """One of :data:`Gradient`."""
    inversion: NDArray[np.bool_]
    """Whether the pulse is an inversion pulse."""
    start: Start
    name: str = ""

    def __post_init__(self) -> None:
        shape = self.flip_angle.shape
        for field in ("rf_duration", "rf_phase", "repetition_time", "gradient", "inversion"):
            if getattr(self, field).shape != shape or len(shape) != 2:
                raise SequenceError(f"{field} must have the shape (trains, pulses) of flip_angle")
        if self.echo_time.ndim != 3 or self.echo_time.shape[:2] != shape:
            raise SequenceError("echo_time must have the shape (trains, pulses, echoes)")
        if self.start not in get_args(Start):
            raise SequenceError(
                f'BoundaryCondition "{self.start}" is unknown; '
                f"use one of {', '.join(get_args(Start))}"
            )
        self._check_values()
        self._check_timing()
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def _refuse(self, bad: NDArray[np.bool_], field: str, values: NDArray[Any], why: str) -> None:
        if bad.any():
            train, pulse = np.argwhere(bad)[0][:2]
            value = values[train, pulse]
            shown = f"{value:g}" if np.ndim(value) == 0 and not isinstance(value, str) else value
            # Padding has no row in the table; the rows of earlier trains come before.
            row = int((~self.padding[:train]).sum()) + pulse + 1
            raise SequenceError(
                f"{field} = {shown} at train {train + 1}, pulse {pulse + 1} (row {row}): {why}"
            )

    def _check_values(self) -> None:
        for field in ("flip_angle", "rf_duration", "rf_phase", "repetition_time"):
            values = getattr(self, field)
            self._refuse(~np.isfinite(values), field, values, "a finite number is needed")
        self._refuse(self.flip_angle < 0, "flip_angle", self.flip_angle, "must not be negative")
        self._refuse(
            self.flip_angle > 2 * math.pi + 1e-9,
            "flip_angle",
            self.flip_angle,
            "radians are expected here (degrees only in rfpulses.tsv), none above 2 pi",
        )
        self._refuse(self.rf_duration < 0, "rf_duration", self.rf_duration, "must not be negative")
        unknown = ~np.isin(self.gradient, get_args(Gradient))
        self._refuse(
            unknown, "gradient", self.gradient, f"use one of {', '.join(get_args(Gradient))}"
        )
        if not np.isfinite(self.echo_time).any():
            raise SequenceError("the pulse train has no sample: readout is 1 nowhere")

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Rows that last no time and do nothing; they end trains shorter than the longest."""
        total = self.repetition_time + self.flip_angle + self.rf_duration  # none is negative
        return np.asarray(total == 0)

    def _half_of_next_pulse(self) -> NDArray[np.float64]:
        ahead = np.zeros(self.flip_angle.shape)
        ahead[:, :-1] = self.rf_duration[:, 1:] / 2
        if self.start in ("periodic", "antiperiodic"):  # the train starts again after its end
            last = self.n_pulses - 1 - self.padding.sum(axis=1)
            ahead[np.arange(self.n_trains), last] = self.rf_duration[:, 0] / 2
        return ahead

    def _check_timing(self) -> None:
        tr, half = self.repetition_time, self.rf_duration / 2
        self._refuse(
            (tr <= 0) & ~self.padding, "repetition_time", tr, "onsets of pulses must increase"
        )
        ahead = self._half_of_next_pulse()
        self._refuse(
            half + ahead > tr + _TIME_SLACK,
            "repetition_time",
            tr,
            "shorter than half of this pulse plus half of the next: the pulses overlap",
        )
        echo = np.where(np.isfinite(self.echo_time), self.echo_time, np.nan)
        with np.errstate(invalid="ignore"):
            early = np.any(echo < half[..., None] - _TIME_SLACK, axis=-1)
            late = np.any(echo > (tr - ahead)[..., None] + _TIME_SLACK, axis=-1)
            late |= np.any(echo > tr[..., None] - _TIME_SLACK, axis=-1)
            unsorted = np.any(np.diff(echo, axis=-1) <= 0, axis=-1)
        shown = np.nan_to_num(echo, nan=0.0).max(-1)
        self._refuse(early, "echo_time", shown, "a sample lies within the RF pulse")
        self._refuse(late, "echo_time", shown, "the sample lies after the start of the next pulse")
        self._refuse(unsorted, "echo_time", shown, "echo times of one pulse must increase")

    @property
    def n_trains(self) -> int:
        """Number of trains."""
        return int(self.flip_angle.shape[0])

    @property
    def n_pulses(self) -> int:
        """Pulses per train."""
        return int(self.flip_angle.shape[1])

    @property
    def n_samples(self) -> int:
        """Samples of all trains: the rows of a basis or the frames of a series."""
        return int(np.isfinite(self.echo_time).sum())

    @property
    def duration(self) -> float:
        """Duration of all trains, s."""
        return float(self.repetition_time.sum())

    @property
    def digest(self) -> str:
        """Stable hash: equal for equal trains, whatever file or text format they came through."""
        state = hashlib.sha256(self.start.encode())
        for values, step in (
            (self.flip_angle, 1e-6),
            (self.rf_duration, 1e-9),
            (np.mod(self.rf_phase + 1e-6, 2 * math.pi), 1e-5),
            (self.repetition_time, 1e-9),
            (np.nan_to_num(self.echo_time, nan=-1.0), 1e-9),
        ):
            # Half a step of offset keeps round numbers away from the rounding border.
            state.update(np.floor(values / step + 0.5).astype(np.int64).tobytes())
        state.update(",".join(self.gradient.ravel()).encode())
        state.update(self.inversion.tobytes())
        return state.hexdigest()[:16]

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Sequence[object]],
        *,
        start: Start,
        default_gradient: Gradient = "balanced",
        last_repetition_time: float | None = None,
        needs_duration: bool = True,
        name: str = "",
    ) -> PulseSequence:
        """Read the columns of an ``rfpulses.tsv`` (``design`` in ``docs/inputs.md``).

        Parameters
        ----------
        table
            Columns ``onset`` (s), ``flip_angle`` (deg), ``pulse_type``, ``readout``; optional
            ``train``, ``duration`` (s), ``phase`` (deg), ``gradient``, ``shape``, ``echo_time``
            (s; several samples after one pulse are separated by commas). Cells are text or
            numbers; ``n/a`` means absent.
        start
            State before the first pulse (``BoundaryCondition``).
        default_gradient
            Where the ``gradient`` column is absent.
        last_repetition_time
            Interval after the last pulse of a train, s; by default that before it.
        needs_duration
            Whether every pulse with a flip angle needs a duration above 0 (qMT).

        Raises
        ------
        SequenceError
            Naming column, row (counted from 1 below the header) and value.
        """
        columns = Columns(table)
        check_names(columns.table)
        for column in ("onset", "flip_angle", "pulse_type", "readout"):
            columns.require(column)
        if needs_duration:
            columns.require("duration")
        return cls(
            **pad_trains(columns, default_gradient, last_repetition_time, needs_duration),
            start=start,
            name=name,
        )

    def to_table(self) -> dict[str, list[str]]:
        """The columns of an ``rfpulses.tsv``; :meth:`from_table` gives the same digest back."""
        rows: dict[str, list[str]] = {
            key: []
            for key in (
                "train", "onset", "flip_angle", "duration", "phase",
                "pulse_type", "gradient", "readout", "echo_time",
            )
        }  # fmt: skip
        for train in range(self.n_trains):
            onsets = np.concatenate([[0.0], np.cumsum(self.repetition_time[train])[:-1]])
            for pulse in range(self.n_pulses):
                echoes = self.echo_time[train, pulse]
                echoes = echoes[np.isfinite(echoes)]
                rows["train"].append(str(train + 1))
                rows["onset"].append(f"{onsets[pulse]:.12g}")
                rows["flip_angle"].append(f"{math.degrees(self.flip_angle[train, pulse]):.12g}")
                rows["duration"].append(f"{self.rf_duration[train, pulse]:.9g}")
                rows["phase"].append(f"{math.degrees(self.rf_phase[train, pulse]):.9g}")
                kind = "inversion" if self.inversion[train, pulse] else "excitation"
                rows["pulse_type"].append(kind)
                rows["gradient"].append(str(self.gradient[train, pulse]))
                rows["readout"].append(str(int(echoes.size > 0)))
                rows["echo_time"].append(",".join(f"{t:.9g}" for t in echoes) or "n/a")
        return rows
