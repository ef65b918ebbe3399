"""Ending from outside: soon, without half-written files, whatever the program is doing.

A thread waits for signals and for the end of the supervisor. It ends the process by itself: an
exception in the main thread would come at a moment that no library is prepared for.
"""

from __future__ import annotations

import os
import select
import signal

from bids_brnn.system.processes import (
    die_with_parent,
    heeded,
    in_background,
    leave,
    leave_main_thread_alone,
    signal_descriptor,
)

KEPT = "finished steps are kept in the work folder"
_WORDS = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}


def ended_by(number: int) -> str:
    r"""What to say when a signal ended the run.

    >>> ended_by(signal.SIGINT)
    'bids_brnn: interrupted; finished steps are kept in the work folder\n'
    """
    known = signal.Signals(number)
    return f"bids_brnn: {_WORDS.get(known, f'ended by {known.name}')}; {KEPT}\n"


def end_when_asked(life: int | None) -> None:
    """From now on, let signals and the end of the supervisor end this process.

    The exit code is 128 and the number of the signal.

    Parameters
    ----------
    life
        Descriptor that reads an end of file when the supervisor is gone; None: there is none.
    """
    numbers = heeded()
    signals = signal_descriptor()
    leave_main_thread_alone(numbers)
    in_background(lambda: _watch(signals, life, numbers))
    if life is not None:
        die_with_parent()  # also when a library keeps Python, and so that thread, from running


def _watch(signals: int, life: int | None, numbers: tuple[signal.Signals, ...]) -> None:
    watched = [signals] if life is None else [signals, life]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if life in ready:
            leave(128 + signal.SIGKILL)
        for number in os.read(signals, 64):
            if number in numbers:
                leave(128 + number, ended_by(number))
