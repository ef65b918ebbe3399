"""A whole brain through the App: time, memory and bytes of every step, by number of voxels.

    python benchmarks/whole_brain.py DIR                              1.5 million voxels, networks
    python benchmarks/whole_brain.py DIR --voxels 10000 100000 1000000    growth
    python benchmarks/whole_brain.py DIR --level references --reference-voxels auto
    python benchmarks/whole_brain.py DIR --threads 1 2 8
    python benchmarks/whole_brain.py DIR --device cuda
    python benchmarks/whole_brain.py DIR --data DATA                  a data set of yours, twice
    python benchmarks/whole_brain.py --small                          only that it works

The data, kept in DIR: voxels of the phantom with their noise, over and over, in an ellipsoid of
as many voxels as asked for, which fills a sixth of the grid (240 x 240 x 160 for 1.5 million).
qmt: 15 complex coefficients; mrf: 10, with a B1 map; spgr: 12 magnitudes, with maps of R1, B1 and
B0.
Gzip as BIDS data usually are. Mask and labels are given, there is no T1w image.

CPU seconds are those of all threads and processes, idle the core seconds that a step left over of
its threads, alone the longest stretch of CPU seconds in which one thread had work and the others
none (which other programs do not change); memory is the peak of resident pages, those of
mapped files included; MB are what was read and written by system calls (mapped files are not read
so). Where other programs use the machine only the CPU seconds mean something.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from measuring import growth, longest_alone, show, step, watched

ROOT = Path(__file__).parent
FULL = 1_500_000
GRID = (240, 240, 160)
KINDS = {"qmt": "hsfp", "mrf": "fisp", "spgr": "spgr"}
_PHANTOM = (60, 72, 6)
_FOUND = ("fmriprep", "relaxometry")  # derivatives that are used where they are there
_HERE = "--run-here"


def main() -> int:
    """Make data, run, print tables, write results."""
    if sys.argv[1:2] == [_HERE]:
        from bids_brnn.system.processes import finish

        finish(run_here(Path(sys.argv[2]), sys.argv[3:]))  # as the command ends
    options = parse()
    with tempfile.TemporaryDirectory(prefix="whole_brain_") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        results = []
        if options.data is not None:
            for threads in options.threads:
                results += twice(folder, threads, options)
            options.kinds = []
        for kind in options.kinds:
            for n in options.voxels:
                dataset = made(folder, kind, n)
                for threads in options.threads:
                    results.append(measured(folder, dataset, kind, n, threads, options))
                    show(results[-1])
        growth(results)
        if options.out is not None:
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return max(item["exit_code"] for item in results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="kept; else temporary")
    parser.add_argument("--data", type=Path, help="a data set to process, and again when finished")
    parser.add_argument("--small", action="store_true", help="2000 voxels of MRF")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--voxels", type=int, nargs="+", default=[FULL])
    parser.add_argument("--level", choices=("maps", "network", "references"), default="network")
    parser.add_argument("--reference-voxels", default="auto", metavar="N")
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="JSON of the results")
    options = parser.parse_args()
    if options.small:
        options.kinds, options.voxels, options.threads = ["mrf"], [2000], [1]
    return options


# Data


def made(folder: Path, kind: str, n: int) -> Path:
    """The data set of ``n`` voxels of a kind; made unless it is there."""
    dataset = folder / f"{kind}-{n}"
    if (dataset / "mask.nii.gz").exists():
        return dataset
    phantom = folder / f"{kind}-phantom"
    if not (phantom / "README.md").exists():
        make_phantom(phantom, kind)
    shutil.rmtree(dataset, ignore_errors=True)
    enlarge(phantom, dataset, kind, n)
    return dataset


def make_phantom(folder: Path, kind: str) -> None:
    """A small phantom of one series; fingerprints as coefficients of the network's basis."""
    from bids_brnn.phantom import make_dataset
    from bids_brnn.phantom.series import mrf_series
    from bids_brnn.sequences.designs import jiang_like_train
    from bids_brnn.signals.subspace import CompressedSignal, Subspace
    from bids_brnn.tensor_files import read_tensors
    from bids_brnn.zoo.places import SHIPPED

    if kind != "mrf":
        make_dataset(folder, n_participants=1, kinds=(kind,), shape=_PHANTOM)
        return
    stored = read_tensors(SHIPPED / "mrf-jiang.safetensors")["basis"]
    series = mrf_series(jiang_like_train())
    compressed = CompressedSignal(series.model, Subspace(stored[..., 0].clone()))
    about = {**series.metadata, "SignalRepresentation": "subspace"}
    series = dataclasses.replace(series, model=compressed, parts=("real", "imag"), metadata=about)
    make_dataset(folder, n_participants=1, shape=_PHANTOM, series=[series])


def enlarge(phantom: Path, dataset: Path, kind: str, n: int) -> None:
    """The voxels of a phantom over and over in an ellipsoid of ``n`` voxels."""
    truth = phantom / "derivatives/truth/sub-01/anat"
    labels = nibabel.load(truth / f"sub-01_acq-{KINDS[kind]}_desc-truth_dseg.nii.gz")
    inside = np.asarray(labels.dataobj) > 0
    grid, mask = ellipsoid(n)
    source = np.resize(np.flatnonzero(inside), n)
    affine = np.diag([240 / grid[0], 240 / grid[1], 160 / grid[2], 1.0])
    left_out = ("derivatives/truth", "derivatives/fmriprep", "sub-01/anat/sub-01_T1w")
    for path in sorted(phantom.rglob("*")):
        name = path.relative_to(phantom).as_posix()
        if path.is_dir() or name.startswith(left_out):
            continue
        target = dataset / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".nii.gz"):
            shutil.copyfile(path, target)
            continue
        values = np.asarray(nibabel.load(path).dataobj)
        values = values.reshape(inside.size, *values.shape[3:])
        write(target, filled(mask, values[source]), affine)
    write(dataset / "mask.nii.gz", mask.astype(np.uint8), affine)
    regions = np.asarray(labels.dataobj).ravel()[source].astype(np.int16)
    write(dataset / "tissues.nii.gz", filled(mask, regions), affine)


