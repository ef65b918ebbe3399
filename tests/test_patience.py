"""Processes are waited for as long as they do anything, and end with who waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.patience import HangError, codes_of


def start(code):
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def test_codes_are_those_of_all_and_a_process_that_stands_still_is_a_failure():
    assert codes_of([start("pass"), start("raise SystemExit(3)")]) == [0, 3]
    stopped = start("while True: pass")
    os.kill(stopped.pid, signal.SIGSTOP)
    with pytest.raises(HangError, match="have stood still for 3 looks"):
        codes_of([stopped], looks=3, pause=0.05)
    assert stopped.wait() == -signal.SIGKILL
