"""The bookkeeping of large studies, without maps: time and memory by number of participants.

    python benchmarks/scale.py DIR                                 40,000 participants at most
    python benchmarks/scale.py DIR --participants 500 1000 2000    others

Makes, in DIR, a data set of empty folders, a task log and a region table for each participant, and
measures: counting and judging them (``brnn cohort``), taking and releasing their locks, and the
group level. Each step runs in a process of its own, whose CPU time and largest memory are printed;
the size of the group page follows. Linear means that the time per participant does not grow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bids_brnn.app.cohort import read_cohort
from bids_brnn.app.locks import output_locked
from bids_brnn.cli.run import main as bids_brnn

_COLUMNS = (
    "index\tname\tparam\tunits\tn_voxels\tn_valid\tvolume_mm3\tmean\tstd\tmedian\tp05\tp25\tp75\tp95"
    "\tmean_crb_std\tiqr\tshare_flagged\tregion_source"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--participants", type=int, nargs="+", default=[2500, 10000, 40000])
    parser.add_argument("--regions", type=int, default=2, help="of a table, two parameters each")
    options = parser.parse_args()
    print("participants\tstep\tseconds\tCPU seconds\tCPU ms per participant\tlargest memory (MB)")
    for number in options.participants:
        place = (options.folder / str(number)).absolute()
        shutil.rmtree(place, ignore_errors=True)
        make(place, number, options.regions)
        data, out, logs = place / "ds", place / "out", place / "out" / "logs" / "slurm"
        steps: dict[str, Callable[[], int | None]] = {
            "count and judge": lambda d=data, o=out, x=logs: read_cohort(d, x, o).exit_code,
            "locks": lambda o=out, n=number: locks(o, n),
            "group level": lambda d=data, o=out, w=place: bids_brnn(
                [str(d), str(o), "group", "-w", str(w / "work")]
            ),
        }
        for name, step in steps.items():
            seconds, used, memory = measured(step)
            row = [f"{seconds:.1f}", f"{used:.1f}", f"{1e3 * used / number:.2f}", f"{memory:.0f}"]
            print("\t".join([str(number), name, *row]), flush=True)
        size = (out / "group.html").stat().st_size
        print(f"{number}\tgroup.html\t{size / 1e6:.1f} MB", flush=True)
    return 0


def make(place: Path, number: int, regions: int = 2) -> None:
    """A study as it looks after its array: two parameters, one estimator."""
    logs = place / "out" / "logs" / "slurm"
    logs.mkdir(parents=True)
    (place / "ds").mkdir()
    (place / "ds" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    rows = [
        f"{region}\tr{region}\t{name}\t1/s\t100\t100\t800\t1.5\t0.1\t1.5\t1.3\t1.4\t1.6\t1.7"
        "\t0.1\t0.2\t0\tlabels"
        for region in range(1, regions + 1)
        for name in ("R1f", "R2f")
    ]
    table = "\n".join([_COLUMNS, *rows]) + "\n"
    for index in range(number):
        label = f"{index:06d}"
        (place / "ds" / f"sub-{label}").mkdir()
        anat = place / "out" / f"sub-{label}" / "anat"
        anat.mkdir(parents=True)
        name = f"sub-{label}_acq-x_seg-aseg_desc-nlls_scalarstats.tsv"
        (anat / name).write_text(table)
        said = f"participant={label} time=2026-01-01T00:00:00Z"
        (logs / f"1_{index}.out").write_text(
            f"bids_brnn-task start {said} job=1_{index} restart=0 memory=8000\n"
            f"bids_brnn-task end {said} code=0\n"
        )


def locks(out: Path, number: int) -> None:
    """Take and release the lock of each participant, as the tasks of an array do."""
    for index in range(number):
        with output_locked(out, [f"{index:06d}"]):
            pass


def measured(step: Callable[[], int | None]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and largest memory (MB) of a step in a process of its own."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        with Path(os.devnull).open("w") as silent:
            os.dup2(silent.fileno(), 2)
        os._exit(step() or 0)
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"a step ended with status {status}")
    seconds = time.perf_counter() - began
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
