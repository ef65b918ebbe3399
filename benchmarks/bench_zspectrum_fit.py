"""Least squares of Z-spectra against one SciPy fit per voxel over the same model, in one run.

    python benchmarks/bench_zspectrum_fit.py [--small] [--model NAME ...] [--data DIR]
        [--threads N] [--out FILE]

Without ``--data`` voxels are simulated. ``--data`` is a folder of magnitudes
``*_flip-*_mt-*.nii.gz`` (divided by the image without MT pulse) with ``Angle`` and ``Offset`` in
their sidecars, and ``derivatives/*`` with R1, B1 and B0 maps and a mask; pulse shape and timing
are those of the qMT-SPGR demonstration of qMRLab. Standard deviations are part of the time.
Seconds are of the clock; CPU seconds tell more on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares

from bids_brnn.estimators.nlls.estimator import bounds_hit
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import models_by_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe

MAPS = ("R1", "B1", "w0")
Voxels = tuple[ZSpectrum, torch.Tensor, dict[str, torch.Tensor]]


def protocol(angle: np.ndarray, offset: np.ndarray, name: str) -> ZSpectrum:
    """Angles (deg) and offsets (Hz) with the timing of the demonstration."""
    return ZSpectrum(
        mt_flip_angle=np.deg2rad(angle),
        offset=offset,
        pulse=MTPulse("GAUSSHANN", 0.0102, 200.0),
        flip_angle=math.radians(7),
        repetition_time=0.025,
        mt_delay=0.003,
        excitation_duration=0.0018,
        normalised=True,
        name=name,
    )


def simulated(model: str, n: int) -> Voxels:
    """Brain-like voxels with maps at SNR 50."""
    offsets = np.array([443.0, 1088, 2732, 6862, 17235])
    scan = protocol(np.repeat([142.0, 426.0], 5), np.r_[offsets, offsets], "simulated")
    rng = torch.Generator().manual_seed(0)
    # m0s, R1, R2f, Rx, R1s, T2s, w0, B1
    low = torch.tensor([0.03, 0.5, 8, 8, 1, 8e-6, -150, 0.85], dtype=torch.float64)
    high = torch.tensor([0.2, 1.2, 45, 25, 1 + 1e-9, 15e-6, 150, 1.1], dtype=torch.float64)
    theta = low + (high - low) * torch.rand(n, 8, generator=rng, dtype=torch.float64)
    built = EstimatorRecipe("nlls", model, scan, supplied=MAPS, magnitude=True).build_model()
    noise = torch.randn(n, 10, generator=rng, dtype=torch.float64)
    data = (built(theta).real + 0.02 * noise).to(torch.complex64)
    columns = dict(zip(MAPS, built.parameters.index(MAPS), strict=True))
    return scan, data, {name: theta[:, column] for name, column in columns.items()}


def measured(folder: Path) -> Voxels:
    """Every voxel in the mask of the first participant."""
    import nibabel

    def find(pattern: str) -> Path:
        return sorted(folder.glob(f"**/{pattern}"))[0]

    mask = np.asanyarray(nibabel.load(find("*mask.nii.gz")).dataobj) > 0

    def inside(path: Path) -> np.ndarray:
        return np.asanyarray(nibabel.load(path).dataobj)[mask].astype(np.float64)

    files = sorted(folder.glob("sub-*/**/*_flip-*_mt-*.nii.gz"))
    beside = [json.loads(Path(str(path)[:-7] + ".json").read_text()) for path in files]
    scan = protocol(
        np.array([item["Angle"] for item in beside], float),
        np.array([item["Offset"] for item in beside], float),
        folder.name,
    )
    data = np.stack([inside(path) for path in files], -1).astype(np.complex64)
    maps = {
        "R1": inside(find("*R1map.nii.gz")),
        "B1": inside(find("*TB1map.nii.gz")),
        "w0": 2 * math.pi * inside(find("*B0map.nii.gz")),
    }
    return (
        scan,
        torch.from_numpy(data),
        {name: torch.from_numpy(values) for name, values in maps.items()},
    )


def fit_one(model: Any, data: torch.Tensor, theta: torch.Tensor) -> tuple[float, int]:
    """One voxel with scipy.optimize.least_squares from ``theta``: sum of squares, evaluations."""
    parameters = model.parameters
    free = parameters.columns("estimated")
    lower, upper = parameters.bounds(theta)
    span = (upper - lower)[free]
    y = data.real.double().numpy()
    cache: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = x.tobytes()
        if key not in cache:
            point = theta.clone()
            point[free] = lower[free] + torch.from_numpy(x) * span
            point = torch.minimum(torch.maximum(point, lower), upper)
            signal, slopes = model.linearize(point[None])
            cache.clear()
            cache[key] = (
                signal[0].real.numpy() - y,
                (slopes[0].real[:, free] * span).numpy(),
            )
        return cache[key]

    x0 = ((theta - lower) / (upper - lower))[free].clamp(1e-3, 1 - 1e-3).numpy()
    found = least_squares(
        lambda x: both(x)[0], x0, lambda x: both(x)[1], bounds=(0, 1), method="trf",
        x_scale="jac", xtol=1e-8, ftol=1e-8, gtol=1e-12, max_nfev=60,
    )  # fmt: skip
    return 2 * float(found.cost), int(found.nfev)


def run(model: str, voxels: Voxels, n_scipy: int) -> dict[str, Any]:
    """Time and compare both."""
    scan, data, maps = voxels
    recipe = EstimatorRecipe("nlls", model, scan, supplied=MAPS, magnitude=True)
    estimator: Any = recipe.build()
    spread = {"R1": 0.03 * maps["R1"]}
    began = time.perf_counter()
    few = slice(None, None, 16)  # all over the maps: tables are made where fields fall
    first = {name: values[few] for name, values in maps.items()}
    estimator.estimate(data[few], first)  # compile, and make tables of the protocol
    once = time.perf_counter() - began
    began, cpu = time.perf_counter(), time.process_time()
    result = estimator.estimate(data, maps, spread=spread)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    squares = result.residual.double().square() * data.abs().double().square().sum(-1)
    some = torch.linspace(0, len(data) - 1, n_scipy).long().tolist()
    theta = estimator.parameters.start(maps["R1"].double()).repeat(len(data), 1)
    for name, values in maps.items():
        theta[:, estimator.parameters.index((name,))[0]] = values
    scipy_began, scipy_cpu = time.perf_counter(), time.process_time()
    fits = [fit_one(estimator.model, data[voxel], theta[voxel]) for voxel in some]
    scipy_seconds = (time.perf_counter() - scipy_began) / n_scipy
    scipy_cpu = (time.process_time() - scipy_cpu) / n_scipy
    theirs = np.array([cost for cost, _ in fits])
    ours = squares[some].numpy()
    hit = bounds_hit(result.quality["at_bound"], estimator.parameters)
    return {
        "voxels": len(data),
        "seconds_of_tables": once,
        "seconds": seconds,
        "voxels_per_s": len(data) / seconds,
        "cpu_seconds": cpu,
        "voxels_per_cpu_s": len(data) / cpu,
        "scipy_ms_per_voxel": 1e3 * scipy_seconds,
        "ratio": scipy_seconds * len(data) / seconds,
        "ratio_of_cpu_time": scipy_cpu * len(data) / cpu,
        "evaluations_per_voxel": float(result.quality["iterations"].double().mean()),
        "scipy_evaluations_per_voxel": float(np.mean([n for _, n in fits])),
        "share_lower_cost_than_scipy": float(np.mean(ours < theirs * (1 - 1e-4))),
        "share_higher_cost_than_scipy": float(np.mean(ours > theirs * (1 + 1e-4))),
        "sum_of_squares": float(squares.sum()),
        "median_m0s": float(result.theta[:, 0].nanmedian()),
        "median_std_of_m0s": float(result.std[:, 0].nanmedian()),
        "voxels_at_a_bound": {
            name: int((low | up).sum()) for name, (low, up) in hit.items() if (low | up).any()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few voxels, to see that it runs")
    known = [entry.name for entry in models_by_protocol("zspectrum")]
    parser.add_argument("--model", nargs="+", choices=known, help="default: all")
    parser.add_argument("--data", type=Path, help="folder of a measured slice")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.model or known
    n = 128 if options.small else 4101
    reports = {}
    for name in names:
        voxels = simulated(name, n) if options.data is None else measured(options.data)
        if options.small:
            scan, data, maps = voxels
            voxels = scan, data[:n], {key: values[:n] for key, values in maps.items()}
        reports[name] = run(name, voxels, n_scipy=5 if options.small else 60)
        print(name)
        for key, value in reports[name].items():
            print(
                f"  {key:32s} {value:.4g}" if isinstance(value, float) else f"  {key:32s} {value}"
            )
    if options.out is not None:
        options.out.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    main()
