"""The compiled generalized Bloch kernel: what a step of a train does to all columns of the state.

A column is ``(x, y, z, s)`` at the instant before a pulse. Sweeps have either the five columns of
the affine map (four unit states and the constant part), or the state alone, or the state and its
derivatives with respect to the eight parameters. A step is: pulse, sample, free precession to the
next pulse. This is ordinary Python that runs once, when the program is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

from bids_brnn.signals.two_pools.kernel.layout import (
    EXCHANGING,
    FIRST_CLASS,
    FREE,
    MATRIX,
    PARAMETERS,
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

TANGENT = 1 + len(PARAMETERS)
"""Columns of a sweep with derivatives: the state and one per parameter."""
COLUMN = {name: 1 + i for i, name in enumerate(PARAMETERS)}
_FLIP, _COSINE, _SINE, _FREE, _ECHO = (
    STEP.index(name) for name in ("flip", "cosine", "sine", "free", "echo")
)


class StepTracer:
    """Records the code of steps."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.code = Code(options.dtype, options.lanes)
        self.series = angle_series(options.dtype)

    def step(
        self, step: Array, index: Array, constants: Array, state: Array, n: int,
        out: Array | None, *, affine: int, kept: int,
    ) -> None:  # fmt: skip
        """One step of ``n`` columns: recovery goes to ``affine``, ``kept`` samples to ``out``."""
        options, code = self.options, self.code
        kind = index[0]
        free, echo = constants.offset(index[1]), constants.offset(index[2])

        def finish(columns: list[State]) -> None:
            if out is not None:
                self._take(step, echo, columns[:kept], out)
            self._precess(step, free, state, columns, affine)

        def pulse(group: int) -> Callable[[], list[State]]:
            return lambda: self._rotate(step, constants, state, n, affine, group)

        def crush(*, keep: bool) -> Callable[[], list[State]]:
            return lambda: self._crush(step, constants, state, n, keep=keep)

        kinds = [(FIRST_CLASS + g, pulse(g)) for g in range(len(options.layout.classes))]
        if options.layout.crushed:
            kinds += [(CRUSH, crush(keep=True)), (SPOIL, crush(keep=False))]

        def choose(rest: list[tuple[int, Callable[[], list[State]]]]) -> None:
            if not rest:  # no pulse
                finish([load(state, column) for column in range(n)])
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

        def get(name: str) -> Lanes:
            value: Lanes = constants[SETS.index(name)]
            return value

        return get

    def _tables(self, step: Array, constants: Array, group: int, *, slopes: bool) -> Tables:
        """Values and, with ``slopes``, derivatives with respect to B1 and T2s."""
        found: dict[str, list[Operand]] = {}
        for name, (table, weight, feature) in self.options.layout.tables(group).items():
            sums: list[Operand] = [0.0] * 3
            for k in range(table.rank):
                w = step[weight + k]
                for kind in range((3 if table.by_T2s else 2) if slopes else 1):
                    sums[kind] = w * constants[feature + kind * table.rank + k] + sums[kind]
            found[name] = sums
        return found

    def _rotate(
        self, step: Array, constants: Array, state: Array, n: int, affine: int, group: int
    ) -> list[State]:
        """A pulse of finite duration."""
        c = self.named(constants)
        tables = self._tables(step, constants, group, slopes=n == TANGENT)
        pulse, slopes = finite_pulse(self.series, step, c, tables, slopes=n == TANGENT)
        columns = [pulse.apply(c, load(state, column)) for column in range(n)]
        columns[affine] = _add(columns[affine], pulse.recovery(c))
        if slopes is not None:
            for name, source in slopes.sources(c, pulse, load(state, 0)).items():
                columns[COLUMN[name]] = _add(columns[COLUMN[name]], source)
        return [_state(column) for column in columns]

    def _crush(
        self, step: Array, constants: Array, state: Array, n: int, *, keep: bool
    ) -> list[State]:
        """A pulse between crushers (or spoilers, without ``keep``), an instant for the free pool.

        Of the transverse part the spin-echo pathway remains, or nothing.
        """
        c = self.named(constants)
        group = len(self.options.layout.classes)
        S, S_by_B1, S_by_T2s = self._tables(step, constants, group, slopes=n == TANGENT)["S"]
        flip = step[_FLIP]
        beta = flip * c("B1")
        square = beta * beta
        _, sine, slope = (polynomial(series, square) for series in self.series[0])
        half = beta * sine
        pathway = half * half
        cosine = 1.0 - 2.0 * pathway
        echo: Operand = pathway if keep else 0.0
        columns: list[list[Operand]] = []
        for column in range(n):
            x, y, z, s = load(state, column)
            columns.append([-1.0 * (echo * x), echo * y, cosine * z, S * s])
        if n == TANGENT:
            x, y, z, s = load(state, 0)
            change = 2.0 * (half * (flip * sine + beta * slope * (2.0 * (beta * flip))))
            by_echo: Operand = change if keep else 0.0
            source = [-1.0 * (by_echo * x), by_echo * y, -2.0 * (change * z), S_by_B1 * s]
            columns[COLUMN["B1"]] = _add(columns[COLUMN["B1"]], source)
            source = [0.0, 0.0, 0.0, S_by_T2s * s]
            columns[COLUMN["T2s"]] = _add(columns[COLUMN["T2s"]], source)
        return [_state(column) for column in columns]

    def _take(self, step: Array, echo: Array, columns: list[State], out: Array) -> None:
        """Write the sample of each column: real and imaginary parts."""
        samples = [column[:2] for column in columns]
        if not self.options.defer_echo:
            samples = echo_samples(echo, step[_ECHO], samples)
        for i, (x, y) in enumerate(samples):
            out[2 * i], out[2 * i + 1] = x, y

    def _precess(
        self, step: Array, free: Array, state: Array, columns: list[State], affine: int
    ) -> None:
        """Free precession to the next pulse and change of frame; writes the state."""

        def c(name: str) -> Lanes:
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
        after[affine] = _add(after[affine], [0.0, 0.0, gain_z, gain_s])
        if len(columns) == TANGENT:
            x, y = after[0][:2]
            shift = _add(after[COLUMN["R2f"]], [-1.0 * (time * x), -1.0 * (time * y), 0.0, 0.0])
            after[COLUMN["R2f"]] = shift
            shift = _add(after[COLUMN["w0"]], [-1.0 * (time * y), time * x, 0.0, 0.0])
            after[COLUMN["w0"]] = shift
            _, _, z, s = columns[0]
            for name in EXCHANGING:
                zz, zs, sz, ss, gain_z, gain_s = (c(f"{name}.{item}") for item in MATRIX)
                source = [0.0, 0.0, zz * z + (zs * s + gain_z), sz * z + (ss * s + gain_s)]
                after[COLUMN[name]] = _add(after[COLUMN[name]], source)
        for i, column in enumerate(after):
            for j, value in enumerate(column):
                state[4 * i + j] = value


def echo_samples(
    echo: Array, time: Operand, columns: list[tuple[Operand, Operand]]
) -> list[tuple[Operand, Operand]]:
    """Transverse precession to the sample, with derivatives where there are nine columns."""
    re, im = echo[0], echo[1]
    samples = [(re * x - im * y, re * y + im * x) for x, y in columns]
    if len(columns) == TANGENT:
        x, y = samples[0]
        for name, (by_x, by_y) in (("R2f", (-1.0 * x, -1.0 * y)), ("w0", (-1.0 * y, x))):
            before = samples[COLUMN[name]]
            samples[COLUMN[name]] = (before[0] + time * by_x, before[1] + time * by_y)
    return samples


def load(state: Array, column: int) -> State:
    """One column."""
    return _state([state[4 * column + i] for i in range(4)])


def _state(values: list[Operand]) -> State:
    x, y, z, s = values
    return x, y, z, s


def _add(column: list[Operand], source: list[Operand]) -> list[Operand]:
    return [a + b for a, b in zip(column, source, strict=True)]
