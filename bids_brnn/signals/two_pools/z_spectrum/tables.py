"""Which panels there are, and which one a voxel lies in: a tree of boxes for each MT pulse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from bids_brnn.parameters import ParameterSet
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.two_pools.pulses.lineshapes import Lineshape
from bids_brnn.signals.two_pools.z_spectrum.panels import (
    Box,
    Panel,
    Pulse,
    Ranges,
    chebyshev,
    pack,
)  # fmt: skip
from bids_brnn.signals.two_pools.z_spectrum.responses import SolidPool
from bids_brnn.system.threads import in_threads

Array = NDArray[np.float64]


@dataclass
class _Node:
    """A box; a panel by its number, or two halves, or nothing yet."""

    box: Box
    depth: int = 0
    panel: int = -1
    axis: int = -1
    """That the halves are along: 0 of B1, 1 of w0."""
    halves: tuple[_Node, _Node] | None = None
    lock: Lock = field(default_factory=Lock)
    """Of the thread that makes it."""

    @property
    def made(self) -> bool:
        """Whether there is a panel, or halves."""
        return self.panel >= 0 or self.halves is not None


@dataclass(eq=False)
class Tables:
    """Panels of all measurements of a protocol, made when they are first needed."""

    protocol: ZSpectrum
    lineshape: Lineshape
    parameters: ParameterSet
    panels: list[Panel] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        B1, w0 = self.parameters["B1"], self.parameters["w0"]
        slack = 1e-5
        self.box: Box = (
            B1.lower * (1 - slack), B1.upper * (1 + slack),
            w0.lower * (1 + slack), w0.upper * (1 + slack),
        )  # fmt: skip
        self.ranges = Ranges.of(self.parameters)
        solid_pool = SolidPool(self.protocol.pulse, self.lineshape)
        self._pulses: dict[tuple[float, float], tuple[Pulse, _Node]] = {}
        for key in zip(
            self.protocol.mt_flip_angle.tolist(), self.protocol.offset.tolist(), strict=True
        ):
            if key[0] > 0 and key not in self._pulses:
                self._pulses[key] = Pulse(*key, solid_pool, self.ranges), _Node(self.box)
        self._flat: tuple[int, NDArray[np.int64], Array, Array] | None = None

    def locate(self, B1: Array, w0: Array, threads: int = 1) -> NDArray[np.int64]:
        """Number of the panel ``(V, N)`` of each measurement; -1 without MT pulse.

        Panels that are missing are made, by up to ``threads`` threads; of threads that ask at the
        same time none makes what another one makes. Tables have the same values however many do,
        and in whatever order.
        """
        while True:
            where, missing = self._found(B1, w0)
            if not missing:
                return where
            list(in_threads(self._make, missing, threads))
            for _, node in missing:  # another thread may be at some of them
                with node.lock:
                    pass

    def _found(self, B1: Array, w0: Array) -> tuple[NDArray[np.int64], list[tuple[Pulse, _Node]]]:
        """The same as far as there are panels, and boxes where they end without one."""
        where = np.full((len(B1), self.protocol.n_samples), -1, dtype=np.int64)
        rows = np.arange(len(B1))
        missing: dict[int, tuple[Pulse, _Node]] = {}
        for n, key in enumerate(
            zip(self.protocol.mt_flip_angle.tolist(), self.protocol.offset.tolist(), strict=True)
        ):
            if key[0] > 0:
                pulse, root = self._pulses[key]
                for node in _descend(root, B1, w0, rows, where[:, n]):
                    missing[id(node)] = (pulse, node)
        return where, list(missing.values())

    def _make(self, item: tuple[Pulse, _Node]) -> None:
        """The panel of a box, or its halves; nothing if another thread is at it."""
        pulse, node = item
        if not node.lock.acquire(blocking=False):
            return
        try:
            if node.made:
                return
            found = pulse.build(node.box, node.depth)
            if isinstance(found, Panel):
                with self._lock:
                    self.panels.append(found)
                    node.panel = len(self.panels) - 1
            else:
                node.axis, node.halves = found, _halves(node, found)
        finally:
            node.lock.release()

    def flat(self) -> tuple[NDArray[np.int64], Array, Array]:
        """Layout, boxes and data as the kernel reads them."""
        with self._lock:
            if self._flat is None or self._flat[0] != len(self.panels):
                self._flat = (len(self.panels), *_flatten(self.panels))
            return self._flat[1:]

    def excitation(self) -> Array:
        """``(n1, n2, n3, 1)``: what a rectangular excitation leaves of the semi-solid pool."""
        duration, flip = self.protocol.excitation_duration, self.protocol.flip_angle
        if duration == 0 or flip == 0:
            return np.ones((1, 1, 1, 1))
        pool = SolidPool(MTPulse("HARD", duration), self.lineshape)
        nothing = np.empty((len(pool.w1.ravel()), 0))

        def line(B1s: Array, w0: float, log_T2s: float) -> Array:
            memory = pool.memory(-w0, math.exp(log_T2s))
            return pack(pool.responses(flip * B1s, memory, nothing))

        bounds = (*self.box, *self.ranges.log_T2s)
        return chebyshev(line, bounds, [6, 7, 10])


def _descend(
    node: _Node, B1: Array, w0: Array, rows: NDArray[np.int64], out: NDArray[np.int64]
) -> Iterator[_Node]:
    """Fill in numbers of panels; boxes of ``rows`` that have neither panel nor halves."""
    if not len(rows):
        return
    if node.halves is not None:
        lower, upper = node.halves
        beyond = (B1, w0)[node.axis][rows] >= upper.box[2 * node.axis]
        yield from _descend(lower, B1, w0, rows[~beyond], out)
        yield from _descend(upper, B1, w0, rows[beyond], out)
    elif node.panel < 0:
        yield node
    else:
        out[rows] = node.panel


def _halves(node: _Node, axis: int) -> tuple[_Node, _Node]:
    low, high = node.box[2 * axis], node.box[2 * axis + 1]
    lower, upper = list(node.box), list(node.box)
    lower[2 * axis + 1] = upper[2 * axis] = (low + high) / 2
    first, second = (
        _Node((box[0], box[1], box[2], box[3]), node.depth + 1) for box in (lower, upper)
    )
    return first, second


def _flatten(panels: list[Panel]) -> tuple[NDArray[np.int64], Array, Array]:
    layout = np.zeros((len(panels), 10), dtype=np.int64)
    boxes = np.empty((len(panels), 4))
    parts, place = [], 0
    for row, panel in enumerate(panels):
        layout[row, 0] = len(panel.basis.parity)
        for column, table in ((1, panel.free), (5, panel.solid)):
            layout[row, column : column + 3] = table.shape[-4:-1]
            layout[row, column + 3] = place
            parts.append(table.ravel())
            place += table.size
        layout[row, 9] = place
        parts.append(panel.basis.constants)
        place += len(parts[-1])
        B1_low, B1_high, w0_low, w0_high = panel.box
        boxes[row] = ((B1_low + B1_high) / 2, (B1_high - B1_low) / 2,
                      (w0_low + w0_high) / 2, (w0_high - w0_low) / 2)  # fmt: skip
    return layout, boxes, np.concatenate(parts) if parts else np.empty(0)
