"""Files to lock: nothing that is planted in their place is followed or waited for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bids_brnn.errors import OutputError
from bids_brnn.files import check_kind

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
