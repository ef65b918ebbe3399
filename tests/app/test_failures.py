"""A failed step is a sentence where the user can cure it, and a crash file otherwise."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from bids_brnn.app.failures import sort_out
from bids_brnn.errors import DataError

STOPPED = RuntimeError("the workflow stopped")


@pytest.fixture
def crash(tmp_path):
    def write(text, name="a"):
        path = tmp_path / f"crash-{name}.txt"
        # Nipype puts the traceback of a step, indented, under one of its own.
        path.write_text(f"Node: wf.x\nTraceback:\n\tTraceback:\n\t  File x\n\t{text}\n\n")
        return path

    return write


def test_an_error_that_left_word_is_said_once(crash, tmp_path):
    said = DataError("The mask is empty.\nGive another.")
    path = crash("bids_brnn.errors.DataError: The mask is empty.")
    failures = sort_out(STOPPED, [said], [path], (tmp_path,))
    assert (failures.errors, failures.crash_files) == ((said,), ())


def test_an_error_that_could_leave_no_word_is_read_from_its_crash_file(crash, tmp_path):
    failures = sort_out(
        STOPPED, [], [crash("bids_brnn.errors.OutputError: Cannot write x.")], (tmp_path,)
    )
    (error,) = failures.errors
    assert (str(error), error.exit_code, failures.crash_files) == ("Cannot write x.", 73, ())


def test_anything_else_is_a_crash(crash, tmp_path):
    path = crash("ZeroDivisionError: division by zero")
    assert sort_out(STOPPED, [], [path], (tmp_path,)).crash_files == (path,)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("written", [True, False], ids=["crash file", "no room for one"])
def test_a_full_disk_is_named(crash, tmp_path, monkeypatch, number, written):
    problem = OSError(number, os.strerror(number))
    crashes = [crash(f"OSError: {problem}")] if written else []
    places = (tmp_path / "work", tmp_path / "out")

    class Usage:
        def __init__(self, free):
            self.free = free

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0 if path == places[0] else 1e9))
    failures = sort_out(problem, [], crashes, places)
    (error,) = failures.errors
    assert str(error).startswith(f"No space left in {places[0]}. Free space")
    assert (error.exit_code, failures.crash_files) == (73, ())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e9))  # a quota does not show
    (error,) = sort_out(problem, [], crashes, places).errors
    assert "(disk or quota)" in str(error)


def test_a_workflow_that_fails_without_any_trace_is_never_a_success(tmp_path):
    with pytest.raises(RuntimeError, match="before its first step"):
        sort_out(STOPPED, [], [], (tmp_path,))
