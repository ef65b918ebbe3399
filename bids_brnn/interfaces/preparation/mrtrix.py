"""Commands of MRtrix3, which are optional: found on PATH, run on files without orientation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, UsageError
from bids_brnn.imaging.grids import load, save
from bids_brnn.system.processes import run_tool

_LONGEST = 24 * 3600  # s


def find_tool(command: str, option: str) -> str:
    """Path of a command of MRtrix3.

    Raises
    ------
    UsageError
        If it is not installed; names the option that asked for it.
    """
    path = shutil.which(command)
    if path is None:
        raise UsageError(
            f"{option} needs {command} of MRtrix3, which is not on PATH; install MRtrix3 "
            f"(Debian: apt install mrtrix3), or leave {option} out."
        )
    return path


def run_on_array(
    program: str, values: NDArray[Any], folder: Path, *options: str, num_threads: int = 1
) -> NDArray[Any]:
    """Output image of ``program [options] in out`` for an image ``(X, Y, Z, N)``.

    The affine is left out, so that MRtrix3 has nothing to reorient: array axes stay what they are.

    Raises
    ------
    DataError
        If the command fails; with its last line.
    """
    before, after = folder / "before.nii", folder / "after.nii"
    save(before, values, np.eye(4))
    # MRtrix3 counts threads beside the main one.
    threads = str(num_threads if num_threads > 1 else 0)
    command = [program, str(before), str(after), *options, "-nthreads", threads]
    done = run_tool([*command, "-quiet", "-force"], seconds=_LONGEST)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DataError(f"{Path(program).name} failed: {lines[-1].strip().rstrip('.')}.")
    result = np.array(load(after).dataobj).reshape(values.shape)
    before.unlink()
    after.unlink()
    return result
