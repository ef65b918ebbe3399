"""CPU time and memory of a run and its workers over time: ``--resource-monitor``.

Nipype's own monitor sees no CPU time of child processes, and loses everything where a step fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bids_brnn.files import write_text
from bids_brnn.system.processes import at_end, not_at_end

INTERVAL = 0.5
"""Seconds between two samples."""
COLUMNS = ("time_s", "cpu_percent", "cpu_time_s", "rss_mb", "n_processes")
_MEGABYTE = 1e6
_LOG = logging.getLogger("bids_brnn.run")


@dataclass(frozen=True)
class Sample:
    """The process and everything below it at one time."""

    time: float
    """Since the start, s."""
    cpu_time: float
    """User and system time of all processes so far, also of those that ended, s."""
    rss: float
    """Resident memory, MB; pages that processes share count in each of them."""
    n_processes: int


@contextmanager
def monitored(table: Path | None, interval: float = INTERVAL) -> Iterator[None]:
    """Sample while the block runs, and write ``table`` at its end, however it ends.

    Parameters
    ----------
    table
        TSV with the columns :data:`COLUMNS`; None: nothing is done.
    interval
        Seconds between two samples.

    Raises
    ------
    OutputError
        If the table cannot be written.
    """
    if table is None:
        yield
        return
    tree, over = _Tree(), threading.Event()
    samples = [tree.sample()]

    def work() -> None:
        while not over.wait(interval):
            samples.append(tree.sample())

    def write() -> None:
        write_text(table, text_of(list(samples)))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    at_end(write)
    try:
        yield
    finally:
        not_at_end(write)
        over.set()
        thread.join()
        samples.append(tree.sample())
        write()
        _LOG.info(
            "%.0f s of CPU time in %.0f s, at most %.0f MB: %s",
            samples[-1].cpu_time, samples[-1].time, max(item.rss for item in samples), table,
        )  # fmt: skip


class _Tree:
    """The running process and its descendants."""

    def __init__(self) -> None:
        self._self = psutil.Process()
        self._started = time.monotonic()
        self._cpu: dict[psutil.Process, float] = {}
        # What was spent before the block is none of its business.
        self._before = 0.0
        self._before = self.sample().cpu_time

    def sample(self) -> Sample:
        processes = [self._self]
        with suppress(psutil.Error):
            processes += self._self.children(recursive=True)
        rss, alive = 0.0, 0
        for process in processes:
            with suppress(psutil.Error):  # it may end meanwhile
                spent = process.cpu_times()
                rss += process.memory_info().rss / _MEGABYTE
                self._cpu[process] = spent.user + spent.system
                alive += 1
        total = sum(self._cpu.values()) - self._before
        return Sample(time.monotonic() - self._started, total, rss, alive)


def text_of(samples: list[Sample]) -> str:
    """The samples as a table; ``cpu_percent`` is that of the interval before each."""
    lines = ["\t".join(COLUMNS)]
    for index, now in enumerate(samples):
        before = samples[max(index - 1, 0)]
        seconds = now.time - before.time
        percent = 100 * (now.cpu_time - before.cpu_time) / seconds if seconds > 0 else 0.0
        lines.append(
            f"{now.time:.2f}\t{percent:.0f}\t{now.cpu_time:.2f}\t{now.rss:.1f}\t{now.n_processes}"
        )
    return "\n".join(lines) + "\n"
