"""A pool of workers in which a killed one is a failed task, and settings that hold."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from nipype import config as nipype_config
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.workflows.execution import (
    KILLED,
    PatientPlugin,
    apply_settings,
    execution_settings,
)


def kill_self(value):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return value


def write_file(value):
    import os
    from pathlib import Path

    Path("done.txt").write_text(f"{value} {os.getpid()}")
    return value


def sleep_long(value):
    import os
    import time
    from pathlib import Path

    Path("pid.txt").write_text(str(os.getpid()))
    time.sleep(600)
    return value


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """A hanging pool must not hang the suite; settings and loggers are put back."""
    before = {key: nipype_config.get("execution", key) for key in execution_settings(
        stop_on_first_crash=False
    )["execution"]}  # fmt: skip

    def alarm(*_):
        raise TimeoutError("the workflow hangs")

    old = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(90)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)
    for key, value in before.items():
        if value is not None:
            nipype_config.set("execution", key, str(value))


def workflow(tmp_path, **functions):
    made = Workflow(name="wf", base_dir=str(tmp_path))
    settings = execution_settings(stop_on_first_crash=False)
    settings["execution"]["crashdump_dir"] = str(tmp_path / "crash")
    for name, function in functions.items():
        node = Node(Function(["value"], ["value"], function=function), name=name)
        node.inputs.value = name
        node.config = settings
        made.add_nodes([node])
    apply_settings(settings)
    return made


def run(made, n_procs):
    plugin = PatientPlugin(n_procs=n_procs, memory_gb=4)
    try:
        made.run(plugin=plugin)
    finally:
        plugin.close()


def test_a_killed_worker_is_a_failed_task_and_the_others_finish(tmp_path):
    made = workflow(tmp_path, victim=kill_self, a_first=write_file, z_last=write_file)
    with pytest.raises(RuntimeError):
        run(made, 1)
    crash = list((tmp_path / "crash").glob("crash-*victim*.txt"))
    assert len(crash) == 1
    assert KILLED in crash[0].read_text()
    assert (tmp_path / "wf" / "a_first" / "done.txt").exists()
    # After the kill the pool is a new one.
    assert (tmp_path / "wf" / "z_last" / "done.txt").exists()


def test_steps_run_in_other_processes(tmp_path):
    run(workflow(tmp_path, one=write_file, two=write_file), 2)
    pids = [
        int((tmp_path / "wf" / name / "done.txt").read_text().split()[1])
        for name in ("one", "two")
    ]
    assert os.getpid() not in pids


def test_workers_are_prepared_before_their_first_step(tmp_path):
    said = tmp_path / "said.txt"
    made = workflow(tmp_path, one=write_file)
    plugin = PatientPlugin(n_procs=1, memory_gb=4, prepare=partial(said.write_text, "ready"))
    try:
        made.run(plugin=plugin)
    finally:
        plugin.close()
    assert said.read_text() == "ready"


def test_close_ends_workers_in_the_middle_of_a_step(tmp_path):
    made = workflow(tmp_path, sleeper=sleep_long)
    plugin = PatientPlugin(n_procs=1, memory_gb=4)
    pid_file = tmp_path / "wf" / "sleeper" / "pid.txt"

    class Stop(BaseException):
        pass

    def stop(*_):
        raise Stop

    # As the command does on SIGTERM, once the worker is at work.
    before = signal.signal(signal.SIGUSR1, stop)
    import threading

    def poke():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=poke, daemon=True)
    thread.start()
    try:
        with pytest.raises(Stop):
            made.run(plugin=plugin)
    finally:
        signal.signal(signal.SIGUSR1, before)
        plugin.close()
    assert not is_alive(int(pid_file.read_text()))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that its fork server has yet to reap does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_settings_reach_nipype(monkeypatch):
    nipype_config.set("execution", "hash_method", "timestamp")
    apply_settings(execution_settings(stop_on_first_crash=True))
    assert nipype_config.get("execution", "hash_method") == "content"
    assert nipype_config.get("execution", "crashfile_format") == "txt"
    assert nipype_config.get("execution", "stop_on_first_crash") == "True"
    assert nipype_config.resource_monitor is False
