"""The command ends as it is told, and knows how its working process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT = 60.0  # s; against hanging only
HEAD = (
    "import ctypes, os, signal, subprocess, sys, time\n"
    "from pathlib import Path\n"
    "from bids_brnn.cli import supervisor\n"
    "supervisor.GRACE = 1.0\n"
    "def ready(*pids):\n"
    "    print(os.getpid(), *pids, flush=True)\n"
)
TAIL = "\nsys.exit(supervisor.supervised(work))\n"


@pytest.fixture
def start():
    """Run a function ``work`` under the supervisor: the program, and the line it printed."""
    made = []

    def run(body, *, waits=True, wrapper=()):
        code = HEAD + "def work():\n" + "".join(f"    {line}\n" for line in body) + TAIL
        program = subprocess.Popen(
            [*wrapper, sys.executable, "-c", code],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        made.append(program)
        return program, [int(pid) for pid in program.stdout.readline().split()] if waits else []

    yield run
    for program in made:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(pids, within=10.0):
    end = time.monotonic() + within
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


SLEEP = ["ready()", "time.sleep(600)"]


@pytest.mark.parametrize("end", ["return 66", "sys.exit(66)", "raise SystemExit(66)"])
def test_the_exit_code_is_that_of_the_work(start, end):
    program, _ = start([end], waits=False)
    assert program.wait(LIMIT) == 66
    assert program.stderr.read() == ""


def test_what_was_printed_and_is_to_be_done_at_the_end_is_not_lost(start):
    program, _ = start(
        ["import atexit", "atexit.register(print, 'at the end', end='')",
         "print('first', end=' ')", "return 0"], waits=False,
    )  # fmt: skip
    out, err = program.communicate(timeout=LIMIT)
    assert (program.returncode, out, err) == (0, "first at the end", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize(("code", "told"), [(0, 120), (65, 65)])
def test_output_that_cannot_be_written_is_no_success(start, code, told):
    program, _ = start(
        ["sys.stdout = open('/dev/full', 'w')", "print('lost')", f"return {code}"], waits=False
    )
    assert program.wait(LIMIT) == told


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [("TERM", 143, "terminated"), ("INT", 130, "interrupted"), ("HUP", 129, "ended by SIGHUP"),
     ("USR1", 138, "ended by SIGUSR1"), ("XCPU", 152, "ended by SIGXCPU")],
)  # fmt: skip
@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "whole group"])
def test_a_signal_ends_the_run_with_its_code(start, number, code, word, group):
    program, pids = start(SLEEP)
    (os.killpg if group else os.kill)(program.pid, getattr(signal, f"SIG{number}"))
    assert program.wait(LIMIT) == code
    said = f"bids_brnn: {word}; finished steps are kept in the work folder\n"
    assert program.stderr.read() == said
    assert all_gone(pids)


def test_a_signal_to_the_working_process_alone_counts_too(start):
    program, (worker,) = start(SLEEP)
    os.kill(worker, signal.SIGTERM)
    assert program.wait(LIMIT) == 143


def test_nothing_on_the_way_can_swallow_a_signal(start):
    program, _ = start(
        ["while True:", "    try:", "        ready()", "        time.sleep(600)",
         "    except BaseException:", "        pass"]
    )  # fmt: skip
    program.terminate()
    assert program.wait(LIMIT) == 143


def test_what_is_being_written_is_removed_and_what_was_there_stays(start, tmp_path):
    (tmp_path / "map.nii").write_text("old")
    program, _ = start(
        ["from bids_brnn.files import replacing",
         f"with replacing(Path({str(tmp_path / 'map.nii')!r})) as temporary:",
         "    temporary.write_text('half')", "    ready()", "    time.sleep(600)"]
    )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2
    program.terminate()
    assert program.wait(LIMIT) == 143
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_work_that_never_lets_python_run_is_killed_after_the_grace(start):
    program, pids = start(
        ["libc = ctypes.PyDLL(None)",  # keeps the lock of the interpreter
         "mutex = ctypes.create_string_buffer(128)", "libc.pthread_mutex_init(mutex, None)",
         "libc.pthread_mutex_lock(mutex)", "ready()", "libc.pthread_mutex_lock(mutex)"]
    )  # fmt: skip
    time.sleep(0.5)  # it is in the call by then; if not, the end is as for any other
    program.terminate()
    assert program.wait(LIMIT) == 143
    assert "terminated" in program.stderr.read()
    assert all_gone(pids)


def test_stopped_work_ends_too(start):
    program, pids = start(SLEEP)
    os.kill(pids[0], signal.SIGSTOP)
    program.terminate()
    assert program.wait(LIMIT) == 143
    assert all_gone(pids)


def test_killed_work_is_told_from_crashed_work(start):
    program, (worker,) = start(SLEEP)
    os.kill(worker, signal.SIGKILL)
    assert program.wait(LIMIT) == 1
    assert "Out of memory?" in program.stderr.read()
    program, _ = start(["ready()", "os.kill(os.getpid(), signal.SIGSEGV)"])
    assert program.wait(LIMIT) == 1
    assert "ended in compiled code (SIGSEGV)" in program.stderr.read()


@pytest.mark.parametrize("end", ["return 0", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_orphan_is_left(start, end):
    orphan = "subprocess.Popen(['sh', '-c', 'sleep 600 & echo $!'], stdout=subprocess.PIPE)"
    program, pids = start([f"ready(int({orphan}.stdout.readline()))", end])
    program.wait(LIMIT)
    assert all_gone(pids, within=1.0)


def test_no_semaphore_is_left(start, tmp_path):
    name = tmp_path / "name"
    program, _ = start(
        ["from multiprocessing import get_context", "lock = get_context('forkserver').Lock()",
         f"Path({str(name)!r}).write_text(lock._semlock.name)",
         "os.kill(os.getpid(), signal.SIGKILL)"], waits=False,
    )  # fmt: skip
    assert program.wait(LIMIT) == 1
    assert not Path("/dev/shm", f"sem.{name.read_text().strip('/')}").exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_work_ends_with_a_killed_supervisor(start, stopped):
    program, pids = start(SLEEP)
    if stopped:
        os.kill(pids[0], signal.SIGSTOP)
    program.kill()
    assert all_gone(pids)


def test_a_signal_that_the_shell_ignores_stays_ignored(start):
    program, pids = start(["ready()", "time.sleep(1)", "return 0"], wrapper=["nohup"])
    os.killpg(program.pid, signal.SIGHUP)
    assert program.wait(LIMIT) == 0
    assert all_gone(pids)


def test_the_program_is_process_1_of_a_container(start):
    if os.geteuid() != 0:
        pytest.skip("a PID name space of its own needs root")
    program, _ = start(SLEEP, wrapper=["unshare", "--fork", "--pid", "--kill-child"])
    inner = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.read_text().rpartition(")")[2].split()[1] == str(program.pid)
    )
    os.kill(inner, signal.SIGTERM)  # from outside, as a container engine does
    assert program.wait(LIMIT) == 143


def test_programs_that_are_started_hear_signals_as_usual(start):
    body = "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    mask = "assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])"
    child = f"import signal; {body}; {mask}"
    program, _ = start([f"return subprocess.run([sys.executable, '-c', {child!r}]).returncode"],
                       waits=False)  # fmt: skip
    assert program.wait(LIMIT) == 0, program.stderr.read()
