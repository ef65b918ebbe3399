"""The compiled generalized Bloch kernel: sweeps over trains, steady state and projection."""

from __future__ import annotations

from typing import Any

from bids_brnn.signals.kept_code import kept
from bids_brnn.signals.two_pools.kernel.layout import GROUP, STEP, Options
from bids_brnn.signals.two_pools.kernel.steps import StepTracer, Sweep
from bids_brnn.signals.two_pools.kernel.vectors import Array, Lanes, Operand, Program, target

ARGUMENTS = (
    "blocks", "trains", "groups", "tiles", "stride",
    "steps", "index", "basis", "constants", "work", "out",
)  # fmt: skip


def _widest(options: Options) -> int:
    """Columns of a sweep, at most."""
    return max(options.n_state + 1, options.columns)


def work_vectors(options: Options, tiles: int) -> int:
    """Vectors of scratch memory that one thread needs."""
    widest, homogeneous = _widest(options), options.n_state + 1
    states = 2 * options.n_state * widest
    return states + 2 * GROUP * widest + tiles * 2 * homogeneous * max(options.tile, 1)


def compile_program(options: Options) -> Program:
    """The kernel for one kind of train and output, traced and compiled unless it is kept."""

    def make() -> bytes:
        tracer = _Trains(options)
        tracer.record()
        return tracer.code.compile()

    return Program.of(kept(f"{options} {target()}", make), "simulate", len(ARGUMENTS))


