"""Batched least squares against one SciPy fit per voxel over the same forward model, in one run.

Both in CPU seconds too: on a shared machine they tell more than the clock does.

    OPENBLAS_NUM_THREADS=1 python benchmarks/bench_nlls.py [--small] [--data BIDS_DIR]
                                    [--draft NETWORK] [--threads N] [--out result.json]

(as the command sets it: threads of NumPy's products spin, and take half of the processors).

Without ``--data`` the voxels are simulated from a train of our own. Both ways minimise the same
cost (complex M0 projected out), with the same bounds, exact derivatives and start values; SciPy
has the compiled forward model of this program, one voxel at a time, so that the ratio tells what
batches and the solver save, not what the model does. ``limit`` is what would be left if nothing
but the model took time. With ``--draft`` fits start at the minima of the signal that a network has
learnt (``auto``: that of the pulse train), and ``evaluations_per_voxel`` are those of the exact
model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares

from bids_brnn.estimators.nlls.estimator import STOP_REASONS, NllsEstimator, bounds_hit
from bids_brnn.information.bounds import project_out_scale
from bids_brnn.sequences.designs import hybrid_state_train
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.signals.two_pools.generalized_bloch import GeneralizedBloch


def simulated(n: int) -> tuple[SignalModel, torch.Tensor]:
    """Brain-like voxels at a signal-to-noise ratio of about 30."""
    model = GeneralizedBloch(hybrid_state_train(n_pulses=400))
    rng = torch.Generator().manual_seed(0)
    low = torch.tensor([0.05, 0.3, 8, 8, 2, 9e-6, -500, 0.8], dtype=torch.float64)
    high = torch.tensor([0.25, 0.8, 18, 25, 4, 18e-6, 500, 1.2], dtype=torch.float64)
    theta = low + (high - low) * torch.rand(n, 8, generator=rng, dtype=torch.float64)
    signals = model(theta[:400])
    basis = torch.linalg.svd(signals.mT, full_matrices=False)[0][:, :15]
    compressed = CompressedSignal(model, Subspace(basis))
    data = compressed(theta)
    noise = torch.randn(n, 15, 2, generator=rng, dtype=torch.float64)
    size = data[:, :1].abs()
    return compressed, (data + size / 200 * torch.view_as_complex(noise)).to(torch.complex64)


def measured(folder: Path) -> tuple[SignalModel, torch.Tensor]:
    """Every voxel in the mask of the first qMT series of a BIDS data set."""
    from bids_brnn.bids.images import read_coefficients
    from bids_brnn.bids.input.discovery import find_acquisitions
    from bids_brnn.bids.volumes import read_mask
    from bids_brnn.voxels import to_voxels

    recon = folder / "derivatives" / "recon"
    found = find_acquisitions(folder, kinds=("qmt",), derivatives={"recon": recon})
    series = found.acquisitions[0]
    volume = read_coefficients(series)
    assert series.basis is not None
    assert series.companions.mask is not None
    voxels = to_voxels(volume.data, read_mask(series.companions.mask, volume))
    model = CompressedSignal(
        GeneralizedBloch(series.sequence), Subspace(torch.from_numpy(np.array(series.basis)))
    )
    return model, torch.from_numpy(voxels)


def fit_one(
    model: SignalModel, data: torch.Tensor, start: torch.Tensor
) -> tuple[np.ndarray, float, int]:
    """One voxel with scipy.optimize.least_squares: parameters, relative residual, evaluations."""
    parameters = model.parameters
    lower, upper = parameters.bounds(start)
    span = upper - lower
    y = (data / data.norm()).to(torch.complex128)
    cache: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = x.tobytes()
        if key not in cache:
            theta = torch.clamp(lower + torch.from_numpy(x) * span, lower, upper)
            signal, slopes = model.linearize(theta[None])
            m0 = (signal.conj() @ y) / signal.abs().square().sum(-1)
            residual = y - m0 * signal[0]
            jacobian = -m0 * project_out_scale(signal, slopes * span)[0]
            cache.clear()
            cache[key] = (
                torch.cat([residual.real, residual.imag]).numpy(),
                torch.cat([jacobian.real, jacobian.imag]).numpy(),
            )
        return cache[key]

    x0 = ((start - lower) / span).clamp(1e-3, 1 - 1e-3).numpy()
    fit = least_squares(
        lambda x: both(x)[0], x0, lambda x: both(x)[1], bounds=(0, 1), method="trf",
        x_scale="jac", xtol=1e-6, ftol=1e-6, gtol=1e-10, max_nfev=50,
    )  # fmt: skip
    theta = lower + torch.from_numpy(fit.x) * span
    return theta.numpy(), float(np.sqrt(2 * fit.cost)), int(fit.nfev)


def evaluations_per_s(model: SignalModel, theta: torch.Tensor) -> float:
    """Signals with derivatives, by all threads, in single precision."""
    points = theta[torch.isfinite(theta).all(-1)].to(torch.float32)
    lower, upper = model.parameters.bounds(points)
    points = torch.minimum(torch.maximum(points, lower), upper)
    model.linearize(points[:64])
    began = time.perf_counter()
    model.linearize(points)
    return len(points) / (time.perf_counter() - began)


def draft_of(model: SignalModel, network: str | None) -> SignalModel | None:
    """What a network has learnt of the signal, if one is asked for."""
    if network is None:
        return None
    from bids_brnn.estimators.network.imitation import imitation_of
    from bids_brnn.zoo.match import load_network

    return imitation_of(load_network(model, "gbloch", weights=network))


def run(
    model: SignalModel,
    data: torch.Tensor,
    n_scipy: int,
    threads: int,
    draft: SignalModel | None = None,
) -> dict[str, Any]:
    """Time and compare both."""
    torch.set_num_threads(threads)
    estimator = NllsEstimator(model, draft=draft)
    estimator.estimate(data[:64])  # compile, and simulate the candidates
    began, cpu = time.perf_counter(), time.process_time()
    result = estimator.estimate(data)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    evaluations = float(result.quality["iterations"].double().mean())
    model_rate = evaluations_per_s(model, result.theta[:4096])
    torch.set_num_threads(1)
    some = torch.linspace(0, len(data) - 1, n_scipy).long()
    starts = estimator.start_points(data[some])
    fit_one(model, data[some[0]], starts[0])
    began, scipy_cpu = time.perf_counter(), time.process_time()
    fits = [fit_one(model, data[v], start) for v, start in zip(some, starts, strict=True)]
    scipy_seconds = time.perf_counter() - began
    scipy_cpu = time.process_time() - scipy_cpu
    theirs = np.array([residual for _, residual, _ in fits])
    ours = result.residual[some].numpy()
    rate, scipy_rate = len(data) / seconds, n_scipy / scipy_seconds
    return {
        "voxels": len(data),
        "threads": threads,
        "voxels_per_s": rate,
        "seconds": seconds,
        "scipy_voxels": n_scipy,
        "scipy_voxels_per_s": scipy_rate,
        "ratio": rate / scipy_rate,
        "cpu_seconds": cpu,
        "voxels_per_cpu_s": len(data) / cpu,
        "scipy_voxels_per_cpu_s": n_scipy / scipy_cpu,
        "ratio_of_cpu_time": len(data) / cpu / (n_scipy / scipy_cpu),
        "evaluations_per_voxel": evaluations,
        "starts_per_voxel": float(result.quality["starts"].double().mean()),
        "model_evaluations_per_s": model_rate,
        "limit_voxels_per_s": model_rate / evaluations,
        "scipy_evaluations_per_voxel": float(np.mean([n for _, _, n in fits])),
        "median_residual": float(result.residual.nanmedian()),
        "share_fitted": float(torch.isfinite(result.residual).double().mean()),
        "share_lower_cost_than_scipy": float(np.mean(ours < theirs * (1 - 1e-3))),
        "share_higher_cost_than_scipy": float(np.mean(ours > theirs * (1 + 1e-3))),
        "stop": {
            words: float((result.quality["stop"] == code).double().mean())
            for code, words in STOP_REASONS.items()
        },
        "at_bound": {
            name: [float(low.double().mean()), float(up.double().mean())]
            for name, (low, up) in bounds_hit(result.quality["at_bound"], model.parameters).items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few voxels, to see that it runs")
    parser.add_argument("--data", type=Path, help="BIDS data set with a qMT series")
    parser.add_argument("--draft", metavar="NETWORK", help="auto, or the name of a network")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    n = 256 if options.small else 8192
    if options.data is None:
        model, data = simulated(n)
    else:
        model, data = measured(options.data)
        if options.small:
            data = data[:: max(1, len(data) // n)]
    n_scipy, draft = 10 if options.small else 100, draft_of(model, options.draft)
    report = run(model, data, n_scipy, options.threads, draft)
    report["machine"] = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    for key, value in report.items():
        print(f"{key:32s} {value:.4g}" if isinstance(value, float) else f"{key:32s} {value}")
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
