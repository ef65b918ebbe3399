"""Mutation fuzzing: ``python tests/fuzz/run.py --inputs 1000000 --minutes 10 --keep FOLDER``.

Every input must be read, or refused with an error of :mod:`bids_brnn.errors` whose message is
short and printable; within 5 s of processor time (a busy machine is no fault); and without more
memory than a limit, which is measured for each input and holds for what is asked for as well.
Prints a table; the exit code is the number of targets that failed. Failures are kept as files,
one for each place in the code.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

# The program beside these tests, whichever is installed.
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from base import Target  # noqa: E402
from targets import make_targets  # noqa: E402

from bids_brnn.errors import BidsBrnnError  # noqa: E402

HANG = 5.0  # s of processor time
WAIT = 60.0  # s of waiting, as for a pipe
LOST = 600.0  # s after which a call that no signal reaches ends this program
MEMORY = 1.5 * 2**30  # bytes on top of what the libraries take
SWIFT = "/dev/shm"  # a folder in memory, where files are written 20 times as fast
_TELL = 60.0  # s between two lines that say how far it is
LONGEST_MESSAGE = 20_000


class HangError(BaseException):
    """An input took longer than :data:`HANG` or :data:`WAIT`."""


@dataclass
class Record:
    """What the inputs of a target came to."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """Seconds of processor time, as :attr:`seconds`."""
    most: float = 0.0
    """Bytes of memory taken for one input."""
    faults: Counter[str] = field(default_factory=Counter)


class Alarm:
    """Ends an input after :data:`HANG` or :data:`WAIT`; what others take is not counted."""

    def __init__(self) -> None:
        self._idle = 0.0
        signal.signal(signal.SIGPROF, self._end)
        signal.signal(signal.SIGALRM, self._end_if_it_waits)

    def start(self) -> None:
        self._idle = _idle()
        signal.setitimer(signal.ITIMER_PROF, HANG)
        signal.setitimer(signal.ITIMER_REAL, WAIT)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _end(self, *_: object) -> None:
        raise HangError

    def _end_if_it_waits(self, *_: object) -> None:
        left = WAIT - (_idle() - self._idle)
        if left < WAIT / 10:
            raise HangError
        signal.setitimer(signal.ITIMER_REAL, left)


def _idle() -> float:
    """Seconds until now in which this thread neither ran nor wanted a processor."""
    ran, wanted, _ = map(int, Path("/proc/self/schedstat").read_text().split())
    return time.monotonic() - 1e-9 * (ran + wanted)


def limit_memory() -> None:
    """Let this process take :data:`MEMORY` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = int(pages * resource.getpagesize() + MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def highest(*, afresh: bool = False) -> int:
    """Most bytes of memory that this process has had, since it was asked ``afresh``."""
    if afresh:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)
        os.write(file, b"5")
        os.close(file)
    # ru_maxrss cannot be asked afresh, and begins with what the parent had.
    status = Path("/proc/self/status").read_bytes()
    return 1024 * int(status.partition(b"VmHWM:")[2].split(None, 1)[0])


def feed(target: Target, content: bytes, record: Record, clock: Alarm) -> str:
    """What is wrong with how an input is dealt with, and where; empty if nothing is."""
    before, began = highest(afresh=True), time.process_time()
    try:
        fault, refused = _outcome(target, content, clock)
    except HangError:  # in the very moment of its end
        fault, refused = "hang: at the end", False
    took, seconds = highest() - before, time.process_time() - began
    if not fault and took > MEMORY:
        fault = f"memory: {took / 2**20:.0f} MiB"
    record.inputs += 1
    record.refused += refused
    record.seconds += seconds
    record.slowest = max(record.slowest, seconds)
    record.most = max(record.most, took)
    if fault:
        record.faults[fault] += 1
    return fault


def _outcome(target: Target, content: bytes, clock: Alarm) -> tuple[str, bool]:
    """The fault, and whether the input was refused."""
    target.path.write_bytes(content)
    clock.start()
    try:
        target.read(target.path)
    except BidsBrnnError as error:
        return _fault_of_refusal(error), True
    except HangError:
        return f"hang: {_where(sys.exc_info()[2])}", False
    except (Exception, SystemExit) as error:  # the point of it all
        return f"{type(error).__name__}: {str(error)[:200]!r} {_where(error.__traceback__)}", False
    finally:
        clock.stop()
    return "", False


