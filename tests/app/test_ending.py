"""SIGTERM ends the program, also in the middle of a call that never returns to Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bids_brnn.app.ending import Terminated, ended_by_signal


def test_the_signal_becomes_an_exception_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), ended_by_signal():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) is before


def test_nothing_on_the_way_swallows_it():
    with pytest.raises(Terminated), ended_by_signal():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except Exception:
            pytest.fail("swallowed")


def test_a_run_in_a_thread_leaves_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with ended_by_signal():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_calculation_that_does_not_return_is_ended():
    code = (
        "import ctypes\n"
        "from bids_brnn.app.ending import ended_by_signal\n"
        "libc = ctypes.CDLL(None)\n"
        "mutex = ctypes.create_string_buffer(128)\n"
        "libc.pthread_mutex_init(mutex, None)\n"
        "libc.pthread_mutex_lock(mutex)\n"
        "with ended_by_signal(0.5):\n"
        "    print('ready', flush=True)\n"
        "    libc.pthread_mutex_lock(mutex)\n"  # for ever: signals do not interrupt it
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "ready\n"
    time.sleep(1)  # it is in the call by then; if not, the exception ends it with another code
    program.terminate()
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 143
    assert "middle of a calculation" in errors
