"""How the constants of ``bids_brnn.sequences.designs.TRAINS`` were found; run it to find others.

    python benchmarks/design_qmt_train.py --trains 6 --pulses 400 --proposals 4000 --seed 1

Every train is a few lobes (centre, width, flip angle, RF duration). The Fisher information of
independent trains adds up as long as M0 is kept in it, so a change of one train needs the signal
of that train only. Proposals change one train; one is kept if it lowers

    mean over fingerprints of  sum_k CRB_k / theta_k^2,   k = m0s, R1f, R2f, Rx, R1s, T2s

with complex M0, off-resonance and B1 unknown (real Fisher matrix). The fingerprints are white and
grey matter, each with two combinations of off-resonance and B1. The step size falls when proposals
fail. Every proposal is a new train, for which the package would first prepare its tables; here a
small simulation of its own (matrix exponentials, forward differences) is faster, and the package
checks it: the final table is computed with ``GeneralizedBloch`` and both costs are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numba
import numpy as np
import torch

from bids_brnn.information.bounds import covariance
from bids_brnn.parameters import QMT
from bids_brnn.priors import tissue_values
from bids_brnn.sequences.designs import LONGEST_RF, SHORTEST_RF, Lobe, hybrid_state_train
from bids_brnn.signals.two_pools.pulses.saturation import RATE_LIMIT, TAU_RANGE, saturation_table

LOW = np.array([-0.05, 0.1, 0.0, 1e6 * SHORTEST_RF])
HIGH = np.array([1.05, 0.6, 90.0, 1e6 * LONGEST_RF])
STEP = np.array([0.15, 0.1, 30.0, 150.0])
ROUNDING = np.array([0.005, 0.005, 1.0, 10.0])
ESTIMATED = 6
DIFFERENCE = np.array([1e-5, 1e-5, 1e-3, 1e-3, 1e-4, 1e-9, 1e-2, 1e-4])
GRID = (400, 300)


def rate_grid() -> np.ndarray:
    """Effective rate times T2s on a fine grid of (log tau, (flip / limit)^2)."""
    tau = np.exp(np.linspace(*np.log(TAU_RANGE), GRID[0]))
    return saturation_table().rho(tau, RATE_LIMIT * np.sqrt(np.linspace(0, 1, GRID[1])))


@numba.njit
def cubic(p: np.ndarray, x: float) -> float:
    a = -p[0] + 3 * p[1] - 3 * p[2] + p[3]
    b = 2 * p[0] - 5 * p[1] + 4 * p[2] - p[3]
    return p[1] + 0.5 * x * (p[2] - p[0] + x * (b + x * a))


@numba.njit
def rate(
    grid: np.ndarray, low: float, high: float, limit: float, tau: float, flip: float
) -> float:
    x = (math.log(tau) - low) / (high - low) * (grid.shape[0] - 1)
    y = min((flip / limit) ** 2, 1.0) * (grid.shape[1] - 1)
    i = min(max(int(x), 1), grid.shape[0] - 3)
    j = min(max(int(y), 1), grid.shape[1] - 3)
    column = np.empty(4)
    for k in range(4):
        column[k] = cubic(grid[i - 1 + k, j - 1 : j + 3], y - j)
    return cubic(column, x - i)


@numba.njit(fastmath=True)
def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for i in range(6):
        for j in range(6):
            out[i, j] = 0.0
        for k in range(6):
            for j in range(6):
                out[i, j] += a[i, k] * b[k, j]


@numba.njit(fastmath=True)
def exponential(a: np.ndarray, out: np.ndarray, work: np.ndarray) -> None:
    """Taylor series after scaling the largest row sum below 1/2; overwrites ``a``."""
    norm = 1e-300
    for i in range(6):
        norm = max(norm, np.abs(a[i]).sum())
    squarings = max(0, math.ceil(math.log2(norm)) + 1)
    term, other = work[0], work[1]
    for i in range(6):
        for j in range(6):
            a[i, j] /= 2.0**squarings
            term[i, j] = a[i, j]
            out[i, j] = a[i, j] + (1.0 if i == j else 0.0)
    for k in range(2, 9):
        product(term, a, other)
        for i in range(6):
            for j in range(6):
                term[i, j] = other[i, j] / k
                out[i, j] += term[i, j]
    for _ in range(squarings):
        product(out, out, other)
        out[:] = other


@numba.njit(fastmath=True)
def simulate(flip, duration, tr, theta, grid, low, high, limit, out):
    """Echoes of one train, equations of docs/theory/qmt.md; state (xf, yf, zf, xs, zs, 1)."""
    m0s, R1f, R2f, Rx, R1s, T2s, w0, B1 = theta
    m0f, n = 1 - m0s, flip.size
    steps = np.empty((n, 6, 6))
    generator, work = np.zeros((6, 6)), np.empty((2, 6, 6))
    rf, free, turned = np.zeros((6, 6)), np.empty((6, 6)), np.empty((6, 6))
    for i in range(n):
        trf, angle = duration[i], B1 * flip[i]
        r2s = rate(grid, low, high, limit, trf / T2s, angle) / T2s
        w1 = angle / trf
        wait = tr / 2 if i == 0 else (tr - trf) / 2
        for part in range(2):
            length = wait if part == 0 else trf
            generator[:] = 0.0
            if part == 0 or i > 0:
                generator[0, 0] = generator[1, 1] = -R2f * length
                generator[0, 1], generator[1, 0] = -w0 * length, w0 * length
                generator[2, 2] = -(R1f + Rx * m0s) * length
                generator[2, 4], generator[2, 5] = Rx * m0f * length, m0f * R1f * length
                generator[4, 4] = -(R1s + Rx * m0f) * length
                generator[4, 2], generator[4, 5] = Rx * m0s * length, m0s * R1s * length
            if part == 1:
                generator[0, 2] += w1 * length
                generator[2, 0] -= w1 * length
                generator[3, 4], generator[4, 3] = w1 * length, -w1 * length
                generator[3, 3] = -r2s * length
            exponential(generator, free if part == 0 else rf, work)
        if i == 0:
            rf[:3] = 0.0
            sine = math.sin(angle / 2) ** 2
            rf[0, 0], rf[1, 1], rf[2, 2] = sine, -sine, math.cos(angle)
        free[3] = 0.0
        turned[:] = free
        turned[:2] *= -1
        product(rf, turned, work[0])
        product(free, work[0], steps[i])
    # Steady state after the first pulse: the other steps in order, then the first again.
    total, other = np.eye(6), np.empty((6, 6))
    for i in range(1, n + 1):
        product(steps[i % n], total, other)
        total[:] = other
    state = np.ones(6)
    state[:5] = np.linalg.solve(np.eye(5) - total[:5, :5], total[:5, 5])
    for i in range(n):
        if i > 0:
            state = steps[i] @ state
        out[i] = complex(state[0], state[1])


def fingerprints() -> torch.Tensor:
    like = torch.zeros(1, dtype=torch.float64)
    rows = []
    for tissue, fields in (("WM", ((0, 1.0), (250, 0.9))), ("GM", ((0, 1.0), (-250, 1.1)))):
        for w0, b1 in fields:
            theta = tissue_values(QMT, tissue, like)
            theta[QMT.index(("w0", "B1"))] = torch.tensor([w0, b1], dtype=torch.float64)
            rows.append(theta)
    return torch.stack(rows)


class Simulator:
    """Signals and derivatives of candidate trains."""

    def __init__(self, n_pulses: int, theta: torch.Tensor) -> None:
        self.n_pulses, self.theta = n_pulses, theta.numpy()
        self.table = (rate_grid(), *np.log(TAU_RANGE), RATE_LIMIT)

    def signal(self, sequence, theta: np.ndarray) -> np.ndarray:
        out = np.empty(self.n_pulses, complex)
        flip, duration = sequence.flip_angle[0], sequence.rf_duration[0]
        tr = float(sequence.repetition_time[0, 0])
        simulate(flip, duration, tr, theta, *self.table, out)
        return out

    def information(self, lobes: np.ndarray) -> np.ndarray:
        """Real Gram matrices ``(sets, 10, 10)`` of [s, i s, J] for one train."""
        sequence = hybrid_state_train([[Lobe(*row) for row in lobes]], n_pulses=self.n_pulses)
        grams = []
        for theta in self.theta:
            signal = self.signal(sequence, theta)
            columns = [signal, 1j * signal]
            for column, step in enumerate(DIFFERENCE):
                shift = np.zeros(8)
                shift[column] = step
                columns.append((self.signal(sequence, theta + shift) - signal) / step)
            stacked = np.array(columns)
            grams.append((stacked.conj() @ stacked.T).real)
        return np.array(grams)

    def cost(self, gram: np.ndarray) -> float:
        """Mean over fingerprints of the sum of CRB / theta^2."""
        scale = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
        unit = gram / (scale[:, :, None] * scale[:, None, :])
        if np.linalg.cond(unit).max() > 1e13:
            return math.inf
        variance = np.diagonal(np.linalg.inv(unit), axis1=1, axis2=2) / scale**2
        bounds = variance[:, 2 : 2 + ESTIMATED] / self.theta[:, :ESTIMATED] ** 2
        return float(bounds.sum(-1).mean()) if (bounds > 0).all() else math.inf


def optimise(
    simulator: Simulator, n_trains: int, n_lobes: int, proposals: int, seed: int
) -> tuple[np.ndarray, float]:
    rng = np.random.default_rng(seed)
    trains = LOW + (HIGH - LOW) * rng.random((n_trains, n_lobes, 4))
    trains[..., 1] = rng.uniform(0.1, 0.3, trains.shape[:2])
    trains[..., 2] = rng.uniform(10, 70, trains.shape[:2])
    parts = np.array([simulator.information(train) for train in trains])
    best = simulator.cost(parts.sum(0))
    step, began = 1.0, time.perf_counter()
    for proposal in range(proposals):
        index = int(rng.integers(n_trains))
        mask = rng.random((n_lobes, 4)) < 0.4
        moved = trains[index] + step * STEP * mask * rng.standard_normal((n_lobes, 4))
        moved = np.clip(moved, LOW, HIGH)
        part = simulator.information(moved)
        value = simulator.cost(parts.sum(0) - parts[index] + part)
        if value < best:
            trains[index], parts[index], best = moved, part, value
            step = min(1.0, step * 1.3)
        else:
            step = max(0.03, step * 0.985)
        if proposal % 250 == 249:
            speed = (proposal + 1) / (time.perf_counter() - began)
            print(
                f"{proposal + 1:6d}  cost {best:.5g}  step {step:.3f}  {speed:.1f}/s", flush=True
            )
    trains = np.round(trains / ROUNDING) * ROUNDING
    return trains, simulator.cost(sum(simulator.information(train) for train in trains))


def check(trains: np.ndarray, n_pulses: int) -> str:
    """Bounds and cost of the same trains with the model of the package."""
    from bids_brnn.signals import build_model

    sequence = hybrid_state_train(
        [[Lobe(*lobe) for lobe in train] for train in trains], n_pulses=n_pulses
    )
    like = torch.zeros(1, dtype=torch.float64)
    theta = torch.cat(
        [fingerprints(), torch.stack([tissue_values(QMT, t, like) for t in ("WM", "GM")])]
    )
    signal, jacobian = build_model("gbloch", sequence).linearize(theta)
    variance = covariance(signal, jacobian).diagonal(dim1=-2, dim2=-1)[:, :ESTIMATED]
    relative = variance / theta[:, :ESTIMATED] ** 2
    lines = [
        f"cost with the package {float(relative[:-2].sum(-1).mean()):.6g}",
        f"{sequence.duration:.1f} s; std / value at |M0|/sigma = 20 in %, (times sqrt(s))",
    ]
    for tissue, row in zip(("WM", "GM"), (100 / 20 * relative[-2:].sqrt()).tolist(), strict=True):
        cells = [f"{name} {value:.1f} ({value * math.sqrt(sequence.duration):.0f})"
                 for name, value in zip(QMT.names, row, strict=False)]  # fmt: skip
        lines.append(f"{tissue}: " + ", ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trains", type=int, default=6)
    parser.add_argument("--lobes", type=int, default=4)
    parser.add_argument("--pulses", type=int, default=400)
    parser.add_argument("--proposals", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="only see that it runs")
    parser.add_argument("--no-check", action="store_true", help="skip the model of the package")
    parser.add_argument("--out", type=Path, help="JSON with constants and cost")
    options = parser.parse_args()
    if options.small:
        options.trains, options.lobes, options.pulses, options.proposals = 2, 2, 60, 4
    simulator = Simulator(options.pulses, fingerprints())
    trains, cost = optimise(
        simulator, options.trains, options.lobes, options.proposals, options.seed
    )
    for train in trains:
        lobes = ", ".join(
            f"Lobe({c:g}, {w:g}, {a:g}, {d:g})" for c, w, a, d in train[train[:, 0].argsort()]
        )
        print(f"    ({lobes}),")
    print(f"cost {cost:.6g}")
    if not options.no_check:
        print(check(trains, options.pulses))
    if options.out:
        options.out.write_text(json.dumps({"trains": trains.tolist(), "cost": cost}, indent=1))


if __name__ == "__main__":
    main()
