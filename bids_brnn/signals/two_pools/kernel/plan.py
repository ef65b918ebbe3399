"""A pulse train in the form that the compiled generalized Bloch kernel reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.signals.two_pools.kernel.layout import (
    ANGLE_LIMIT,
    FIRST_CLASS,
    FREE,
    GROUP,
    STEP,
    TILT_LIMIT,
    Layout,
    TableShape,
)  # fmt: skip
from bids_brnn.signals.two_pools.kernel.tables import Features, LowRank, pulse_tables
from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN, Lineshape
from bids_brnn.signals.two_pools.pulses.saturation import RATE_LIMIT
from bids_brnn.signals.two_pools.stepping.plan import CRUSH, ROTATE, SPOIL, WAIT, TrainPlan

Floats = NDArray[Any]
Range = tuple[float, float]
_CLASS_EDGES = (0.15, 0.75)
"""Flip angles, rad, between classes of pulses with tables of different rank."""
_LEAST_RANKS = (
    "4 1 2 2 1 1 0 0 0 1 0 1 1 1 0 0 0 1 0 1 0 0 1 1",
    "8 2 4 4 3 3 1 1 1 2 2 2 1 2 1 0 1 1 1 1 1 1 1 1",
    "11 7 7 7 6 5 2 2 3 4 3 4 3 3 3 1 3 2 2 2 2 3 3 3",
    "4",
)
"""Of the tables of each class, in their order, and of pulses between crushers. Trains that need
no more (pulses of 0.1 to 0.5 ms up to 1 kHz do not) share one program and wait for it once."""


@dataclass(frozen=True, eq=False)
class KernelPlan:
    """A pulse train in the form that the kernel reads."""

    layout: Layout
    tables: tuple[LowRank, ...]
    ranges: tuple[tuple[float, float], tuple[float, float]]
    """Domain of T2s (s) and of B1."""
    steps: NDArray[np.float64]
    """``(trains, steps, layout.step_size)``."""
    index: NDArray[np.int64]
    """``(trains, steps, 4)``: kind, positions of the constants for precession to the next pulse
    and to the sample, row of the signal."""
    sample: NDArray[np.int64]
    """``(trains, steps)``: row of the signal, or -1."""
    free_times: NDArray[np.float64]
    echo_times: NDArray[np.float64]
    repeats: bool
    inverted: bool
    n_samples: int
    longest_pulse: float

    @classmethod
    def build(
        cls,
        plan: TrainPlan,
        T2s_range: tuple[float, float],
        B1_range: tuple[float, float],
        lineshape: Lineshape = SUPER_LORENTZIAN,
    ) -> KernelPlan | None:
        """Prepare a train, or None where the kernel does not cover it.

        Parameters
        ----------
        plan
            Steps of the trains.
        T2s_range, B1_range
            Domain of the tables: bounds of the parameters.

        Returns
        -------
        KernelPlan or None
            None for pulses outside the tabulated effective rate.
        """
        rf = plan.kind != WAIT
        top = float(plan.flip[rf].max()) if rf.any() else 0.0
        if top * B1_range[1] > RATE_LIMIT * (1 + 1e-9):
            return None
        if not plan.repeats:
            plan = _with_lead(plan)
        trains, n_steps = plan.kind.shape
        padded = -(-n_steps // GROUP) * GROUP

        def pad(values: Floats, fill: float = 0) -> Floats:
            out = np.full((trains, padded), fill, values.dtype)
            out[:, :n_steps] = values
            return out

        following = np.roll(plan.before, -1, axis=1)
        increment = np.roll(plan.increment, -1, axis=1)
        free_times, free = np.unique((plan.after + following).round(12), return_inverse=True)
        echo_times, echo = np.unique(
            np.where(plan.sample >= 0, plan.after, plan.after[plan.sample >= 0][0]).round(12),
            return_inverse=True,
        )
        if n_steps < padded and free_times[0] > 0:
            free_times, free = np.concatenate([[0.0], free_times]), free + 1
        free, echo = free.reshape(plan.kind.shape), echo.reshape(plan.kind.shape)
        kind = _classes(plan)
        groups, tables, weights = _tables(plan, kind, lineshape, T2s_range, B1_range)
        layout = Layout(groups[:-1], groups[-1], len(echo_times) == 1)
        first_free = layout.echo + 2 * len(echo_times)
        steps = np.zeros((trains, padded, layout.step_size))
        columns = [
            plan.flip, plan.duration, np.cos(increment), np.sin(increment), free_times[free],
            echo_times[echo],
        ]  # fmt: skip
        for i, values in enumerate(columns):
            steps[..., i] = pad(values, 1.0 if STEP[i] == "cosine" else 0.0)
        steps[:, :n_steps, len(STEP) :] = weights
        index = np.zeros((trains, padded, 4), np.int64)
        index[..., 0] = pad(kind, WAIT)
        index[..., 1] = first_free + len(FREE) * pad(free.astype(np.int64))
        index[..., 2] = layout.echo + 2 * pad(echo.astype(np.int64))
        sample = pad(plan.sample, -1)
        # Without a sample, the kernel writes to a last row that nobody reads.
        index[..., 3] = np.where(sample >= 0, sample, trains * padded)
        return cls(
            layout, tables, (T2s_range, B1_range), steps, index, sample, free_times, echo_times,
            plan.repeats, plan.start == "inversion", int((plan.sample >= 0).sum()),
            float(plan.half.max()) * 2,
        )  # fmt: skip

    @cached_property
    def features(self) -> Features:
        """Of all tables."""
        return Features(self.tables, self.ranges)

    @cached_property
    def _steps(self) -> dict[np.dtype[Any], Floats]:
        return {}

    def steps_in(self, dtype: np.dtype[Any]) -> Floats:
        """``steps`` in a precision; kept, as every call needs them."""
        if dtype not in self._steps:
            self._steps[dtype] = np.ascontiguousarray(self.steps, dtype)
        return self._steps[dtype]

    @cached_property
    def kept_rows(self) -> dict[tuple[int, np.dtype[Any]], tuple[Floats, Floats]]:
        """By columns and precision: the last basis, and its rows as the program reads them."""
        return {}

    def covers(self, theta: Floats) -> bool:
        """Whether off-resonance turns the free pool little enough during the pulses."""
        tilt = float(np.abs(theta[:, 6]).max(initial=0.0)) * self.longest_pulse
        return tilt <= TILT_LIMIT and tilt**2 + RATE_LIMIT**2 <= ANGLE_LIMIT


def _with_lead(plan: TrainPlan) -> TrainPlan:
    """A first step without pulse: waiting from the start of the train to its first pulse."""
    fields: dict[str, Any] = {
        name: np.pad(values, ((0, 0), (1, 0)))
        for name, values in vars(plan).items()
        if isinstance(values, np.ndarray)
    }
    fields["sample"][:, 0] = -1
    return replace(plan, **fields)


def _classes(plan: TrainPlan) -> NDArray[np.int64]:
    """Kinds of the program: pulses of finite duration are sorted by flip angle."""
    kind = plan.kind.astype(np.int64)
    active = kind == ROTATE
    kind[active] = FIRST_CLASS + np.digitize(plan.flip[active], _CLASS_EDGES)
    return kind


def _tables(
    plan: TrainPlan, kind: NDArray[np.int64], lineshape: Lineshape, T2s_range: Range,
    B1_range: Range,
) -> tuple[tuple[tuple[TableShape, ...], ...], tuple[LowRank, ...], Floats]:  # fmt: skip
    """Shapes of the tables of each class, all tables, and weights per step."""
    masks = [kind == FIRST_CLASS + k for k in range(len(_CLASS_EDGES) + 1)]
    masks.append((kind == CRUSH) | (kind == SPOIL))
    shapes, weights = [], []
    tables: list[LowRank] = []
    for mask, least in zip(masks, _LEAST_RANKS, strict=True):
        pairs = np.stack([plan.flip[mask], plan.duration[mask]], axis=1)
        pulses, where = np.unique(pairs, axis=0, return_inverse=True)
        found = pulse_tables(pulses[:, 0], pulses[:, 1], lineshape, T2s_range, B1_range)
        # Between crushers only the saturation counts: the first table.
        found = tuple(t.padded(int(rank)) for t, rank in zip(found, least.split(), strict=False))
        shapes.append(tuple(TableShape(t.name, t.rank, t.by_T2s) for t in found))
        tables += found
        columns = np.concatenate([t.weights for t in found], axis=1)
        weights.append((mask, columns[where.reshape(-1)]))
    values = np.zeros((*kind.shape, max(columns.shape[1] for _, columns in weights)))
    for mask, columns in weights:
        values[mask, : columns.shape[1]] = columns
    return tuple(shapes), tuple(tables), values
