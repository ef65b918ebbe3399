"""Where the compiled generalized Bloch kernel finds its numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

GROUP = 8
"""Steps between two projections on the basis; trains are padded to a multiple."""
PARAMETERS = ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s", "w0", "B1")
EXCHANGING = ("m0s", "R1f", "Rx", "R1s")
"""Parameters of relaxation and exchange along z."""
ANGLE_LIMIT = 24.0
"""Largest square of the rotation angle of a pulse including off-resonance, rad^2."""
TILT_LIMIT = 1.5
"""Largest off-resonance angle during a pulse, rad."""
STEP = ("flip", "duration", "cosine", "sine", "free", "echo")
"""Numbers of a step before the weights of its tables; cosine and sine of the change of phase
after it, times of free precession to the next pulse and to the sample."""
MATRIX = ("zz", "zs", "sz", "ss", "z", "s")
"""Relaxation and exchange along z: matrix and recovery."""
FREE_POOL = ("R1f", "R2f", "w0", "B1")
"""Parameters that the signal depends on where there is no semi-solid pool."""
FREE = ("re", "im", *MATRIX, *(f"{p}.{item}" for p in EXCHANGING for item in MATRIX))
"""Constants of free precession over one time, with derivatives."""
SETS = (
    *PARAMETERS, "m0f", "relax", "to_free", "to_solid", "loss", "gain_free", "gain_solid",
    "start_z", "start_s", "dstart_z", "dstart_s",
)  # fmt: skip
"""Constants of a parameter set."""
FIRST_CLASS = 16
"""Kind of the first class of pulses of finite duration; below: the kinds of ``train_plan``."""


@dataclass(frozen=True)
class TableShape:
    """A table as the program sees it."""

    name: str
    rank: int
    by_T2s: bool

    @property
    def width(self) -> int:
        """Features: values, derivatives with respect to B1 and perhaps T2s."""
        return self.rank * (3 if self.by_T2s else 2)


@dataclass(frozen=True)
class Layout:
    """Where the constants of a parameter set and the numbers of a step lie in memory.

    Constants: :data:`SETS`, features of the tables, factors of the echo times, and last
    :data:`FREE` for each time between pulses. Trains that differ only in what comes from the
    plan (numbers, times, phases) share a layout and thus a program.
    """

    classes: tuple[tuple[TableShape, ...], ...]
    """Tables of each class of pulses of finite duration (small flip angles need fewer terms)."""
    crushed: tuple[TableShape, ...]
    """Tables of pulses between crushers or spoilers."""
    one_echo: bool
    """Whether all samples follow their pulse after the same time."""

    def __hash__(self) -> int:  # asked for with every call of the kernel
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.classes, self.crushed, self.one_echo))

    def __getstate__(self) -> dict[str, Any]:
        # Another process hashes words otherwise.
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def groups(self) -> tuple[tuple[TableShape, ...], ...]:
        """Tables of all classes of pulses, in memory order."""
        return (*self.classes, self.crushed)

    @property
    def echo(self) -> int:
        """Position of the factors of the first echo time: real and imaginary part."""
        return len(SETS) + sum(table.width for tables in self.groups for table in tables)

    def tables(self, group: int) -> dict[str, tuple[TableShape, int, int]]:
        """Tables of a class with the positions of their weights and features."""
        weight = len(STEP)
        before = self.groups[:group]
        feature = len(SETS) + sum(table.width for tables in before for table in tables)
        found = {}
        for table in self.groups[group]:
            found[table.name] = (table, weight, feature)
            weight += table.rank
            feature += table.width
        return found

    @property
    def step_size(self) -> int:
        """Numbers per step."""
        return len(STEP) + max(sum(table.rank for table in tables) for tables in self.groups)


@dataclass(frozen=True)
class Options:
    """What is compiled: one program per value."""

    dtype: np.dtype[Any]
    lanes: int
    layout: Layout
    wanted: tuple[str, ...]
    """Of :data:`PARAMETERS`: columns of derivatives."""
    repeats: bool
    tile: int
    """Basis columns in registers at a time; 0 without basis."""
    solid: bool = True
    """Whether there is a semi-solid pool; without it ``m0s`` is 0."""

    @property
    def columns(self) -> int:
        """Of the result: the signal and its derivatives."""
        return 1 + len(self.wanted)

    @property
    def n_state(self) -> int:
        """Components of a column: x, y, z of the free pool, and z of the semi-solid one."""
        return 4 if self.solid else 3

    @property
    def defer_echo(self) -> bool:
        """Whether precession to the sample, the same for all, is left to the end."""
        return bool(self.tile) and self.layout.one_echo
