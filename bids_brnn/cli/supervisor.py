"""The command: a process that works, and one that waits beside it and answers for it.

The second one takes the signals, knows why the first one ended (also when the system killed it),
and leaves no process behind. In a container it does what process 1 has to do. It is forked before
any library is loaded, so that it costs a few milliseconds and megabytes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from bids_brnn.errors import EXIT_NODE_CRASHED
from bids_brnn.system.processes import adopt_orphans, finish, heeded

GRACE = 5.0
"""Seconds between a signal and the hard end; Slurm waits 30 before it kills."""
_SETTLE = 1.0  # s that helpers of a run have to notice its end by themselves
_LAST = 4.0  # s until we give up on processes that cannot be killed
_MEMORY = (
    "the process was killed by the system. Out of memory? Give the run more memory (the limit of "
    "the job) or fewer CPUs (--nprocs)"
)
_CRASHED = {
    "SIGILL": "the machine code of a library does not suit this processor",
    "SIGBUS": "a file could not be reached any more, or a disk is full",
}


def supervised(work: Callable[[], int]) -> int:
    """Run ``work`` in a process of its own; its exit code, or what its end means."""
    from bids_brnn.app.ending import end_when_asked

    if not hasattr(signal, "sigtimedwait"):  # not Linux: signals are heard, deaths are not told
        end_when_asked(None)
        return work()
    numbers = heeded()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*numbers, signal.SIGCHLD})
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writer)
        end_when_asked(reader)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        finish(work())
    os.close(reader)
    return _supervise(worker, numbers)


def _supervise(worker: int, numbers: tuple[signal.Signals, ...]) -> int:
    adopt_orphans()
    asked: int | None = None
    deadline = float("inf")
    while (status := _reap(worker)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            os.kill(worker, signal.SIGKILL)
            deadline = float("inf")
            continue
        found = signal.sigtimedwait({*numbers, signal.SIGCHLD}, min(left, 3600.0))
        if found is not None and found.si_signo != signal.SIGCHLD:
            os.kill(worker, found.si_signo)  # not reaped yet: the number is still its own
            if asked is None:
                asked, deadline = found.si_signo, time.monotonic() + GRACE
    _end_the_rest(0.0 if os.WIFSIGNALED(status) else _SETTLE)
    return _code(status, asked)


def _reap(worker: int) -> int | None:
    """Bury the dead; the status of the worker if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            if dead[0] == worker:
                found = dead[1]
    return found


def _end_the_rest(patience: float) -> None:
    """See that no descendant is left; orphans are children of this process.

    The helper of :mod:`multiprocessing` that removes semaphores does so once all others are gone,
    and ends by itself; it is given longer.
    """
    start = time.monotonic()
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        passed = time.monotonic() - start
        if passed > _LAST:
            return
        if passed >= patience:
            import psutil

            with suppress(psutil.Error):
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.Error):
                        if passed >= patience + _SETTLE or not _tidies(process.cmdline()):
                            process.kill()
        time.sleep(0.02)


def _tidies(words: list[str]) -> bool:
    return any("multiprocessing.resource_tracker" in word for word in words)


def _code(status: int, asked: int | None) -> int:
    from bids_brnn.app.ending import KEPT, ended_by

    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    if asked is not None:
        sys.stderr.write(ended_by(asked))
        return 128 + asked
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        reason = _MEMORY
    else:
        more = f": {_CRASHED[name]}" if name in _CRASHED else ""
        reason = (
            f"the process ended in compiled code ({name}{more}); please report it with the log"
        )
    sys.stderr.write(f"bids_brnn: {reason}; {KEPT}.\n")
    return EXIT_NODE_CRASHED
