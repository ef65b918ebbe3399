"""Run a workflow: Nipype settings, and a pool of workers that survives a killed one.

Nothing here loads torch: with several workers the parent must not (threads do not survive a fork,
and CUDA does not either), so workers come from a fork server.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pipe, forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nipype import config as nipype_config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

from bids_brnn.system.processes import (
    ENDING,
    at_end,
    die_with_parent,
    in_background,
    leave,
    leave_main_thread_alone,
    not_at_end,
    signal_descriptor,
)

_GRACE = 2.0  # s between asking the workers to end and ending them

KILLED = (
    "The process of this step was killed by the system. Out of memory? Give the run more memory "
    "(--mem-mb and the limit of the job) or fewer CPUs (--nprocs); finished steps are kept."
)
"""What a crash file says when a worker vanished."""


def execution_settings(*, stop_on_first_crash: bool) -> dict[str, dict[str, Any]]:
    """Nipype settings of a run, the reasons in ``docs/nipype.md``."""
    return {
        "execution": {
            "crashfile_format": "txt",
            "hash_method": "content",  # time stamps miss changes and see false ones
            "poll_sleep_duration": 0.1,
            "check_version": False,
            "create_report": False,
            "remove_unnecessary_outputs": False,  # the manifest of the outputs stays
            "stop_on_first_crash": stop_on_first_crash,
        },
        "monitoring": {"enabled": False},
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Make the settings those of this process, whatever ``nipype.cfg`` says."""
    nipype_config.update_config({"execution": settings["execution"]})
    nipype_config.disable_resource_monitor()


class PatientPlugin(MultiProcPlugin):
    """Nipype's pool of processes, except that a killed worker is a failed task.

    Nipype's own plugin waits for ever for the result of a worker that the system killed.

    Parameters
    ----------
    n_procs
        CPUs that steps may use together.
    memory_gb
        Memory that steps may ask for together.
    prepare
        What each worker calls first, to set up its log for instance; it is pickled.
    others
        Further arguments of Nipype's ``MultiProc``.
    """

    pool: ProcessPoolExecutor

    def __init__(
        self,
        *,
        n_procs: int,
        memory_gb: float,
        prepare: Callable[[], object] | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            {
                "raise_insufficient": False,
                **(others or {}),
                "n_procs": n_procs,
                "memory_gb": memory_gb,
                "mp_context": "forkserver",
            }
        )
        self.pool.shutdown(wait=False)
        # Workers hold the other end: it closes with this process, however that ends.
        reader, self._life = Pipe(duplex=False)
        self._worker = (self._cwd, prepare, reader)
        self._closing = False
        self.pool = self._new_pool()
        at_end(self.end_workers)

    def _new_pool(self) -> ProcessPoolExecutor:
        context = get_context("forkserver")
        context.set_forkserver_preload(["bids_brnn.workflows.fork_server"])
        return ProcessPoolExecutor(
            max_workers=self.processors,
            initializer=_start_worker,
            initargs=self._worker,
            mp_context=context,
        )

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        task = self._taskid
        try:
            future = self.pool.submit(run_node, node, updatehash, task)
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._new_pool()
            future = self.pool.submit(run_node, node, updatehash, task)
        self._task_obj[task] = future
        future.add_done_callback(lambda done: self._collect(task, done))
        return int(task)

    def _collect(self, task: int, future: Future[dict[str, Any]]) -> None:
        if self._closing:  # its worker was ended, which is no failure of the step
            return
        try:
            result = future.result()
        except BrokenProcessPool:
            result = {"result": None, "traceback": [KILLED], "taskid": task}
        except (Exception, CancelledError) as error:
            # Whatever went wrong on the way, the scheduler must hear of it.
            result = {"result": None, "traceback": [f"{type(error).__name__}: {error}"]}
            result["taskid"] = task
        self._taskresult[task] = result

    def end_workers(self) -> None:
        """End all workers: ask, wait until one deadline for all of them, insist."""
        self._closing = True
        self._life.close()
        left = list(dict(getattr(self.pool, "_processes", None) or {}).values())
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and any(one.is_alive() for one in left):
            time.sleep(0.02)
        for one in left:
            if one.is_alive():
                one.kill()

    def close(self) -> None:
        """End all workers, whatever they are doing, and the pool."""
        not_at_end(self.end_workers)
        self.end_workers()
        self.pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(folder: str, prepare: Callable[[], object] | None, life: Connection) -> None:
    """Prepare a worker: its folder, what else is asked for, and its end when the run ends."""
    die_with_parent()  # that is the fork server, which ends with the run but for this copy:
    server: Any = forkserver._forkserver
    if getattr(server, "_forkserver_alive_fd", None) is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    signals = signal_descriptor()
    leave_main_thread_alone(ENDING)
    in_background(lambda: _watch(signals, life))
    os.chdir(folder)
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    if prepare is not None:
        prepare()


def _watch(signals: int, life: Connection) -> None:
    """End the worker when the run does, or when its pool asks it to by SIGTERM."""
    patience: float | None = None
    watched: list[Any] = [signals, life]
    while True:
        ready, _, _ = select.select(watched, [], [], patience)
        if life in ready or not ready:
            leave(128 + signal.SIGTERM)
        # Whoever sends it to all processes of a job sends it to the run as well, whose answer
        # comes first: a worker that is gone too early looks like one that was killed.
        if signal.SIGTERM in os.read(signals, 64):
            patience = _GRACE / 2


def gpu_visible() -> bool:
    """Whether the system shows an NVIDIA device; asks no library, so that torch stays out."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1") and any(
        Path("/dev").glob("nvidia[0-9]*")
    )
