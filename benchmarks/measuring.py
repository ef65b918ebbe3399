"""Time, memory, bytes and busy threads of the steps of a run, as Linux tells them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

_EVERY = 0.05  # s between two looks at the threads
_SMOOTHED = 5  # looks; a thread that is seen in one of these only is not work for a core
_TICKS = os.sysconf("SC_CLK_TCK")
_COLUMNS = (
    ("wall s", 8), ("CPU s", 8), ("idle", 8), ("alone", 7), ("peak MB", 9), ("read", 8),
    ("written", 8),
)  # fmt: skip
_SHOWN = 0.5  # s; shorter steps are added up


@contextmanager
def step(steps: list[dict[str, Any]], name: str) -> Iterator[None]:
    """Wall and CPU seconds, peak memory and bytes of what is done meanwhile."""
    before, began, cpu = moved(), time.perf_counter(), cpu_seconds()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    try:
        yield
    finally:
        read, written = (now - then for now, then in zip(moved(), before, strict=True))
        ended = time.perf_counter()
        steps.append(
            {"name": name, "wall": ended - began, "cpu": cpu_seconds() - cpu,
             "peak_mb": peak_mb(), "read_mb": read, "written_mb": written,
             "began": began, "ended": ended}
        )  # fmt: skip


def cpu_seconds() -> float:
    """Of this process and the children that it has waited for."""
    return sum(os.times()[:4])


def peak_mb() -> float:
    """Largest resident memory of this process since it was last begun anew."""
    return _field("/proc/self/status", "VmHWM:") / 1024


def moved() -> tuple[float, float]:
    """MB read and written by system calls so far."""
    return tuple(_field("/proc/self/io", name) / 1e6 for name in ("rchar:", "wchar:"))


def _field(file: str, name: str) -> float:
    lines = Path(file).read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


Look = tuple[float, int, float]
"""When, threads that run or could, CPU seconds of all so far."""


@contextmanager
def watched(pid: int) -> Iterator[list[Look]]:
    """Looks at the threads of a process and its children, every few hundredths of a second.

    A thread that waits for a processor counts as busy: other programs change the times, but not
    how many cores the process could use.
    """
    looks: list[Look] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY):
            busy, ticks = 0, 0
            for child in family(pid):
                with suppress(OSError):
                    for task in Path(f"/proc/{child}/task").iterdir():
                        state, used = _thread(task)
                        busy += state in "RD"
                        ticks += used
            looks.append((time.perf_counter(), busy, ticks / _TICKS))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield looks
    finally:
        over.set()
        watcher.join()


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def _thread(task: Path) -> tuple[str, int]:
    """State and processor ticks of a thread; proc(5)."""
    try:
        words = (task / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "X", 0
    fields = words.rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def longest_alone(looks: Sequence[Look], began: float, ended: float) -> float:
    """CPU seconds of the longest stretch in which but one thread was busy."""
    inside = [look for look in looks if began <= look[0] <= ended]
    longest = start = 0.0
    alone = False
    for k in range(len(inside) - _SMOOTHED + 1):
        window = inside[k : k + _SMOOTHED]
        single = sum(busy for _, busy, _ in window) <= 1.3 * _SMOOTHED
        if single and not alone:
            start = window[0][2]
        if single:
            longest = max(longest, window[-1][2] - start)
        alone = single
    return longest


def show(result: dict[str, Any]) -> None:
    """One table: a row per step that takes long, the others together."""
    print(
        f"\n{result['kind']}, {result['voxels']} voxels, {result['level']}, "
        f"{result['threads']} threads, {result['device']}: {result['wall']:.1f} s, "
        f"{result['cpu']:.1f} CPU s, {result['peak_mb']:.0f} MB, input {result['input_mb']:.0f} "
        f"MB, output {result['output_mb']:.1f} MB"
    )
    heads = "".join(f"{word:>{width}}" for word, width in _COLUMNS)
    print(f"  {'step':44}{heads}")
    *inner, _ = result["steps"]
    shown = [item for item in inner if item["wall"] >= _SHOWN]
    rest = {
        key: sum(item[key] for item in inner if item["wall"] < _SHOWN)
        for key in ("wall", "cpu", "read_mb", "written_mb")
    }
    used = {key: sum(item[key] for item in inner) for key in ("wall", "cpu")}
    outside = {key: result[key] - used[key] for key in used}
    outside["alone"] = result["alone_between"]
    for item in [*shown, {"name": "other steps", **rest}, {"name": "between steps", **outside}]:
        item["idle"] = result["threads"] * item["wall"] - item["cpu"]
        row = "".join(
            f"{item[key]:{width}}" if key in item else " " * int(width.partition(".")[0])
            for key, width in (
                ("wall", "8.1f"), ("cpu", "8.1f"), ("idle", "8.1f"), ("alone", "7.1f"),
                ("peak_mb", "9.0f"), ("read_mb", "8.0f"), ("written_mb", "8.0f"),
            )
        )  # fmt: skip
        print(f"  {item['name'][-44:]:44}{row}")
    estimates = [item for item in inner if item["name"].startswith("estimation_")]
    beyond = {key: result[key] - sum(item[key] for item in estimates) for key in used}
    print(f"  beyond estimation: {beyond['wall']:.1f} s, {beyond['cpu']:.1f} CPU s")
    sys.stdout.flush()


def growth(results: list[dict[str, Any]]) -> None:
    """CPU seconds and memory per voxel between the sizes of each series of runs."""
    by: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for item in results:
        by.setdefault((item["kind"], item["level"], item["threads"]), []).append(item)
    for key, runs in by.items():
        runs.sort(key=lambda item: item["voxels"])
        for less, more in pairwise(runs):
            extra = more["voxels"] - less["voxels"]
            print(
                f"{' '.join(map(str, key))}, {less['voxels']} to {more['voxels']} voxels: "
                f"{1e6 * (more['cpu'] - less['cpu']) / extra:.1f} CPU us and "
                f"{1e3 * (more['peak_mb'] - less['peak_mb']) / extra:.3f} kB per voxel"
            )
