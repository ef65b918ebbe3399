"""One run at a time for a participant of an output folder, whatever the work folders are."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_brnn.errors import TemporaryError
from bids_brnn.system.locks import remove_lock, take_lock

_LOG = logging.getLogger("bids_brnn.run")


@contextmanager
def output_locked(
    output_dir: Path, participants: Iterable[str], sessions: Sequence[str] = ()
) -> Iterator[None]:
    """Keep other runs off the outputs of some participants.

    A lock belongs to its process and ends with it, however it ends; its file is removed with it,
    and one that a killed run left is used again. Runs of different sessions of a participant do
    not exclude each other, but a run of all of them excludes both.

    Parameters
    ----------
    output_dir
        Root of the derivative; the locks lie in its folder ``logs``.
    participants, sessions
        Labels of what is worked on; no session: all.

    Raises
    ------
    TemporaryError
        If another run works on one of them.
    OutputError
        If something else lies in the place of a lock.
    """
    folder = output_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for participant in participants:
            name = f"sub-{participant}"
            for whole, part in [(True, name), *((False, f"{name}_ses-{ses}") for ses in sessions)]:
                shared = whole and bool(sessions)
                if not stack.enter_context(_lock(folder / f".{part}.lock", shared=shared)):
                    raise TemporaryError(
                        f"Another run works on {part} for {output_dir}; wait for it, or end it."
                    )
        yield


@contextmanager
def _lock(path: Path, *, shared: bool) -> Iterator[bool]:
    """Hold a lock for a while; whether it was free."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        handle = take_lock(path, kind)
    except OSError as error:
        # Some network disks cannot lock. A run without a lock is as safe as its user is careful.
        _LOG.warning("%s cannot be locked (%s): see that no two runs work on it", path, error)
        yield True
        return
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        remove_lock(handle, path)