class _Trains(StepTracer):
    """Adds loops over steps, trains and blocks of parameter sets to the tracer of steps."""

    def record(self) -> None:
        options = self.options
        names = ["scalar", "index", "scalar", "vector", "vector", "vector", "vector", "vector"]
        kinds = [*names, "value", "value"]
        self.sweeps = {}
        wanted = [self.homogeneous] if options.repeats else []
        if options.wanted or not (options.tile and options.repeats):
            wanted.append(self.state)
        for sweep in wanted:
            for mode in self._modes(sweep):
                self.sweeps[sweep.name, mode] = self.code.function(
                    f"sweep_{sweep.name}_{mode}",
                    kinds,
                    lambda *a, sweep=sweep, mode=mode: self._sweep(sweep, mode, *a),
                    export=False,
                )
        self.code.function(
            "simulate",
            ["value"] * 5 + ["scalar", "index", "scalar", "vector", "vector", "vector"],
            self._simulate,
            export=True,
        )

    @property
    def homogeneous(self) -> Sweep:
        """Unit states and the constant part, whose samples are those of the state if it goes."""
        n = self.options.n_state
        return Sweep("homogeneous", n + 1, n, n if self.options.wanted else n + 1)

    @property
    def state(self) -> Sweep:
        """The state, and its derivatives."""
        n = self.options.columns
        return Sweep("state", n, 0, n, bool(self.options.wanted))

    def _modes(self, sweep: Sweep) -> list[str]:
        options = self.options
        if sweep.name == "homogeneous":
            return ["project" if options.tile else "silent"]
        if options.tile:
            return ["project"]
        return ["silent", "store"] if options.wanted and options.repeats else ["store"]

    def _sweep(
        self, sweep: Sweep, mode: str, steps: Array, index: Array, basis: Array, constants: Array,
        state: Array, buffer: Array, sums: Array, out: Array, groups: Any, tiles: Any,
    ) -> None:  # fmt: skip
        """All steps of one train."""
        code, options = self.code, self.options
        builder = code.builder
        size = code.index(options.layout.step_size)
        width = 2 * sweep.kept
        with code.loop(groups) as group:
            first = builder.mul(group, code.index(GROUP))
            with code.loop(GROUP) as g:
                i = builder.add(first, g)
                step = steps.offset(builder.mul(i, size))
                where = index.offset(builder.mul(i, code.index(4)))
                target = None
                if mode == "project":
                    target = buffer.offset(builder.mul(g, code.index(width)))
                elif mode == "store":
                    target = out.offset(builder.mul(where[3], code.index(width)))
                self.step(step, where, constants, state, sweep, target)
            if mode == "project":
                self._project(sweep.kept, basis, buffer, sums, first, groups, tiles)

    def _project(
        self, n: int, basis: Array, buffer: Array, sums: Array, first: Any, groups: Any, tiles: Any
    ) -> None:
        """Add the samples of a group of steps times the basis; a tile stays in registers."""
        code, tile = self.code, self.options.tile
        builder = code.builder
        per_train = builder.mul(groups, code.index(GROUP))
        with code.loop(tiles) as t:
            row = builder.add(builder.mul(t, per_train), first)
            rows = basis.offset(builder.mul(row, code.index(tile)))
            part = sums.offset(builder.mul(t, code.index(2 * n * tile)))
            with code.loop(2 * n) as column:
                here = part.offset(builder.mul(column, code.index(tile)))
                values = buffer.offset(column)
                sample = [values[g * 2 * n] for g in range(GROUP)]
                for r in range(tile):
                    total_r: Lanes = here[r]
                    for g in range(GROUP):
                        total_r = total_r + sample[g] * rows[g * tile + r]
                    here[r] = total_r

    def _simulate(
        self, blocks: Any, trains: Any, groups: Any, tiles: Any, stride: Any, steps: Array,
        index: Array, basis: Array, constants: Array, work: Array, out: Array,
    ) -> None:  # fmt: skip
        code, options = self.code, self.options
        layout, builder = options.layout, code.builder
        n_out = options.columns
        per_train = builder.mul(groups, code.index(GROUP))
        with code.flushed_denormals(), code.loop(blocks) as block:
            sets = constants.offset(builder.mul(block, stride))
            size = builder.mul(code.index(2 * n_out), self._rows(trains, per_train, tiles))
            target = out.offset(builder.mul(block, size))
            if options.tile:
                with code.loop(size) as i:
                    target[i] = 0.0
            with code.loop(trains) as train:
                first = builder.mul(train, per_train)
                self._train(
                    steps.offset(builder.mul(first, code.index(layout.step_size))),
                    index.offset(builder.mul(first, code.index(4))),
                    basis.offset(builder.mul(first, self._rows(trains, per_train, tiles)))
                    if options.tile else basis,
                    sets, work, target, groups, tiles,
                )  # fmt: skip
            if options.defer_echo:
                self._echo(sets.offset(layout.echo), steps[STEP.index("echo")], target, tiles)

    def _rows(self, trains: Any, per_train: Any, tiles: Any) -> Any:
        """Basis columns, or all steps and one row for those without sample."""
        builder, code = self.code.builder, self.code
        if self.options.tile:
            return builder.mul(tiles, code.index(self.options.tile))
        return builder.add(builder.mul(trains, per_train), code.index(1))

    def _train(
        self, steps: Array, index: Array, basis: Array, constants: Array, work: Array,
        out: Array, groups: Any, tiles: Any,
    ) -> None:  # fmt: skip
        options, code = self.options, self.code
        size, widest = options.n_state, _widest(options)
        state, rest = work, work.offset(size * widest)
        change, rest = rest, rest.offset(size * widest)
        buffer, sums = rest, rest.offset(GROUP * 2 * widest)
        c = self.named(constants)
        zeros: list[Operand] = [0.0] * size

        def sweep(name: str, mode: str, into: Array) -> None:
            code.call(
                self.sweeps[name, mode],
                steps, index, basis, constants, state, buffer, into, out, groups, tiles,
            )  # fmt: skip

        if not options.repeats:
            start: list[Operand] = [0.0, 0.0, c("start_z"), c("start_s")]
            by_m0s: list[Operand] = [0.0, 0.0, c("dstart_z"), c("dstart_s")]
            slope = [by_m0s if name == "m0s" else zeros for name in options.wanted]
            self.fill(state, [start, *slope])
            sweep("state", "project" if options.tile else "store", out)
            return
        unit: list[list[Operand]]
        unit = [[1.0 if i == j else 0.0 for i in range(size)] for j in range(size)]
        self.fill(state, [*unit, zeros])
        if options.tile:
            kept = self.homogeneous.kept
            with code.loop(code.builder.mul(tiles, code.index(2 * kept * options.tile))) as i:
                sums[i] = 0.0
        sweep("homogeneous", "project" if options.tile else "silent", sums)
        columns = [[state[size * j + i] for i in range(size)] for j in range(size + 1)]
        solve = _Solver(
            [[(1.0 if i == j else 0.0) - columns[j][i] for j in range(size)] for i in range(size)]
        )
        start = solve(columns[size])
        if not options.wanted:
            if options.tile:
                self.fill(change, [start])
                self._add_start(sums, change, out, tiles)
            else:
                self.fill(state, [start])
                sweep("state", "store", out)
            return
        self.fill(state, [start, *[zeros for _ in options.wanted]])
        self.fill(change, [start])
        sweep("state", "project" if options.tile else "silent", out)
        slopes = [
            solve([state[size * p + i] for i in range(size)]) for p in range(1, options.columns)
        ]
        if options.tile:
            self.fill(change, slopes)
            self._add_slopes(sums, change, out, tiles)
        else:
            self.fill(state, [[change[i] for i in range(size)], *slopes])
            sweep("state", "store", out)

    def _echo(self, echo: Array, time: Lanes, out: Array, tiles: Any) -> None:
        """Precession from the pulses to the samples, for coefficients."""
        code, tile = self.code, self.options.tile
        n = self.options.columns
        with code.loop(tiles) as t, code.loop(tile) as r:
            builder = code.builder
            here = out.offset(builder.add(builder.mul(t, code.index(2 * n * tile)), r))
            columns = [(here[2 * i * tile], here[(2 * i + 1) * tile]) for i in range(n)]
            samples = self.echo_samples(echo, time, columns, slopes=self.state.slopes)
            for i, (x, y) in enumerate(samples):
                here[2 * i * tile], here[(2 * i + 1) * tile] = x, y

    def _add_start(self, sums: Array, start: Array, out: Array, tiles: Any) -> None:
        """Coefficients from those of the homogeneous columns: linear in the start."""
        code, tile, kept = self.code, self.options.tile, self.homogeneous.kept
        n_state = self.options.n_state
        with code.loop(tiles) as t, code.loop(2 * tile) as k:
            builder = code.builder
            source = sums.offset(builder.add(builder.mul(t, code.index(2 * kept * tile)), k))
            place = builder.add(builder.mul(t, code.index(2 * tile)), k)
            total: Lanes = out[place] + source[2 * tile * n_state]
            for j in range(n_state):
                total = total + source[2 * tile * j] * start[j]
            out[place] = total

    def _add_slopes(self, sums: Array, slopes: Array, out: Array, tiles: Any) -> None:
        """What the change of the steady state adds to the derivatives."""
        code, tile, options = self.code, self.options.tile, self.options
        kept, n_state, n_out = self.homogeneous.kept, options.n_state, options.columns
        with code.loop(tiles) as t, code.loop(2 * tile) as k:
            builder = code.builder
            source = sums.offset(builder.add(builder.mul(t, code.index(2 * kept * tile)), k))
            target = out.offset(builder.add(builder.mul(t, code.index(2 * n_out * tile)), k))
            response = [source[2 * tile * j] for j in range(n_state)]
            for p in range(n_out - 1):
                total: Lanes = target[2 * tile * (1 + p)]
                for j in range(n_state):
                    total = total + response[j] * slopes[n_state * p + j]
                target[2 * tile * (1 + p)] = total


class _Solver:
    """Gaussian elimination, recorded once for several right-hand sides.

    No pivoting: the symmetric part of I minus a contraction is positive definite.
    """

    def __init__(self, system: list[list[Operand]]) -> None:
        n = len(system)
        self.rows: Any = [list(row) for row in system]
        self.inverse: list[Any] = []
        for k in range(n):
            self.inverse.append(1.0 / self.rows[k][k])
            for i in range(k + 1, n):
                factor = self.rows[i][k] * self.inverse[k]
                self.rows[i][k] = factor
                for j in range(k + 1, n):
                    self.rows[i][j] = self.rows[i][j] - factor * self.rows[k][j]

    def __call__(self, right: Any) -> list[Operand]:
        n = len(self.rows)
        x = list(right)
        for i in range(n):
            for j in range(i):
                x[i] = x[i] - self.rows[i][j] * x[j]
        for i in reversed(range(n)):
            for j in range(i + 1, n):
                x[i] = x[i] - self.rows[i][j] * x[j]
            x[i] = x[i] * self.inverse[i]
        return x
