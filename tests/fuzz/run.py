"""Mutation fuzzing: ``python tests/fuzz/run.py --inputs 1000000 --minutes 10 --keep FOLDER``.

Every input must be read, or refused with an error of :mod:`bids_brnn.errors` whose message is
short and printable; within 5 s of processor time (a busy machine is no fault); and without more
memory than a limit. Prints a table; the exit code is the number of targets that failed. Failures
are kept as files, one for each place in the code.
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

# The program beside these tests, whichever is installed.
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from base import Target  # noqa: E402
from targets import make_targets  # noqa: E402

from bids_brnn.errors import BidsBrnnError  # noqa: E402

HANG = 5.0  # s of processor time
WAIT = 60.0  # s of waiting, as for a pipe
MEMORY = 1.5 * 2**30  # bytes on top of what the libraries take
_TELL = 60.0  # s between two lines that say how far it is
LONGEST_MESSAGE = 20_000


class HangError(BaseException):
    """An input took longer than :data:`HANG` or :data:`WAIT`."""


def alarm(*_: object) -> None:
    raise HangError


def limit_memory() -> None:
    """Let this process take :data:`MEMORY` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = int(pages * resource.getpagesize() + MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fault_of(target: Target, content: bytes) -> str:
    """What is wrong with how an input is dealt with, and where; empty if nothing is."""
    try:
        return _fault_of(target, content)
    except HangError:  # in the very moment of its end
        return "hang: at the end"


def _fault_of(target: Target, content: bytes) -> str:
    target.path.write_bytes(content)
    signal.setitimer(signal.ITIMER_PROF, HANG)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        target.read(target.path)
    except BidsBrnnError as error:
        text = str(error)
        if len(text) > LONGEST_MESSAGE:
            return f"a message of {len(text)} characters: {text[:200]!r}"
        shown = text.replace("\n", " ")
        return "" if shown.isprintable() else f"an unprintable message: {shown[:500]!r}"
    except HangError:
        return f"hang: {_where(sys.exc_info()[2])}"
    except Exception as error:  # the point of it all
        return f"{type(error).__name__}: {str(error)[:200]!r} {_where(error.__traceback__)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def _where(trace: object) -> str:
    frames = [item for item in traceback.extract_tb(trace) if "/bids_brnn/" in item.filename]
    return " < ".join(f"{Path(item.filename).name}:{item.lineno}" for item in frames[:-4:-1])


def fuzz(
    targets: list[Target], inputs: int, seed: int, seconds: float, keep: Path | None
) -> tuple[Counter[str], dict[str, Counter[str]], float]:
    """Feed mutants; how many each target got, and its faults by place."""
    rng = random.Random(seed)
    fed: Counter[str] = Counter()
    faults: dict[str, Counter[str]] = {}
    started = told = time.monotonic()
    weights = [target.weight for target in targets]
    for _ in range(inputs):
        if time.monotonic() - started > seconds:
            break
        if time.monotonic() - told > _TELL:
            told = time.monotonic()
            found = sum(sum(known.values()) for known in faults.values())
            sys.stderr.write(f"{fed.total()} inputs, {found} faults\n")
        target = rng.choices(targets, weights)[0]
        content = rng.choice(target.mutators)(rng, rng.choice(target.seeds))
        fed[target.name] += 1
        fault = fault_of(target, content)
        if fault:
            known = faults.setdefault(target.name, Counter())
            known[fault] += 1
            if keep is not None and known[fault] == 1:
                name = f"{target.name.replace(' ', '_')}-{len(known)}"
                (keep / name).write_bytes(content)
                (keep / f"{name}.txt").write_text(fault)
    return fed, faults, time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of targets")
    parser.add_argument("--keep", type=Path, help="folder for inputs that failed")
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)  # arithmetic with numbers that are none
    logging.disable(logging.CRITICAL)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        targets = [item for item in make_targets(Path(folder)) if options.only in item.name]
        for target in targets:  # the seeds themselves are fine, and load what is loaded late
            for content in target.seeds:
                target.path.write_bytes(content)
                target.read(target.path)
        limit_memory()
        for number in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, alarm)
        fed, faults, seconds = fuzz(
            targets, options.inputs, options.seed, 60 * options.minutes, options.keep
        )
    for name, count in sorted(fed.items()):
        print(f"{name:30} {count:8} inputs {sum(faults.get(name, {}).values()):6} faults")
    print(f"total {fed.total()} inputs in {seconds:.0f} s, seed {options.seed}")
    for name, found in faults.items():
        for fault, count in found.most_common(20):
            print(f"{name}: {count} x {fault}")
    return min(len(faults), 100)


if __name__ == "__main__":
    sys.exit(main())
