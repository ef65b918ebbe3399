"""A study whose jobs are killed at random and resubmitted until done, compared with a clean one.

    python benchmarks/endurance.py DIR                     200 participants, an hour of one CPU
    python benchmarks/endurance.py DIR --participants 4    the same, small

Makes phantom data in DIR/ds, runs both levels into DIR/clean undisturbed, and into DIR/out with
faults: workers, parents and whole nodes are killed, jobs are told to end, and every job is
submitted again until it is done. Then it counts participants that were lost, files that are
there twice or are half-written, files that differ from those of the clean run, rows of the group
tables that are missing or double, and processes that outlived their job by more than ten
seconds. All of them have to be 0; else it ends with 1. The moment of a fault is counted in lines
that the job has written, so that a busy machine does not move it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import psutil

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train

LIMIT = 10.0
"""Seconds after which no process of an ended job may be left."""
FAULTS = {
    "worker killed": ("workers", signal.SIGKILL),
    "working process killed": ("leader", signal.SIGKILL),
    "parent killed": ("parent", signal.SIGKILL),
    "node lost": ("all", signal.SIGKILL),
    "told to end": ("parent", signal.SIGTERM),
    "all told to end": ("all", signal.SIGTERM),
    "notice before the limit": ("parent", signal.SIGUSR1),
    "workers stopped, then told to end": ("stopped", signal.SIGTERM),
}
_PLAN = 0.3
"""Of the lines of a job: those before its first step, which every submission writes again."""
_MOST_WAIT = 2.0  # s after a line until the fault comes
_SPARE = 3  # submissions beyond the faults of a job until it counts as lost


@dataclass
class Record:
    """What was done to the jobs, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    codes: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    submitted: int = 0
    left: int = 0
    lock: Lock = field(default_factory=Lock)


