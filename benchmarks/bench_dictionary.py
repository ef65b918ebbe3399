"""Dictionary matching where B1 differs from voxel to voxel, with all that a brain takes.

    python benchmarks/bench_dictionary.py [--small] [--threads N] [--out result.json]

MR fingerprinting, rank 10, 10,000 atoms for each of 20 values of B1; refined between the atoms,
with standard deviations. The first row makes and keeps the dictionaries and the table of signals
between the atoms, the second one reads them, as a second participant does; in the third they
are at hand, so that it is the rate of further voxels. ``brain``: seconds for 1.5 million
voxels, dictionaries and table included. Where machines are shared, trust CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.atoms import default_atoms, simulate
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace

BRAIN = 1_500_000
N_BINS, RANK, SNR = 20, 10, 20.0
LIMITS = (0.55, 1.45)


def prepared(n_atoms: int, n_pulses: int) -> tuple[CompressedSignal, Tensor]:
    """Model in the subspace of its atoms, and these."""
    model = EpgFisp(jiang_like_train(n_pulses))
    atoms = default_atoms(model.parameters, n_atoms)[:n_atoms]
    made = simulate(model, atoms, rank=RANK, dtype=torch.float32, device=torch.device("cpu"))
    assert made.basis is not None
    return CompressedSignal(model, Subspace(made.basis)), atoms


def voxels(model: CompressedSignal, atoms: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Data ``(n, RANK)`` and B1 ``(n,)``: tissue of some atoms, any B1 and phase, with noise."""
    rng = torch.Generator().manual_seed(1)
    some = atoms[torch.randint(len(atoms), (2000,), generator=rng)].to(torch.float32)
    b1 = LIMITS[0] + (LIMITS[1] - LIMITS[0]) * torch.rand(len(some), generator=rng)
    some[:, model.parameters.names.index("B1")] = b1
    signal = model(some)
    which = torch.randint(len(some), (n,), generator=rng)
    phase = torch.exp(2j * torch.pi * torch.rand(n, 1, generator=rng))
    noise = torch.view_as_complex(torch.randn(n, RANK, 2, generator=rng))
    return signal[which] * phase + noise / SNR, b1[which]


def timed(name: str, work: Callable[[], object], n: int) -> dict[str, Any]:
    """Wall and CPU seconds, and voxels per second of each."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"name": name, "wall_s": wall, "cpu_s": cpu, "per_s": n / wall, "per_cpu_s": n / cpu}


def measure(n_atoms: int, n_pulses: int, n: int) -> dict[str, Any]:
    """All rows, and what a brain takes by them."""
    model, atoms = prepared(n_atoms, n_pulses)
    data, b1 = voxels(model, atoms, n)
    bins = torch.linspace(*LIMITS, N_BINS, dtype=torch.float64).tolist()
    rows = []
    with tempfile.TemporaryDirectory() as folder:

        def estimator() -> DictionaryEstimator:
            return DictionaryEstimator(model, atoms, b1_bins=bins, cache_dir=Path(folder))

        warm = DictionaryEstimator(model, atoms[:50], b1_bins=bins[:1])
        warm.estimate(data[:50], {"B1": b1[:50]})  # compiles
        first, second = estimator(), estimator()
        rows.append(timed("made and kept", lambda: first.estimate(data, {"B1": b1}), n))
        rows.append(timed("read", lambda: second.estimate(data, {"B1": b1}), n))
        rows.append(timed("at hand", lambda: second.estimate(data, {"B1": b1}), n))
        again = second.estimate(data, {"B1": b1})
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    made, read, steady = (row["wall_s"] for row in rows)
    return {
        "atoms": len(atoms),
        "bins": N_BINS,
        "voxels": n,
        "voxels_per_bin": n // N_BINS,
        "rows": rows,
        "making_s": made - steady,
        "reading_s": read - steady,
        "cache_mb": size / 1e6,
        "brain_s": made - steady + BRAIN * steady / n,
        "brain_again_s": read - steady + BRAIN * steady / n,
        "share_finite": float(torch.isfinite(again.std).all(-1).double().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_atoms, n_pulses = (500, 200) if options.small else (10_000, 1000)
    found = [
        measure(n_atoms, n_pulses, n) for n in ((2000,) if options.small else (20_000, 200_000))
    ]
    for one in found:
        print(f"\n{one['voxels']} voxels, {one['atoms']} atoms x {one['bins']} B1 bins")
        for row in one["rows"]:
            print(
                f"  {row['name']:16}{row['wall_s']:8.2f} s{row['cpu_s']:8.2f} CPU s"
                f"{row['per_s']:10.0f} voxels/s{row['per_cpu_s']:10.0f} per CPU s"
            )
        print(
            f"  making {one['making_s']:.1f} s, reading {one['reading_s']:.1f} s, "
            f"{one['cache_mb']:.0f} MB; brain {one['brain_s']:.0f} s, with dictionaries that lie "
            f"there {one['brain_again_s']:.0f} s"
        )
    if options.out is not None:
        result = {"threads": options.threads, "torch": torch.__version__, "sizes": found}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
