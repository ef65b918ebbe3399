"""Ending on SIGTERM: soon, without half-written files, whatever the program is doing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 8.0
"""Seconds between the signal and the hard end; Slurm waits 30 before it kills."""


class Terminated(BaseException):
    """The process was asked to end; not an Exception, so that nothing on the way swallows it."""


@contextmanager
def ended_by_signal(grace: float = GRACE) -> Iterator[None]:
    """Turn SIGTERM into :class:`Terminated`.

    Python handles signals between two steps of the main thread. That thread may be inside a long
    numerical call, so another one waits beside it and ends the process after ``grace`` seconds.
    Workers end with their parent, and files are complete or absent at any time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; the program around us decides
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The C level writes the number of a signal here at once, whatever Python is doing.
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    left = threading.Event()
    watch = threading.Thread(target=_watch, args=(reader, left, grace), daemon=True)
    watch.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before)
        os.close(writer)
        watch.join()
        os.close(reader)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # A second signal must not interrupt the cleaning up after the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _watch(reader: int, left: threading.Event, grace: float) -> None:
    while numbers := os.read(reader, 64):
        if signal.SIGTERM in numbers and not left.wait(grace):
            os.write(2, b"bids_brnn: terminated in the middle of a calculation\n")
            os._exit(128 + signal.SIGTERM)
