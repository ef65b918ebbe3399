"""Noise-free signals between the atoms and B1 bins, by two versions of the program in turn.

``python benchmarks/dictionary_versions.py DATA --before PATH``: signals of the prior of MR
fingerprinting (made into ``DATA``; 100,000 voxels, rank 10, any phase) are matched with 10,000
atoms for each value of B1, refined, with standard deviations, by the program that is imported and
by that at ``PATH``, each in processes of its own that take turns. Errors of R1 and R2 as shares of
the truth, and CPU seconds of one thread with dictionaries at hand; the least of all turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

try:
    from bids_brnn.estimators.dictionary.atoms import default_atoms, simulate
    from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
    from bids_brnn.priors import relaxation_prior
    from bids_brnn.sequences.designs import jiang_like_train
    from bids_brnn.signals.one_pool.fisp import EpgFisp
    from bids_brnn.signals.subspace import CompressedSignal, Subspace
except ImportError:  # the first version
    from bids_brnn.estimators.dictionary_atoms import default_atoms
    from bids_brnn.signals.epg import EpgFisp
    from bids_brnn.subspace import CompressedSignal, Subspace
    from bids_brnn.trains import jiang_like_train

    from bids_brnn.estimators.dictionary import DictionaryEstimator

RANK = 10
SNR = 20.0
"""Of the voxels whose time is taken beside that of noise-free ones."""


def make(path: Path, n: int, n_atoms: int, n_pulses: int, seed: int) -> None:
    """Signals ``(n, RANK)`` without and with noise, parameters, basis and atoms."""
    model = EpgFisp(jiang_like_train(n_pulses))
    atoms = default_atoms(model.parameters, n_atoms)
    wide = torch.float64
    basis = simulate(model, atoms, rank=RANK, dtype=wide, device=torch.device("cpu")).basis
    rng = torch.Generator().manual_seed(seed)
    theta = relaxation_prior(model.parameters).sample(n, rng=rng)
    exact = CompressedSignal(model, Subspace(basis))
    clean = torch.cat([exact(some) for some in theta.split(1024)])
    clean = clean * torch.exp(2j * torch.pi * torch.rand(n, 1, generator=rng))
    noise = torch.view_as_complex(torch.randn(n, RANK, 2, generator=rng)) / SNR
    kept = {"clean": clean.to(torch.complex64), "theta": theta, "basis": basis, "atoms": atoms}
    torch.save({**kept, "noisy": kept["clean"] + noise, "n_pulses": n_pulses}, path)


def measure(path: Path, refine: int) -> dict[str, Any]:
    """Errors and CPU seconds of the version that is imported."""
    torch.set_num_threads(1)
    kept = torch.load(path)
    model = CompressedSignal(EpgFisp(jiang_like_train(kept["n_pulses"])), Subspace(kept["basis"]))
    theta, atoms = kept["theta"], kept["atoms"]
    known = {"B1": theta[:, model.parameters.names.index("B1")].float()}
    with tempfile.TemporaryDirectory() as folder:
        estimator = DictionaryEstimator(model, atoms, refine=refine, cache_dir=Path(folder))
        seconds, found = {}, {}
        for name, sigma in (("clean", None), ("noisy", 1 / SNR)):
            for _ in range(2):  # the first one makes what is kept
                began = time.process_time()
                made = estimator.estimate(kept[name], known, sigma=sigma)
                seconds[name] = time.process_time() - began
            found[name] = made.theta.double()
    columns = [model.parameters.names.index(name) for name in ("R1", "R2")]
    error = (found["clean"] / theta - 1).abs()[:, columns]
    low, high = atoms[:, columns].amin(0), atoms[:, columns].amax(0)
    inside = ((theta[:, columns] >= low) & (theta[:, columns] <= high)).all(-1)
    fluid = theta[:, columns[1]] < 2
    groups = {
        "tissue": inside & ~fluid, "fluid": inside & fluid, "beyond the atoms": ~inside,
    }  # fmt: skip
    return {
        "errors": {name: described(error[rows]) for name, rows in groups.items()},
        "seconds": seconds,
    }


def described(error: Tensor) -> dict[str, Any]:
    """Of R1 and R2 ``(V, 2)``: number, median, 99th percentile, largest, share above 0.1 %."""
    return {
        "n": len(error),
        "median": error.quantile(0.5, 0).tolist() if len(error) else [],
        "99 %": error.quantile(0.99, 0).tolist() if len(error) else [],
        "largest": error.amax(0).tolist() if len(error) else [],
        "above 0.1 %": (error > 1e-3).double().mean(0).tolist(),
    }


def main() -> None:
    """Make the data, let the versions take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--before", type=Path, help="root of another version")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=777004)
    parser.add_argument("--voxels", type=int, default=100_000)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--refine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.refine is not None:
        print(json.dumps(measure(options.data, options.refine)))
        return
    n, n_atoms, n_pulses = (2000, 500, 200) if options.small else (options.voxels, 10_000, 1000)
    make(options.data, n, n_atoms, n_pulses, options.seed)
    kinds = [("now", os.environ.get("PYTHONPATH", ""), 1)]
    if options.before:
        kinds += [(f"before, refine={k}", str(options.before), k) for k in (1, 2)]
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in kinds}
    for turn in range(options.turns):
        for name, root, refine in kinds:
            command = [sys.executable, __file__, str(options.data), "--refine", str(refine)]
            environment = {**os.environ, "PYTHONPATH": root}
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            told = json.loads(done.stdout.splitlines()[-1])
            seconds[name].append(told["seconds"])
            print(name, told["seconds"], flush=True)
            if turn == 0:
                print(json.dumps(told["errors"], indent=1), flush=True)
    for name, turns in seconds.items():
        least = {key: round(min(one[key] for one in turns), 2) for key in turns[0]}
        print(f"{name}: CPU s of {n} voxels, least {least}")


if __name__ == "__main__":
    main()
