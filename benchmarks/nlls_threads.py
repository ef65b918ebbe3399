"""Least squares on 1, 2 and 8 threads, and whether the results are equal bit for bit.

    python benchmarks/nlls_threads.py [--small] [--voxels N] [--threads 1 2 8] [--data BIDS_DIR]
                                      [--kind qmt|gbloch|ramani]

Where the machine has fewer cores than threads are asked for, as many processes of one thread each
take their shares of the voxels: that tells nothing of speed there (CPU seconds do), but of
equality. The first row is what the others are compared with: its ``efficiency`` is 1, and of n
threads it is the time of the first row over n times their own. ``busy`` is CPU seconds over
seconds and threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch
from bench_nlls import measured, simulated

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.estimators.nlls.starts import TOGETHER

Problem = tuple[NllsEstimator, torch.Tensor, dict[str, torch.Tensor]]


def problem(kind: str, n: int, folder: Path | None) -> Problem:
    """An estimator, data and maps."""
    if kind == "qmt":
        model, data = simulated(n) if folder is None else measured(folder)
        return NllsEstimator(model), data[:n], {}
    import bench_zspectrum_fit as spectra

    from bids_brnn.zoo.recipe import EstimatorRecipe

    scan, data, maps = spectra.simulated("ramani", n)
    name = "gbloch-zspectrum" if kind == "gbloch" else kind
    recipe = EstimatorRecipe("nlls", name, scan, supplied=spectra.MAPS, magnitude=True)
    built: Any = recipe.build()
    return built, data, maps


def content(found: Estimate) -> list[torch.Tensor]:
    """All that is compared."""
    assert found.std is not None
    return [found.theta, found.std, found.m0, found.residual, *found.quality.values()]


def share(arguments: tuple[str, int, Path | None, int, int]) -> tuple[list[Any], float]:
    """One process of several: what it finds of its voxels, as arrays, and its CPU seconds."""
    kind, n, folder, number, shares = arguments
    torch.set_num_threads(1)
    estimator, data, maps = problem(kind, n, folder)
    size = -(-len(data) // (shares * TOGETHER)) * TOGETHER
    rows = slice(number * size, (number + 1) * size)
    some = {name: values[rows] for name, values in maps.items()}
    began = time.process_time()
    found = estimator.estimate(data[rows], some)
    return [part.numpy() for part in content(found)], time.process_time() - began


def run(kind: str, n: int, folder: Path | None, threads: int) -> tuple[Any, float, float, str]:
    """Results, seconds, CPU seconds, and how it was done."""
    if threads > len(os.sched_getaffinity(0)):
        jobs = [(kind, n, folder, number, threads) for number in range(threads)]
        with multiprocessing.get_context("spawn").Pool(threads) as pool:
            began = time.perf_counter()
            parts = pool.map(share, jobs, chunksize=1)
            seconds = time.perf_counter() - began
        columns = zip(*(part for part, _ in parts), strict=True)
        found = [torch.cat([torch.from_numpy(p) for p in column]) for column in columns]
        return found, seconds, sum(cpu for _, cpu in parts), "processes"
    torch.set_num_threads(threads)
    estimator, data, maps = problem(kind, n, folder)
    estimator.estimate(data[:8], {name: values[:8] for name, values in maps.items()})
    began, cpu = time.perf_counter(), time.process_time()
    result = content(estimator.estimate(data, maps))
    return result, time.perf_counter() - began, time.process_time() - cpu, "threads"


def main() -> int:
    """Run, print a table; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="200 voxels, to see that it works")
    parser.add_argument("--voxels", type=int, default=8192)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--data", type=Path, help="BIDS data set with a qMT series")
    parser.add_argument("--kind", choices=("qmt", "gbloch", "ramani"), default="qmt")
    options = parser.parse_args()
    n = 200 if options.small else options.voxels
    print("threads  by         seconds  CPU s  voxels/s  voxels/CPU s  efficiency  busy  equal")
    first: tuple[Any, float, int] | None = None
    different = 0
    for threads in options.threads:
        found, seconds, cpu, how = run(options.kind, n, options.data, threads)
        first = first or (found, seconds, threads)
        equal = all(
            torch.equal(one.nan_to_num(), other.nan_to_num())
            for one, other in zip(first[0], found, strict=True)
        )
        different += not equal
        voxels = len(found[0])
        efficiency = first[1] * first[2] / (seconds * threads)
        print(
            f"{threads:7d}  {how:9s} {seconds:8.2f} {cpu:6.2f} {voxels / seconds:9.0f} "
            f"{voxels / cpu:13.0f} {efficiency:11.2f} {cpu / seconds / threads:5.2f}  "
            f"{'yes' if equal else 'NO'}"
        )
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
