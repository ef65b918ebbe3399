"""Run a workflow: Nipype settings, and a pool of workers that survives a killed one.

Nothing here loads torch: with several workers the parent must not (threads do not survive a fork,
and CUDA does not either), so workers come from a fork server.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

from nipype import config as nipype_config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

_PDEATHSIG = 1  # prctl(2)
_GRACE = 3.0  # s between asking a worker to end and ending it

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
        self._worker = (self._cwd, prepare)
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = get_context("forkserver")
        # Workers then start in milliseconds; torch is not among these imports.
        context.set_forkserver_preload(["bids_brnn.workflows.execution"])
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
        try:
            result = future.result()
        except BrokenProcessPool:
            result = {"result": None, "traceback": [KILLED], "taskid": task}
        except (Exception, CancelledError) as error:
            # Whatever went wrong on the way, the scheduler must hear of it.
            result = {"result": None, "traceback": [f"{type(error).__name__}: {error}"]}
            result["taskid"] = task
        self._taskresult[task] = result

    def close(self) -> None:
        """End all workers: ask, wait a little, insist."""
        processes = dict(getattr(self.pool, "_processes", None) or {})
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            if process.is_alive():
                process.terminate()
        for process in processes.values():
            process.join(_GRACE)
            if process.is_alive():
                process.kill()
                process.join(_GRACE)


def _start_worker(folder: str, prepare: Callable[[], object] | None) -> None:
    """Prepare a worker: its folder, what else is asked for, and its end when the parent ends."""
    os.chdir(folder)
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    if prepare is not None:
        prepare()


def _leave(number: int, _frame: FrameType | None) -> None:
    # An exception, so that files being written are removed on the way out.
    raise SystemExit(128 + number)


def gpu_visible() -> bool:
    """Whether the system shows an NVIDIA device; asks no library, so that torch stays out."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1") and any(
        Path("/dev").glob("nvidia[0-9]*")
    )
