"""Writing files so that a reader, or a second writer, never sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from bids_brnn.errors import OutputError


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace ``path`` in one step; its folder is made if needed.

    Raises
    ------
    OutputError
        If the folder or file cannot be written; no temporary file stays behind.
    """
    # O_EXCL never follows a planted link; mode 0o666 leaves the rest to the umask.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; free space or choose another "
            "folder."
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot sync a folder; the file itself is safe by then.
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write ``content`` unless the file holds exactly that; whether it was written."""
    with contextlib.suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == content:
            return False
    write_bytes(path, content)
    return True


def json_bytes(content: Mapping[str, object]) -> bytes:
    """JSON text as it is written everywhere: indented, strict, one newline at the end."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