def main() -> int:
    options = parse()
    folder = options.folder
    dataset = make_dataset(
        folder / "ds",
        n_participants=options.participants,
        kinds=("mrf",),
        shape=(6, 8, 1),
        mrf_train=jiang_like_train(40),
    )
    labels = sorted(path.name[4:] for path in dataset.glob("sub-*"))
    jobs = [labels[first : first + options.each] for first in range(0, len(labels), options.each)]
    record = Record()

    def study(number: int) -> None:
        dice = random.Random(f"{options.seed} {number}")
        undisturbed(folder, jobs[number])
        endure(folder, jobs[number], deck(dice, options.faults), dice, record)

    with ThreadPoolExecutor(options.jobs) as pool:  # as an array of a scheduler
        list(pool.map(study, range(len(jobs))))
    for name in ("clean", "out"):
        subprocess.run(words(folder, name, "group"), check=True, stderr=subprocess.DEVNULL)
    return report(folder, labels, record)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--participants", type=int, default=200)
    parser.add_argument("--each", type=int, default=25, help="participants per job")
    parser.add_argument("--jobs", type=int, default=2, help="that run at the same time")
    parser.add_argument("--faults", type=int, default=6, help="per job; then it is left alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    return options


def words(folder: Path, name: str, level: str) -> list[str]:
    """The command for an output folder."""
    command = [sys.executable, "-m", "bids_brnn", folder / "ds", folder / name, level]
    return [str(word) for word in (*command, "-w", folder / f"work-{name}")]


def submit(folder: Path, name: str, job: list[str]) -> subprocess.Popen[bytes]:
    """One job, in a session of its own as a scheduler starts it."""
    further = ["--participant-label", *job, "--nprocs", "2", "--omp-nthreads", "1", "--sloppy"]
    with log_of(folder, name, job).open("ab") as log:
        return subprocess.Popen(
            [*words(folder, name, "participant"), *further, "--skip-bids-validation"],
            stderr=log, start_new_session=True,
        )  # fmt: skip


def deck(dice: random.Random, count: int) -> list[str]:
    """Faults of a job, each kind as often as any other in the long run.

    A job of which a worker was killed goes on to its end, so that this comes last.
    """
    kinds = list(FAULTS) * (1 + count // len(FAULTS))
    return sorted(dice.sample(kinds, count), key="worker killed".__eq__)


def tell(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def log_of(folder: Path, name: str, job: list[str]) -> Path:
    return folder / f"{name}-{job[0]}.log"


def lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def undisturbed(folder: Path, job: list[str]) -> None:
    if (code := submit(folder, "clean", job).wait()) != 0:
        sys.exit(f"the undisturbed run of {job} ended with {code}")
    tell(f"undisturbed: {job[0]} to {job[-1]}")


def endure(
    folder: Path, job: list[str], faults: list[str], dice: random.Random, record: Record
) -> None:
    """Submit a job until it is done, with a fault each time until it has met all of them."""
    usual, log = lines(log_of(folder, "clean", job)), log_of(folder, "out", job)
    for fault in [*faults, *["none"] * _SPARE]:
        program = submit(folder, "out", job)
        if fault != "none":
            # All faults together let no job come to its end; a quarter comes while it plans.
            part = _PLAN + (1 - _PLAN) * dice.random() / len(faults)
            wait_for(program, log, usual * dice.choice([_PLAN * dice.random(), *[part] * 3]))
            with suppress(subprocess.TimeoutExpired):
                program.wait(dice.uniform(0, _MOST_WAIT))
            while not (done := inject(program, fault)) and program.poll() is None:
                time.sleep(0.05)  # there is no worker yet
            fault = fault if done else "none"  # it came too late
        code = program.wait()
        left = outlived(program.pid)
        with record.lock:
            record.submitted += 1
            record.faults[fault] += 1
            record.codes[fault][code] += 1
            record.left += left
        tell(f"{job[0]} to {job[-1]}: {fault}, code {code}, {left} processes left")
        if code == 0:
            return
    sys.exit(f"{job} was not done after {len(faults) + _SPARE} submissions")


def wait_for(program: subprocess.Popen[bytes], log: Path, count: float) -> None:
    """Until the job has written so many lines, or has ended."""
    end = lines(log) + count
    while program.poll() is None and lines(log) < end:
        time.sleep(0.05)


def inject(program: subprocess.Popen[bytes], fault: str) -> bool:
    """Do it to the job; whether it was still there to have it done."""
    whom, number = FAULTS[fault]
    with suppress(psutil.Error, ProcessLookupError):
        if program.poll() is not None:
            return False
        if whom == "all":
            os.killpg(program.pid, number)
            return True
        parent = psutil.Process(program.pid)
        leaders = parent.children()
        workers = [one for lead in leaders for mid in lead.children() for one in mid.children()]
        if whom == "workers":
            for one in workers[:1]:
                one.send_signal(number)
            return bool(workers)
        if whom == "stopped":
            for one in workers:
                one.suspend()
        for one in leaders if whom == "leader" else [parent]:
            one.send_signal(number)
            return True
    return False


def outlived(session: int) -> int:
    """How many processes of an ended job are left after :data:`LIMIT`; they are ended."""
    end = time.monotonic() + LIMIT
    while (left := in_session(session)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def in_session(session: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with suppress(OSError):
            own = os.getsid(process.info["pid"]) == session
            if own and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.info["pid"])
    return found


def content(out: Path) -> dict[str, str]:
    """SHA-256 by name of every result; pages without the record of the run."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if path.is_file() and not {"log", "logs"} & {*name.parts}:
            data = path.read_bytes()
            if path.suffix == ".html":
                data = re.sub(rb"<pre\b.*?</pre>", b"", data, flags=re.S)
            data = data.replace(str(out).encode(), b"OUT")
            found[name.as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def half_written(out: Path) -> list[str]:
    """Temporary files, and files that do not read to their end."""
    bad = list(out.rglob(".tmp-*"))
    for path in out.rglob("*"):
        try:
            if path.name.endswith(".nii.gz"):
                gzip.decompress(path.read_bytes())
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.is_file() and path.stat().st_size == 0:
                bad.append(path)
        except (OSError, EOFError, ValueError):
            bad.append(path)
    return [str(path.relative_to(out)) for path in bad]


def uneven_rows(out: Path, labels: list[str]) -> list[str]:
    """Rows of the table of series of the group that are not there once for each participant."""
    found: Counter[str] = Counter()
    for path in out.glob("desc-series_quality.tsv"):
        head, *rows = (line.split("\t") for line in path.read_text().splitlines())
        found.update(row[head.index("participant_id")].removeprefix("sub-") for row in rows)
    return [label for label in labels if found[label] != 1]


def report(folder: Path, labels: list[str], record: Record) -> int:
    """Print what was injected and what came of it; 1 if anything is not as it should be."""
    clean, out = content(folder / "clean"), content(folder / "out")
    lost = [label for label in labels if not any(f"sub-{label}/" in name for name in out)]
    counts: Mapping[str, list[str] | int] = {
        "participants lost": lost,
        "files missing": sorted(clean.keys() - out.keys()),
        "files too many": sorted(out.keys() - clean.keys()),
        "rows of group tables missing or double": uneven_rows(folder / "out", labels),
        "files half-written": half_written(folder / "out"),
        "files that differ": sorted(n for n in clean.keys() & out.keys() if clean[n] != out[n]),
        "processes left": record.left,
    }
    print(f"{len(labels)} participants, {record.submitted} submissions\n")
    print("| injected | times | exit codes |\n|---|---|---|")
    for fault, times in sorted(record.faults.items()):
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(record.codes[fault].items()))
        print(f"| {fault} | {times} | {codes} |")
    print("\n| found | count |\n|---|---|")
    for what, items in counts.items():
        number = items if isinstance(items, int) else len(items)
        some = "" if isinstance(items, int) else " ".join(items[:5])
        print(f"| {what} | {number} | {some}" if some else f"| {what} | {number} |")
    return 1 if any(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