def ellipsoid(n: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """Grid with the proportions of :data:`GRID`, and its ``n`` voxels nearest to the centre."""
    scale = (n / FULL) ** (1 / 3)
    grid = tuple(max(2, round(scale * edge)) for edge in GRID)
    axes = [np.linspace(-1, 1, edge, dtype=np.float32) ** 2 for edge in grid]
    radius = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    mask = np.zeros(radius.size, dtype=bool)
    mask[np.argpartition(radius.ravel(), n - 1)[:n]] = True
    return grid, mask.reshape(grid)


def filled(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """An image that holds ``values`` inside the mask."""
    image = np.zeros((*mask.shape, *values.shape[1:]), dtype=values.dtype, order="F")
    image[mask] = values
    return image


def write(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """An image in scanner coordinates, compressed quickly."""
    image = nibabel.Nifti1Image(values, affine, dtype=values.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    with nibabel.openers.Opener(path, "wb", compresslevel=1) as file:
        image.to_stream(file)


# Runs


def measured(
    folder: Path, dataset: Path, kind: str, n: int, threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One run of the App on data that were made."""
    place = folder / "runs" / f"{kind}-{n}-{options.level}-{threads}"
    shutil.rmtree(place, ignore_errors=True)
    words = [
        "--mask", dataset / "mask.nii.gz", "--atlas", f"tissues={dataset / 'tissues.nii.gz'}",
        "--reference", "auto" if options.level == "references" else "none",
        "--reference-voxels", options.reference_voxels,
        *(["--sloppy"] if options.small else []),
    ]  # fmt: skip
    about = {"kind": kind, "voxels": n}
    result = one_run(place, dataset, words, threads, options) | about
    shutil.rmtree(place / "work", ignore_errors=True)
    return result


def twice(folder: Path, threads: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A data set of the user, and the same again when there is nothing left to do."""
    place = folder / "runs" / f"{options.data.name}-{threads}"
    shutil.rmtree(place, ignore_errors=True)
    about = {"kind": options.data.name, "voxels": 0}
    found = []
    for again in ("", ", again"):
        result = one_run(place, options.data.absolute(), [], threads, options) | about
        found.append(result | {"kind": f"{options.data.name}{again}"})
        show(found[-1])
    return found


def one_run(
    place: Path, dataset: Path, words: list[Any], threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One run of the App in a process of its own."""
    place.mkdir(parents=True, exist_ok=True)
    folders = sorted(path for path in dataset.glob("derivatives/*") if path.name in _FOUND)
    words = [
        dataset, place / "out", "participant", "-w", place / "work", "--skip-bids-validation",
        "--nprocs", threads, "--omp-nthreads", threads, "--device", options.device,
        "--level", "minimal" if options.level == "maps" else "full",
        *(word for path in folders for word in ("-d", f"{path.name}={path}")), *words,
    ]  # fmt: skip
    command = [sys.executable, __file__, _HERE, place / "steps.json", *words]
    began = time.perf_counter()
    with (place / "log").open("w") as log:
        child = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        with watched(child.pid) as looks:
            _, status, used = os.wait4(child.pid, 0)
    steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    for item in steps:
        item["alone"] = longest_alone(looks, item["began"], item["ended"])
    gaps = [(first["ended"], later["began"]) for first, later in pairwise(steps[:-1])]
    between = max((longest_alone(looks, *gap) for gap in gaps), default=0.0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.stderr.write((place / "log").read_text(encoding="utf-8"))
    # Measuring a step begins the peak of the process anew.
    peak = max([used.ru_maxrss / 1024, *(item["peak_mb"] for item in steps)])
    return {
        "level": options.level, "threads": threads,
        "device": options.device, "exit_code": code, "wall": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": peak, "steps": steps, "alone_between": between,
        "output_mb": size(place / "out"), "input_mb": size(dataset),
    }  # fmt: skip


def size(folder: Path) -> float:
    """MB of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def run_here(file: Path, words: list[str]) -> int:
    """The App in this process, each step measured; the exit code."""
    steps: list[dict[str, Any]] = []
    with step(steps, "imports"):
        import bids_brnn.app.participant  # noqa: F401
        from bids_brnn.cli.run import main as bids_brnn_main
        from bids_brnn.interfaces.base import Node
        from bids_brnn.workflows import participant as _  # noqa: F401

    whole = Node._run_interface

    def timed(self: Any, runtime: Any) -> Any:
        with step(steps, f"{Path(runtime.cwd).parent.name}.{Path(runtime.cwd).name}"):
            return whole(self, runtime)

    Node._run_interface = timed
    with step(steps, "all of the run"), pages_measured(steps):
        code = bids_brnn_main(words)
    file.write_text(json.dumps(steps), encoding="utf-8")
    return code


@contextmanager
def pages_measured(steps: list[dict[str, Any]]) -> Iterator[None]:
    """Have the making of pages measured too."""
    from bids_brnn.reports import participant as pages

    make = pages.write_reports

    def timed(*args: Any, **named: Any) -> Any:
        with step(steps, "page"):
            return make(*args, **named)

    pages.write_reports = timed
    try:
        yield
    finally:
        pages.write_reports = make


if __name__ == "__main__":
    sys.exit(main())
