"""The compiled generalized Bloch kernel: what a step of a train does to all columns of the state.

A column is ``(x, y, z, s)`` at the instant before a pulse. Sweeps have either the columns of the
affine map (unit states and the constant part), or the state alone, or the state and its
derivatives with respect to the wanted parameters. A step is: pulse, sample, free precession to the
next pulse. Without a semi-solid pool ``s`` and all that belongs to it are plain 0.0. This is
ordinary Python that runs once, when the program is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bids_brnn.signals.two_pools.kernel.layout import (
    EXCHANGING,
    FIRST_CLASS,
    FREE,
    MATRIX,
    SETS,
    STEP,
    Options,
)  # fmt: skip
from bids_brnn.signals.two_pools.kernel.pulse import (
    Named,
    State,
    Tables,
    angle_series,
    finite_pulse,
    polynomial,
)  # fmt: skip
from bids_brnn.signals.two_pools.kernel.vectors import Array, Code, Lanes, Operand
from bids_brnn.signals.two_pools.stepping.plan import CRUSH, SPOIL

_ABSENT = {
    "m0f": 1.0,
    **dict.fromkeys(
        ("m0s", "Rx", "R1s", "to_free", "to_solid", "loss", "gain_solid", "start_s", "dstart_s"),
        0.0,
    ),
}
"""Constants of parameter sets without a semi-solid pool."""
_FREE_TABLES = "gqa"
"""Tables of the free pool begin with one of these letters."""
_FLIP, _COSINE, _SINE, _FREE, _ECHO = (
    STEP.index(name) for name in ("flip", "cosine", "sine", "free", "echo")
)


@dataclass(frozen=True)
class Sweep:
    """What goes through the steps of a train."""

    name: str
    columns: int
    affine: int
    """Column that takes the constant part."""
    kept: int
    """Columns whose samples count, from the first."""
    slopes: bool = False
    """Whether the columns after the first are the derivatives that are wanted."""


class StepTracer:
    """Records the code of steps."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.code = Code(options.dtype, options.lanes)
        self.series = angle_series(options.dtype)
        self.column = {name: 1 + i for i, name in enumerate(options.wanted)}

    def step(
        self, step: Array, index: Array, constants: Array, state: Array, sweep: Sweep,
        out: Array | None,
    ) -> None:  # fmt: skip
        """One step of all columns; samples go to ``out``."""
        options, code = self.options, self.code
        kind = index[0]
        free, echo = constants.offset(index[1]), constants.offset(index[2])

        def finish(columns: list[State]) -> None:
            if out is not None:
                self._take(step, echo, columns[: sweep.kept], sweep, out)
            self._precess(step, free, state, columns, sweep)

        def pulse(group: int) -> Callable[[], list[State]]:
            return lambda: self._rotate(step, constants, state, sweep, group)

        def crush(*, keep: bool) -> Callable[[], list[State]]:
            return lambda: self._crush(step, constants, state, sweep, keep=keep)

        kinds = [(FIRST_CLASS + g, pulse(g)) for g in range(len(options.layout.classes))]
        if options.layout.crushed:
            kinds += [(CRUSH, crush(keep=True)), (SPOIL, crush(keep=False))]

        def choose(rest: list[tuple[int, Callable[[], list[State]]]]) -> None:
            if not rest:  # no pulse
                finish([self.load(state, column) for column in range(sweep.columns)])
                return
            (value, columns), *others = rest
            with code.builder.if_else(code.equal(kind, value)) as (then, otherwise):
                with then:
                    finish(columns())
                with otherwise:
                    choose(others)

        choose(kinds)

    def named(self, constants: Array) -> Named:
        """Constants of the parameter sets by name."""

        def get(name: str) -> Operand:
            if not self.options.solid and name in _ABSENT:
                return _ABSENT[name]
            value: Lanes = constants[SETS.index(name)]
            return value

        return get

    def load(self, state: Array, column: int) -> State:
        """One column."""
        n = self.options.n_state
        values: list[Operand] = [state[n * column + i] for i in range(n)]
        return _state([*values, *[0.0] * (4 - n)])

    def fill(self, state: Array, columns: list[list[Operand]]) -> None:
        """Write columns."""
        n = self.options.n_state
        for j, column in enumerate(columns):
            for i in range(n):
                state[n * j + i] = column[i]

    def _tables(self, step: Array, constants: Array, group: int, *, slopes: bool) -> Tables:
        """Values and, with ``slopes``, derivatives with respect to B1 and T2s."""
        found: dict[str, list[Operand]] = {}
        for name, (table, weight, feature) in self.options.layout.tables(group).items():
            sums: list[Operand] = [0.0] * 3
            found[name] = sums
            if not self.options.solid and name[0] not in _FREE_TABLES:
                continue
            for k in range(table.rank):
                w = step[weight + k]
                for kind in range((3 if table.by_T2s else 2) if slopes else 1):
                    sums[kind] = w * constants[feature + kind * table.rank + k] + sums[kind]
        return found

    def _rotate(
        self, step: Array, constants: Array, state: Array, sweep: Sweep, group: int
    ) -> list[State]:
        """A pulse of finite duration."""
        c = self.named(constants)
        tables = self._tables(step, constants, group, slopes=sweep.slopes)
        pulse, slopes = finite_pulse(self.series, step, c, tables, slopes=sweep.slopes)
        columns = [pulse.apply(c, self.load(state, column)) for column in range(sweep.columns)]
        columns[sweep.affine] = _add(columns[sweep.affine], pulse.recovery(c))
        if slopes is not None:
            self._sources(columns, slopes.sources(c, pulse, self.load(state, 0)))
        return [_state(column) for column in columns]

    def _sources(self, columns: list[list[Operand]], sources: Mapping[str, list[Operand]]) -> None:
        """Add to the derivatives that are wanted; what else was recorded is dead code."""
        for name, source in sources.items():
            if name in self.column:
                columns[self.column[name]] = _add(columns[self.column[name]], source)

    def _crush(
        self, step: Array, constants: Array, state: Array, sweep: Sweep, *, keep: bool
    ) -> list[State]:
        """A pulse between crushers (or spoilers, without ``keep``), an instant for the free pool.

        Of the transverse part the spin-echo pathway remains, or nothing.
        """
        c = self.named(constants)
        group = len(self.options.layout.classes)
        S, S_by_B1, S_by_T2s = self._tables(step, constants, group, slopes=sweep.slopes)["S"]
        flip = step[_FLIP]
        beta = flip * c("B1")
        square = beta * beta
        _, sine, slope = (polynomial(series, square) for series in self.series[0])
        half = beta * sine
        pathway = half * half
        cosine = 1.0 - 2.0 * pathway
        echo: Operand = pathway if keep else 0.0
        columns: list[list[Operand]] = []
        for column in range(sweep.columns):
            x, y, z, s = self.load(state, column)
            columns.append([-1.0 * (echo * x), echo * y, cosine * z, S * s])
        if sweep.slopes:
            x, y, z, s = self.load(state, 0)
            change = 2.0 * (half * (flip * sine + beta * slope * (2.0 * (beta * flip))))
            by_echo: Operand = change if keep else 0.0
            by_B1 = [-1.0 * (by_echo * x), by_echo * y, -2.0 * (change * z), S_by_B1 * s]
            self._sources(columns, {"B1": by_B1, "T2s": [0.0, 0.0, 0.0, S_by_T2s * s]})
        return [_state(column) for column in columns]

    def _take(
        self, step: Array, echo: Array, columns: list[State], sweep: Sweep, out: Array
    ) -> None:
        """Write the sample of each column: real and imaginary parts."""
        samples = [column[:2] for column in columns]
        if not self.options.defer_echo:
            samples = self.echo_samples(echo, step[_ECHO], samples, slopes=sweep.slopes)
        for i, (x, y) in enumerate(samples):
            out[2 * i], out[2 * i + 1] = x, y

    def _precess(
        self, step: Array, free: Array, state: Array, columns: list[State], sweep: Sweep
    ) -> None:
        """Free precession to the next pulse and change of frame; writes the state."""

        def c(name: str) -> Operand:
            if not self.options.solid and name.rpartition(".")[2] in ("zs", "sz", "ss", "s"):
                return 0.0
            value: Lanes = free[FREE.index(name)]
            return value

        cosine, sine, time = step[_COSINE], step[_SINE], step[_FREE]
        re = c("re") * cosine + c("im") * sine
        im = c("im") * cosine - c("re") * sine
        zz, zs, sz, ss, gain_z, gain_s = (c(name) for name in MATRIX)
        after: list[list[Operand]] = [
            [re * x - im * y, re * y + im * x, zz * z + zs * s, sz * z + ss * s]
            for x, y, z, s in columns
        ]
        after[sweep.affine] = _add(after[sweep.affine], [0.0, 0.0, gain_z, gain_s])
        if sweep.slopes:
            x, y = after[0][:2]
            _, _, z, s = columns[0]
            sources: dict[str, list[Operand]] = {
                "R2f": [-1.0 * (time * x), -1.0 * (time * y), 0.0, 0.0],
                "w0": [-1.0 * (time * y), time * x, 0.0, 0.0],
            }
            for name in EXCHANGING:
                zz, zs, sz, ss, gain_z, gain_s = (c(f"{name}.{item}") for item in MATRIX)
                sources[name] = [0.0, 0.0, zz * z + (zs * s + gain_z), sz * z + (ss * s + gain_s)]
            self._sources(after, sources)
        self.fill(state, after)

    def echo_samples(
        self, echo: Array, time: Operand, columns: list[tuple[Operand, Operand]], *, slopes: bool
    ) -> list[tuple[Operand, Operand]]:
        """Transverse precession to the sample, with the derivatives that are wanted."""
        re, im = echo[0], echo[1]
        samples = [(re * x - im * y, re * y + im * x) for x, y in columns]
        if slopes:
            x, y = samples[0]
            for name, (by_x, by_y) in (("R2f", (-1.0 * x, -1.0 * y)), ("w0", (-1.0 * y, x))):
                if name in self.column:
                    before = samples[self.column[name]]
                    samples[self.column[name]] = before[0] + time * by_x, before[1] + time * by_y
        return samples


def _state(values: list[Operand]) -> State:
    x, y, z, s = values
    return x, y, z, s


def _add(column: list[Operand], source: list[Operand]) -> list[Operand]:
    return [a + b for a, b in zip(column, source, strict=True)]
