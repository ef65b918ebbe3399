"""Files to lock: nothing that is planted in their place is followed or waited for."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from bids_brnn.errors import OutputError
from bids_brnn.files import check_kind

_HELD = (errno.EAGAIN, errno.EACCES)  # of fcntl(2): either, by the kind of disk
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.ENXIO)


def open_lock(path: Path) -> int:
    """Descriptor of a file to lock, for reading and writing; it is made if it is not there.

    Raises
    ------
    OutputError
        If something else lies in its place.
    OSError
        If it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, 0o666)
        try:
            check_kind(os.fstat(handle))
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise OutputError(
            f"{path} has to be a file, which is locked while its work is done, and is a link, a "
            "folder or a pipe; remove it."
        ) from error
    return handle


def take_lock(path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
    """Descriptor of the locked file of that name; None where another process holds the lock.

    It belongs to its process, and ends with it, however it ends.

    Parameters
    ----------
    path
        Of the file; one that a killed process left is used again.
    kind
        ``fcntl.LOCK_EX``, or ``fcntl.LOCK_SH`` for one that others may share.

    Raises
    ------
    OutputError
        If something else lies in its place.
    OSError
        If it cannot be opened, or its disk cannot lock.
    """
    while True:
        handle = open_lock(path)
        try:
            if not _locked(handle, kind):
                os.close(handle)
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder removed it in the meantime


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def remove_lock(handle: int, path: Path) -> None:
    """Give a lock back; nothing of it is left in the folder, unless others share it."""
    # Who is alone removes the file, and who waits for it looks again (:func:`take_lock`).
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    os.close(handle)
