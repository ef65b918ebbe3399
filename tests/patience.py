"""Wait for processes without a clock: a busy or stopped machine is no failure of theirs.

A limit in seconds of the clock fails where other programs have the processor. A process hangs
where neither it nor what it started has used any processor time while this one has looked often.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess

import psutil

LOOKS = 600
"""Looks without any work, a second or more from each to the next, that make a hang."""


class HangError(AssertionError):
    """Processes that do nothing and do not end."""


def codes_of(
    tasks: Sequence[subprocess.Popen[bytes] | BaseProcess], looks: int = LOOKS, pause: float = 1.0
) -> list[int]:
    """Exit codes of processes of this one, once all have ended; none of them outlives the call.

    Raises
    ------
    HangError
        If those that are left used no processor time in ``looks`` looks, ``pause`` s apart.
    """
    idle, before = 0, -1.0
    try:
        while left := [task.pid for task in tasks if _code(task) is None]:
            spent = sum(_spent(pid) for pid in left if pid is not None)
            idle, before = (idle + 1 if spent == before else 0), spent
            if idle >= looks:
                raise HangError(f"processes {left} have stood still for {looks} looks")
            _pause(tasks, pause)
        return [code for task in tasks if (code := _code(task)) is not None]
    finally:
        for task in tasks:
            if _code(task) is None:
                task.kill()


def _code(task: subprocess.Popen[bytes] | BaseProcess) -> int | None:
    return task.poll() if isinstance(task, subprocess.Popen) else task.exitcode


def _pause(tasks: Sequence[subprocess.Popen[bytes] | BaseProcess], pause: float) -> None:
    end = time.monotonic() + pause
    while time.monotonic() < end and any(_code(task) is None for task in tasks):
        time.sleep(0.02)


def _spent(pid: int) -> float:
    """Processor time of a process and all that it has started, s."""
    spent = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                spent += sum(one.cpu_times()[:4])  # with those of children that have ended
    return spent