def _fault_of_refusal(error: BidsBrnnError) -> str:
    text = str(error)
    if len(text) > LONGEST_MESSAGE:
        return f"a message of {len(text)} characters: {text[:200]!r}"
    if not text.replace("\n", " ").isprintable():
        return f"an unprintable message: {text[:500]!r}"
    cause: BaseException | None = error
    while cause is not None:
        # What the system refused, not what a reader calls too much or Python's parser too deep.
        if isinstance(cause, MemoryError) and (not cause.args or "allocate" in str(cause)):
            return f"memory: asked for, refused, and called {text[:200]!r} {_where(cause)}"
        cause = cause.__cause__ or cause.__context__
    return ""


def _where(trace: object) -> str:
    if isinstance(trace, BaseException):
        trace = trace.__traceback__
    frames = [item for item in traceback.extract_tb(trace) if "/bids_brnn/" in item.filename]
    return " < ".join(f"{Path(item.filename).name}:{item.lineno}" for item in frames[:-4:-1])


def drawn(rng: random.Random, targets: list[Target], inputs: int, each: int) -> Iterator[Target]:
    """Targets in turn until each had its share, then by their weights."""
    first = min(inputs, each * len(targets))
    yield from islice(cycle(targets), first)
    weights = [target.weight for target in targets]
    for _ in range(inputs - first):
        yield rng.choices(targets, weights)[0]


def fuzz(
    targets: list[Target], inputs: int, each: int, seed: int, seconds: float, keep: Path | None
) -> dict[str, Record]:
    """Feed mutants; what came of it, by target."""
    rng, clock = random.Random(seed), Alarm()
    records = {target.name: Record() for target in targets}
    started, told = time.monotonic(), 0.0
    for number, target in enumerate(drawn(rng, targets, inputs, each)):
        now = time.monotonic()
        if now - started > seconds:
            break
        if now - told > _TELL:
            told = now
            faulthandler.dump_traceback_later(LOST, exit=True)
            found = sum(record.faults.total() for record in records.values())
            sys.stderr.write(f"{number} inputs, {found} faults\n")
        content = rng.choice(target.mutators)(rng, rng.choice(target.seeds))
        record = records[target.name]
        fault = feed(target, content, record, clock)
        if fault and keep is not None and record.faults[fault] == 1:
            name = f"{target.name.replace(' ', '_')}-{len(record.faults)}"
            (keep / name).write_bytes(content)
            (keep / f"{name}.txt").write_text(fault)
    faulthandler.cancel_dump_traceback_later()
    return records


def show(records: dict[str, Record]) -> None:
    print("| target | inputs | read | refused | ms, mean | ms, most | MiB, most | faults |")
    print("|---|---|---|---|---|---|---|---|")
    for name, one in sorted(records.items()):
        mean = 1e3 * one.seconds / max(one.inputs, 1)
        read = one.inputs - one.refused - one.faults.total()
        print(
            f"| {name} | {one.inputs} | {read} | {one.refused} | {mean:.2f} "
            f"| {1e3 * one.slowest:.0f} | {one.most / 2**20:.0f} | {one.faults.total()} |"
        )
    for name, one in records.items():
        for fault, count in one.faults.most_common(20):
            print(f"{name}: {count} x {fault}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--each", type=int, default=0, help="at least so many for each target")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of targets")
    parser.add_argument("--without", help="part of the names of targets that are left out")
    parser.add_argument("--keep", type=Path, help="folder for inputs that failed")
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)  # arithmetic with numbers that are none
    logging.disable(logging.CRITICAL)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    if os.access(SWIFT, os.W_OK):
        tempfile.tempdir = SWIFT
    with tempfile.TemporaryDirectory() as folder:
        targets = [
            item
            for item in make_targets(Path(folder))
            if options.only in item.name and not (options.without and options.without in item.name)
        ]
        for target in targets:  # the seeds themselves are fine, and load what is loaded late
            for content in target.seeds:
                target.path.write_bytes(content)
                target.read(target.path)
        limit_memory()
        began = time.monotonic()
        records = fuzz(
            targets, options.inputs, options.each, options.seed, 60 * options.minutes, options.keep
        )
    show(records)
    total = sum(record.inputs for record in records.values())
    print(f"total {total} inputs in {time.monotonic() - began:.0f} s, seed {options.seed}")
    return min(sum(bool(record.faults) for record in records.values()), 100)


if __name__ == "__main__":
    sys.exit(main())
