"""Generalized Bloch signals: compiled kernel against matrix exponentials and PyTorch, in one run.

    python benchmarks/bench_qmt.py [--small] [--data BIDS_DIR] [--device cuda] [--out result.json]

The naive way is a batched ``torch.linalg.matrix_exp`` per pulse (``method="exact"``). Without
``--data`` the train is our own (4 x 600 pulses) with a basis of 15 columns; with it, the first qMT
train of a data set. On a GPU only the PyTorch methods run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_brnn.sequences.designs import hybrid_state_train
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch
from bids_brnn.signals.two_pools.kernel.run import simulate_compiled

LOW = [0.0, 0.15, 2.0, 2.0, 1.0, 5e-6, -890.0, 0.6]
HIGH = [0.35, 1.0, 20.0, 30.0, 6.0, 25e-6, 890.0, 1.3]


def tissues(n: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Parameter sets that span the training distributions."""
    generator = torch.Generator().manual_seed(0)
    low, high = (torch.tensor(values, dtype=torch.float64) for values in (LOW, HIGH))
    draws = torch.rand(n, 8, generator=generator, dtype=torch.float64)
    return (low + (high - low) * draws).to(device, dtype)


def measured(folder: Path) -> tuple[Any, np.ndarray]:
    """Trains and basis of a BIDS data set."""
    from bids_brnn.bids.input.discovery import find_acquisitions

    series = find_acquisitions(folder, kinds=("qmt",)).acquisitions[0]
    assert series.basis is not None
    return series.sequence, np.array(series.basis, float)


def own(small: bool) -> tuple[Any, np.ndarray]:
    """Our trains with any orthonormal basis: speed does not depend on its values."""
    sequence = hybrid_state_train(n_pulses=100 if small else 600)
    rng = np.random.default_rng(0)
    return sequence, np.linalg.qr(rng.normal(size=(sequence.n_samples, 15)))[0]


def rates(
    function: Callable[[torch.Tensor], Any], theta: torch.Tensor, least: float
) -> tuple[float, float]:
    """Sets per second and per CPU second, each in the best of several calls within ``least`` s.

    The second number is fair on a machine that other programs use, too.
    """
    wall, cpu, begin = np.inf, np.inf, time.perf_counter()
    while True:
        started, used = time.perf_counter(), time.process_time()
        function(theta)
        if theta.is_cuda:
            torch.cuda.synchronize()
        wall = min(wall, time.perf_counter() - started)
        cpu = min(cpu, time.process_time() - used)
        if time.perf_counter() - begin > least:
            return len(theta) / wall, len(theta) / cpu


def peak_memory(arguments: argparse.Namespace, method: str, n: int) -> float:
    """Growth of the resident memory while derivatives of ``n`` sets are computed, MB."""
    command = [sys.executable, __file__, "--memory", method, str(n)]
    command += ["--small"] if arguments.small else []
    command += ["--data", str(arguments.data)] if arguments.data else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def report_memory(model: GeneralizedBloch, basis: torch.Tensor, n: int) -> None:
    """Sample the resident memory during one call (the peak of a process hides what is freed)."""
    theta = tissues(n, torch.float32, "cpu")
    model.linearize(theta[:16], basis)
    seen, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident())

    thread = threading.Thread(target=watch)
    thread.start()
    model.linearize(theta, basis)
    done.set()
    thread.join()
    print(max(seen) - seen[0])


def resident() -> float:
    """MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def methods(
    model: dict[str, GeneralizedBloch], basis: torch.Tensor, device: str
) -> list[tuple[str, int, int, bool, torch.dtype, Callable[[torch.Tensor], Any]]]:
    """Name, sets per call, threads, derivatives, precision, function."""
    rows: list[Any] = []
    for derivatives in (False, True):
        for dtype in (torch.float32, torch.float64):
            for name, n in (("exact", 2), ("split", 8)):
                if name == "exact" and dtype == torch.float32:
                    continue  # exponentials of the reference path are double
                n_sets = n * 1024 if device != "cpu" else n
                run = model[name].linearize if derivatives else model[name]
                rows.append((name, n_sets, 2, derivatives, dtype, lambda t, r=run: r(t, basis)))
            if device != "cpu":
                continue
            for threads in (1, 2):
                rows.append(
                    ("compiled", 2048, threads, derivatives, dtype,
                     lambda t, d=derivatives, k=threads: simulate_compiled(
                         model["compiled"].kernel_plan, t, basis, derivatives=d, n_threads=k)),
                )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--data", type=Path, help="BIDS data set with a qMT series and a basis")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sequence, columns = measured(arguments.data) if arguments.data else own(arguments.small)
    basis = torch.tensor(columns, device=arguments.device)
    model = {m: GeneralizedBloch(sequence, method=m) for m in ("exact", "split", "compiled")}  # type: ignore[arg-type]
    if arguments.memory:
        report_memory(model[arguments.memory[0]], basis, int(arguments.memory[1]))
        return
    torch.set_num_threads(2)
    first = {}
    for step in ("first", "next"):
        started = time.process_time()
        if arguments.device == "cpu":
            fresh = GeneralizedBloch(sequence, method="compiled")
            fresh.linearize(tissues(16, torch.float32, "cpu"), basis)
        first[step] = time.process_time() - started
    print(f"{sequence.n_trains} trains of {sequence.n_pulses} pulses, rank {basis.shape[1]}")
    if arguments.device == "cpu":
        print(
            f"CPU time before the first set of a process {first['first']:.2f} s, "
            f"of a further train {first['next']:.2f} s"
        )
    results: list[dict[str, Any]] = []
    naive: dict[bool, float] = {}
    for name, n, threads, derivatives, dtype, function in methods(model, basis, arguments.device):
        theta = tissues(max(2, n // 8) if arguments.small else n, dtype, arguments.device)
        function(theta[:16])
        speed, per_cpu = rates(function, theta, 1.0 if arguments.small else 4.0)
        if name == "exact":
            naive[derivatives] = speed
        results.append(
            {"method": name, "dtype": str(dtype)[6:], "threads": threads,
             "derivatives": derivatives, "sets_per_second": speed, "sets_per_cpu_second": per_cpu}
        )  # fmt: skip
    widths = {"method": -10, "dtype": -9, "threads": 8, "derivatives": 12, "sets/s": 11,
              "/CPU s": 11, "ratio": 9}  # fmt: skip
    print("".join(f"{k:<{-w}}" if w < 0 else f"{k:>{w}}" for k, w in widths.items()))
    for row in results:
        row["ratio_to_matrix_exponentials"] = row["sets_per_second"] / naive[row["derivatives"]]
        print(
            f"{row['method']:10}{row['dtype']:9}{row['threads']:8d}{row['derivatives']!s:>12}"
            f"{row['sets_per_second']:11.2f}{row['sets_per_cpu_second']:11.2f}"
            f"{row['ratio_to_matrix_exponentials']:9.0f}"
        )
    memory = {}
    if arguments.device == "cpu":
        for n in (512, 1024) if arguments.small else (2048, 8192):
            memory[n] = peak_memory(arguments, "compiled", n)
            print(f"memory for derivatives of {n} sets: {memory[n]:.0f} MB above the start")
    if arguments.out:
        host = {"machine": platform.machine(), "python": platform.python_version()}
        if arguments.device != "cpu":
            host["device"] = torch.cuda.get_device_name()
        content = {"host": host, "first_call_cpu_s": first, "rates": results, "memory_MB": memory}
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
