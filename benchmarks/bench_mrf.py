"""MR fingerprinting: FISP dictionaries and matching, against peers and the plain way, in one run.

    python benchmarks/bench_mrf.py [--small] [--threads N] [--device cuda] [--out result.json]

Peer: blochsim, if it is installed (``pip install blochsim``). Where machines are shared, trust
CPU seconds and ratios more than seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.atoms import Dictionary, default_atoms, simulate
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.estimators.dictionary.refine import explain
from bids_brnn.estimators.dictionary.search import best_atoms
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace

MRPRO = {
    # mrpro 0.261015 needs a torchvision that does not install beside CPU torch, so its figures
    # are those of an earlier run on 2 shared cores: wall and CPU seconds.
    "dictionary": ("mrpro EPGSequence, recorded elsewhere", 86.282, 49.223),
    "matching": ("mrpro DictionaryMatchOp, recorded elsewhere", 26.319, 17.282),
}
Timing = tuple[str, float, float]


def best(name: str, work: Callable[[], object], repeats: int) -> Timing:
    """Smallest wall and CPU seconds of ``work``; the first call only warms up."""
    work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return name, min(walls), min(cpus)


def peer() -> object | None:
    """The module blochsim, or None with the reason printed."""
    try:
        import blochsim.estimators
        import blochsim.simulators
    except ImportError as error:
        print(f"blochsim is left out: {error}")
        return None
    return blochsim


def dictionary_speed(n_atoms: int, n_pulses: int, repeats: int, device: torch.device) -> dict:
    """Signals of ``n_atoms`` x ``n_pulses`` in single precision."""
    sequence = jiang_like_train(n_pulses)
    grid = default_atoms(EpgFisp(sequence).parameters, n_atoms)[:n_atoms]
    theta = grid.to(device, torch.float32)
    fixed, auto = EpgFisp(sequence, n_states=60), EpgFisp(sequence)
    slow = EpgFisp(sequence, n_states=60, method="torch")
    basis = torch.linalg.qr(torch.randn(n_pulses, 10))[0].to(device)

    def ready(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run

    rows = [
        best("60 orders", ready(lambda: fixed(theta)), repeats),
        best("60 orders, projected to rank 10", ready(lambda: fixed(theta, basis)), repeats),
        best("60 orders, rank 10, 3 derivatives",
             ready(lambda: fixed.linearize(theta, basis)), repeats),
        best("orders by T2 (error below 1e-5)", ready(lambda: auto(theta)), repeats),
        best("60 orders, readable torch path", ready(lambda: slow(theta)), 1),
    ]  # fmt: skip
    blochsim = peer()
    if blochsim is not None:
        excitation = sequence.flip_angle[0, 1:]
        options = {
            "flip": torch.rad2deg(torch.tensor(excitation, dtype=torch.float32)),
            "TR": torch.tensor(1e3 * sequence.repetition_time[0, 1:], dtype=torch.float32),
            "TI": 1e3 * float(sequence.repetition_time[0, 0]),
        }
        t1, t2 = (1e3 / grid[:, :2].T).float()
        for states in (60, 20):
            simulator = blochsim.simulators.MRFSimulator(states=states, **options)

            def other(simulator=simulator) -> Tensor:
                return simulator.simulate(T1=t1, T2=t2)

            rows.append(best(f"blochsim MRFSimulator, {states} orders", other, repeats))
            if states == 60:
                # Same physics: blochsim has no echo time and another constant phase.
                ours = fixed(theta[:200]).cpu() * torch.exp(2e-3 * grid[:200, 1:2]).float()
                theirs = other()[:200].to(ours.dtype)
                scale = (theirs.conj() * ours).sum() / theirs.abs().square().sum()
                error = float((ours - scale * theirs).norm() / ours.norm())
                print(f"difference from blochsim, 60 orders: {error:.1e} (relative L2)")
    if (n_atoms, n_pulses) == (5000, 1000):
        rows.append(MRPRO["dictionary"])
    return {"title": f"dictionary, {n_atoms} atoms x {n_pulses} repetitions", "rows": rows}


def voxels(made: Dictionary, n: int) -> Tensor:
    """Atoms anywhere in the dictionary, any phase, |M0|/sigma = 20."""
    rng = torch.Generator().manual_seed(1)
    atoms = torch.randint(len(made.theta), (n,), generator=rng)
    phase = torch.exp(2j * torch.pi * torch.rand(n, 1, generator=rng))
    noise = torch.randn(n, made.coefficients.shape[1], 2, generator=rng)
    return made.coefficients[atoms] * phase + torch.view_as_complex(noise) / 20


def prepared(n_atoms: int, n_pulses: int, n_voxels: int) -> tuple[EpgFisp, Dictionary, Tensor]:
    model = EpgFisp(jiang_like_train(n_pulses))
    atoms = default_atoms(model.parameters, n_atoms)[:n_atoms]
    made = simulate(model, atoms, rank=10, dtype=torch.float32, device=torch.device("cpu"))
    return model, made, voxels(made, n_voxels)


def matching_speed(n_atoms: int, n_pulses: int, n_voxels: int, repeats: int) -> dict:
    """``n_voxels`` x rank 10 x ``n_atoms``, with M0."""
    model, made, data = prepared(n_atoms, n_pulses, n_voxels)
    noise = torch.view_as_complex(torch.randn(n_voxels, 10, 2))
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def ours(data: Tensor = data, name: str = "ours") -> None:
        index, match = made.best(data)
        found[name] = index, match
        explain(data, torch.zeros(len(data)), made.coefficients[index])

    def plain() -> None:
        found["plain"] = best_atoms(
            data, made.coefficients / made.coefficients.norm(dim=-1)[:, None]
        )

    compressed = CompressedSignal(model, Subspace(made.basis))
    quick = DictionaryEstimator(compressed, made.theta, refine=0, with_std=False)
    full = DictionaryEstimator(compressed, made.theta)
    rows = [
        best("search and M0", ours, repeats),
        best("search and M0, voxels of pure noise", lambda: ours(noise, "noise"), repeats),
        best("estimator without refinement", lambda: quick.estimate(data), repeats),
        best("estimator, refined, with standard deviations", lambda: full.estimate(data), 1),
        best("plain: complex product and maximum, in blocks", plain, 1),
    ]
    show_same("plain", found["ours"], found["plain"][1])
    blochsim = peer()
    if blochsim is not None:
        matcher = blochsim.estimators.DictionaryMatcher(dictionary=made.coefficients)

        def other() -> None:
            found["blochsim"] = None, matcher.match(data).scores[..., 0]

        rows.append(best("blochsim DictionaryMatcher", other, max(1, repeats // 2)))
        grouped = blochsim.estimators.DictionaryMatcher(dictionary=made.coefficients, groups=300)

        def approximate() -> None:
            found["grouped"] = None, grouped.match(data).scores[..., 0]

        rows.append(best("blochsim, 300 groups (approximate)", approximate, 1))
        for name in ("blochsim", "grouped"):
            scores = found[name][1].to(torch.float32)
            size = data.norm(dim=-1)
            # Theirs are divided by the norm of the data, or are not.
            scores = scores * size if float(scores.max()) <= 1.001 else scores
            show_same(name, found["ours"], scores)
    if (n_atoms, n_voxels) == (10_000, 100_000):
        rows.append(MRPRO["matching"])
    return {"title": f"matching, {n_voxels} voxels x rank 10 x {n_atoms} atoms", "rows": rows}


def show_same(name: str, ours: tuple[Tensor, Tensor], other: Tensor) -> None:
    """How much of the inner product another way attains."""
    difference = (ours[1] - other) / ours[1]
    print(
        f"attained inner products, relative to {name}: higher by at most "
        f"{float(difference.max()):.1e}, lower by at most {float(-difference.min()):.1e}"
    )


def peak_memory(n_atoms: int, n_pulses: int, n_voxels: int) -> None:
    """Resident megabytes: with torch loaded, after making the dictionary, after matching."""
    sizes = [resident_peak()]
    model, made, data = prepared(n_atoms, n_pulses, n_voxels)
    sizes.append(resident_peak())
    compressed = CompressedSignal(model, Subspace(made.basis))
    DictionaryEstimator(compressed, made.theta).estimate(data)
    sizes.append(resident_peak())
    print(json.dumps(sizes))


def resident_peak() -> float:
    """Megabytes; not ``ru_maxrss``, which a child inherits from the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def show(table: dict) -> None:
    """Seconds and how many times faster the first row is."""
    print(f"\n{table['title']}\n{'':52}{'wall s':>9}{'CPU s':>9}{'ratio wall':>12}{'CPU':>8}")
    _, wall, cpu = table["rows"][0]
    for name, row_wall, row_cpu in table["rows"]:
        ratios = f"{row_wall / wall:12.1f}{row_cpu / cpu:8.1f}"
        print(f"  {name:50}{row_wall:9.3f}{row_cpu:9.3f}{ratios}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="of the dictionary simulation")
    parser.add_argument("--peak-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_pulses, n_voxels = (200, 5000) if options.small else (1000, 100_000)
    n_match = 1000 if options.small else 10_000
    if options.peak_only:
        peak_memory(n_match, n_pulses, n_voxels)
        return
    repeats = 2 if options.small else 5
    tables = [
        dictionary_speed(
            500 if options.small else 5000, n_pulses, repeats, torch.device(options.device)
        ),
        matching_speed(n_match, n_pulses, n_voxels, repeats),
    ]
    for table in tables:
        show(table)
    command = [sys.executable, __file__, "--peak-only", "--threads", str(options.threads)]
    command += ["--small"] if options.small else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    sizes = json.loads(done.stdout.splitlines()[-1])
    print(
        "\nresident memory, MB: imported {:.0f}, dictionary made {:.0f}, "
        "refined estimate with std {:.0f}".format(*sizes)
    )
    if options.out is not None:
        result = {
            "machine": platform.processor() or platform.machine(),
            "threads": options.threads,
            "torch": torch.__version__,
            "device": options.device,
            "tables": tables,
            "resident_mb": sizes,
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
