"""Processes that end together: signals, parents that are gone, children that must not stay."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Any, NoReturn

_PDEATHSIG, _SUBREAPER = 1, 36  # prctl(2)
_UNPRINTED = 120
"""Exit code of Python where the last of the output cannot be written."""
ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU")
    if hasattr(signal, name)
)
"""What asks a run to end: schedulers, Ctrl-C, a closed terminal, a notice before a time limit."""

_callbacks: list[Callable[[], object]] = []


def heeded() -> tuple[signal.Signals, ...]:
    """Signals of :data:`ENDING` that count: what ``nohup`` or a shell set to be ignored is not."""
    return tuple(number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN)


def leave_main_thread_alone(numbers: Iterable[signal.Signals]) -> None:
    """Make signals do nothing by themselves; whoever watches their descriptor decides.

    Not ``SIG_IGN``: programs that are started from here would inherit that.
    """
    for number in numbers:
        signal.signal(number, _nothing)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    # An exception here could be swallowed by any library on the way, and one that arises while
    # machine code is generated ends in a segmentation fault.
    pass


def signal_descriptor() -> int:
    """A file descriptor that gets the number of each signal at once, whatever Python is doing."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def die_with_parent() -> None:
    """Be killed by the system when the parent ends, even if stopped (Linux; else nothing)."""
    _control(_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends (Linux; else nothing)."""
    _control(_SUBREAPER, 1)


def _control(option: int, value: int) -> None:
    if (library := _library()) is not None:
        library.prctl(option, value, 0, 0, 0)


@cache
def _library() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None)


def run_tool(
    words: Sequence[str], *, seconds: float, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run another program to its end; it ends with this process, however that ends.

    Parameters are those of :func:`tool_beside`.

    Raises
    ------
    OSError
        If it cannot be started.
    subprocess.TimeoutExpired
        If it takes longer.
    """
    with tool_beside(words, seconds=seconds, variables=variables) as finished:
        return finished()


@contextmanager
def tool_beside(
    words: Sequence[str], *, seconds: float, variables: Mapping[str, str] | None = None
) -> Iterator[Callable[[], subprocess.CompletedProcess[str]]]:
    """Another program that runs meanwhile, and is killed where the block is left before its end.

    Parameters
    ----------
    words
        Program and arguments; no shell sees them.
    seconds
        After which it is killed, counted from where it is waited for.
    variables
        Of its environment, beside those of this process.

    Yields
    ------
    callable
        Waits for its end; raises ``subprocess.TimeoutExpired`` if that takes longer.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    _library()  # loaded before the fork: nothing may be loaded between that and the program
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(variables or {})},
        preexec_fn=die_with_parent,
    )

    def finished() -> subprocess.CompletedProcess[str]:
        output, problems = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(words, process.returncode, output, problems)

    with process:
        try:
            yield finished
        finally:
            process.kill()  # nothing where it has ended


def at_end(callback: Callable[[], object]) -> None:
    """Call ``callback`` before this process ends because it was asked to."""
    _callbacks.append(callback)


def not_at_end(callback: Callable[[], object]) -> None:
    """Take :func:`at_end` back."""
    with suppress(ValueError):
        _callbacks.remove(callback)


def leave(code: int, message: str = "") -> NoReturn:
    """End this process now, from any thread: children first, then half-written files.

    No exception, no destructors: the other threads may be anywhere, also in compiled code.
    """
    from bids_brnn.files import abandon

    try:
        for callback in list(_callbacks):
            with suppress(Exception):
                callback()
        abandon()
        if message:
            os.write(2, message.encode())
    finally:
        os._exit(code)


def finish(code: int) -> NoReturn:
    """End a program that has done its work, with what is to be done at its end.

    Its objects are not taken apart one by one: after PyTorch that takes a second of a core.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk, a closed pipe: what was printed is lost
            code = code or _UNPRINTED
        except (ValueError, AttributeError):  # closed, or none at all
            pass
    leave(code)


def in_background(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread that keeps no process alive."""
    threading.Thread(target=work, daemon=True, name="watch").start()
