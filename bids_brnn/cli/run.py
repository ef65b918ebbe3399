"""The BIDS App: parse, then one analysis level, then an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bids_brnn.cli.outcome import exit_code
from bids_brnn.errors import DEBUGGER_VARIABLE, NothingSelectedError
from bids_brnn.files import WRITER_VARIABLE
from bids_brnn.system.memory import MEMORY_VARIABLE
from bids_brnn.system.threads import let_threads_sleep

if TYPE_CHECKING:
    from bids_brnn.config.run_config import RunConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the BIDS App; the exit code (see ``docs/usage.md``).

    Parameters
    ----------
    arguments
        None: those of the command line, in a process of its own that
        :mod:`bids_brnn.cli.supervisor` answers for. Others are followed in this process, whose
        signals are those of the program around this function.
    """
    if arguments is None:
        from bids_brnn.cli.supervisor import supervised

        return supervised(lambda: main(sys.argv[1:]))
    from bids_brnn.cli.parser import parse

    return exit_code("bids_brnn", lambda: run(parse(arguments)))


def run(config: RunConfig) -> int:
    """Run one analysis level.

    Raises
    ------
    BidsBrnnError
        For everything the user can cure.
    """
    prepare_environment(config)
    if config.analysis_level == "group":
        return run_group(config)
    if config.analysis_level == "train":
        from bids_brnn.app.participant import run_training

        return run_training(config)
    from bids_brnn.app.participant import run_participants

    return run_participants(config)


def run_group(config: RunConfig) -> int:
    """Run the group level; the exit code.

    Raises
    ------
    BidsBrnnError
        If there is nothing to gather, or the output folder cannot be written.
    """
    from bids_brnn.app.folders import check_output, inside
    from bids_brnn.app.group import gather
    from bids_brnn.bids.output.records import record_file, settled

    if not config.output_dir.is_dir():
        raise NothingSelectedError(
            f"There is no output folder {config.output_dir}; run the participant level first."
        )
    check_output(config.output_dir)
    record = record_file(config.output_dir / "logs", "group")
    with ExitStack() as stack:
        # Where no temporary folder can be written, libraries use the current one.
        stack.enter_context(inside(config.output_dir))
        stack.enter_context(settled(config.output_dir, record))
        return gather(config)


def prepare_environment(config: RunConfig) -> None:
    """Set switches that libraries read when they are imported, and make paths absolute.

    Raises
    ------
    ReadError
        If the environment names a folder of networks that does not exist.
    """
    try:
        Path.home()
    except RuntimeError:  # a user that the system does not know; libraries look for one
        os.environ["HOME"] = str(config.work_dir.absolute())
    os.environ[WRITER_VARIABLE] = uuid4().hex[:6]
    os.environ[MEMORY_VARIABLE] = str(config.mem_mb)
    for name in ("NO_ET", "NIPYPE_NO_ET"):  # Nipype's telemetry
        os.environ[name] = "1"
    let_threads_sleep()
    # Numerical libraries otherwise take every CPU of the machine, in every process.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(config.omp_nthreads)
    # NumPy's products are small ones inside the signal kernel's own threads: theirs would only
    # wait for each other (three times the processor time in a whole-slice NLLS fit).
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if config.analysis_level != "group" and config.weights != "none":
        from bids_brnn.zoo.places import fix_folders

        fix_folders()
    os.environ.pop(DEBUGGER_VARIABLE, None)
    if config.debugs("pdb"):
        os.environ[DEBUGGER_VARIABLE] = "pdb"
