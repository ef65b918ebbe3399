"""The BIDS validator, run before anything else where it is installed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.errors import InvalidBidsError
from bids_brnn.system.processes import tool_beside

if TYPE_CHECKING:
    from bids_brnn.bids.input.acquisition import Discovery

PROGRAM = "bids-validator-deno"
_LOG = logging.getLogger("bids_brnn.run")
_CACHES = ("DENO_DIR", "XDG_CACHE_HOME", "HOME")
"""Where Deno, which runs the validator, looks for a place; it ends where there is none."""
_LONGEST = 600  # s; a data set too large for this is better validated once, not in every job


@contextmanager
def validation(bids_dir: Path) -> Iterator[Callable[[Discovery], None]]:
    """The validator at work while the series of a data set are looked for.

    Yields
    ------
    callable
        Stops on errors in files that are used, and counts the others. It raises
        :class:`~bids_brnn.errors.InvalidBidsError`, naming file and error.
    """
    program = find_program()
    if program is None:
        _LOG.info("%s is not installed; the data set is not validated", PROGRAM)
        yield lambda _discovery: None
        return
    with validator(program, bids_dir) as errors:
        yield lambda discovery: _judge(errors(), bids_dir, discovery)


def _judge(errors: list[dict[str, Any]], bids_dir: Path, discovery: Discovery) -> None:
    used = {
        path.relative_to(bids_dir).as_posix()
        for item in discovery.acquisitions
        for path in (*item.images, *item.tables.values(), *item.supplied.values())
        if path.is_relative_to(bids_dir)
    }
    for error in errors:
        location = str(error.get("location", "")).lstrip("/")
        if location in used:
            code = " ".join(str(error[key]) for key in ("code", "subCode") if error.get(key))
            raise InvalidBidsError(
                f"{location}: {code}, says the BIDS validator; correct it, or use "
                "--skip-bids-validation."
            )
    if errors:
        _LOG.warning(
            "the BIDS validator finds %d errors in files that are not used (first: %s in %s)",
            len(errors), errors[0].get("code"), errors[0].get("location", "the data set"),
        )  # fmt: skip


def find_program() -> str | None:
    """The validator beside this Python, or on the search path."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(PROGRAM, path=beside) or shutil.which(PROGRAM)


def run_validator(program: str, folder: Path) -> list[dict[str, Any]]:
    """Errors that the validator reports; none if it cannot run."""
    with validator(program, folder) as errors:
        return errors()


@contextmanager
def validator(program: str, folder: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """As :func:`run_validator`, which the caller waits for by the function that this yields."""
    # Nothing can be kept there, and nothing that others put there is read: it starts as it is.
    nowhere = {} if any(map(os.environ.get, _CACHES)) else {"DENO_DIR": f"{os.devnull}/deno"}
    words = [program, str(folder), "--json"]
    with ExitStack() as stack:
        try:
            finished = stack.enter_context(tool_beside(words, seconds=_LONGEST, variables=nowhere))
        except OSError as error:
            _warn(error)
            yield list
            return
        yield lambda: _errors(finished)


def _errors(
    finished: Callable[[], subprocess.CompletedProcess[str]],
) -> list[dict[str, Any]]:
    try:
        done = finished()
        if not done.stdout.strip():
            raise ValueError(" ".join(done.stderr.split())[-200:] or f"exit {done.returncode}")
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        _warn(error)
        return []
    return [issue for issue in issues if issue.get("severity") == "error"]


def _warn(error: Exception) -> None:
    _LOG.warning("the BIDS validator could not run (%s); go on without it", error)
