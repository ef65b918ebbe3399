"""Writing files so that nothing is ever half-written, on shared disks and with many writers."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from bids_brnn.errors import OutputError


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    OutputError
        If it cannot be made, or links lead out of the data set that it is to lie in.
    """
    _check_unlinked(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror}.") from error


_MOST_LEVELS = 6  # of folders below the root of a data set, with room


def _check_unlinked(folder: Path) -> None:
    """Refuse to write through a link to a folder inside a data set: it may lead anywhere.

    The root of the data set itself may be a link; whoever names it means that. Links to files
    need no check, as they are replaced and not followed.
    """
    linked: list[Path] = []
    for inner in (folder, *folder.parents)[:_MOST_LEVELS]:
        if (inner / "dataset_description.json").is_file():
            break
        if inner.is_symlink():
            linked.append(inner)
    else:
        return
    if linked:
        raise OutputError(
            f"{linked[-1]} is a link, to {os.path.realpath(linked[-1])}, and nothing is written "
            "through links inside an output folder; remove it, or name the folder that is meant."
        )


def expanded(text: str | Path) -> Path:
    """The path with ``~`` as the home folder; that of an unknown user stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


WRITER_VARIABLE = "BIDS_BRNN_WRITER"
"""Environment variable: six characters that temporary files of a run and its workers share."""

_records: list[set[Path]] = []
_unfinished: set[Path] = set()


@contextmanager
def recorded() -> Iterator[set[Path]]:
    """Collect the paths that this process writes in the block, or finds already right."""
    written: set[Path] = set()
    _records.append(written)
    try:
        yield written
    finally:
        _records.remove(written)


def _note(path: Path) -> None:
    for written in _records:
        written.add(path)


_unsynced: list[set[Path]] = []


@contextmanager
def folders_synced_once() -> Iterator[None]:
    """Ask the disk once, at the end, to keep the folders that the block writes files into.

    Many files of one folder otherwise wait for a busy disk twice each. A power cut meanwhile may
    leave some of them absent, but none of them half-written.
    """
    folders: set[Path] = set()
    _unsynced.append(folders)
    try:
        yield
    finally:
        _unsynced.pop()
        for folder in folders:
            with suppress(OSError):  # it may be gone again
                _sync(folder)


@contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it becomes ``path`` in one step.

    Readers see the old file or the new one. When anything goes wrong the temporary file is
    removed and ``path`` is as it was. The temporary name keeps the suffix (image writers choose
    the format by it), starts with a dot and is new for every call, so parallel writers of one
    path cannot disturb each other: the last one wins.

    Parameters
    ----------
    path
        What is written.
    lasting
        Whether it is on the disk, and not only in the memory of the system, when this returns.
        What is checked when it is read, and made again where it is damaged, need not be.

    Raises
    ------
    OutputError
        If the folder cannot be made or written, the disk is full, or the folder is a link.
    """
    _check_unlinked(path.parent)
    writer = os.environ.get(WRITER_VARIABLE) or uuid4().hex[:6]
    temporary = path.with_name(f".tmp-{writer}{uuid4().hex[:6]}-{path.name}")
    _unfinished.add(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if lasting:
            _sync(temporary)
        temporary.replace(path)
        _note(path)
        if lasting:
            _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. "
            "Free space or choose a folder that you may write to."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


def abandon() -> None:
    """Remove what this process is in the middle of writing; for its last moment."""
    for temporary in list(_unfinished):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folders: Iterable[Path], writer: str, *, deep: bool = True) -> None:
    """Remove temporary files of a run that was killed, by its :data:`WRITER_VARIABLE`."""
    for folder in folders:
        found = (folder.rglob if deep else folder.glob)(f".tmp-{writer}*")
        for temporary in list(found):
            with suppress(OSError):
                temporary.unlink()


def write_bytes(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """Write ``content`` in one step, unless the file already holds exactly that.

    ``lasting`` as in :func:`replacing`.

    Raises
    ------
    OutputError
        See :func:`replacing`.
    """
    # Leaving an equal file alone keeps its time stamp and spares readers on network disks.
    with suppress(OSError):
        found = path.stat()
        same_size = stat.S_ISREG(found.st_mode) and found.st_size == len(content)
        if same_size and path.read_bytes() == content:
            _note(path)
            return
    with replacing(path, lasting=lasting) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write UTF-8 ``text`` in one step; see :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8"), lasting=lasting)


def decoded(content: bytes) -> str:
    """Text in UTF-8, with or without the byte-order mark that Windows programs put before it.

    Raises
    ------
    ValueError
        If it is in another encoding, saying which where that is certain.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise ValueError("it is in UTF-16 or UTF-32; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8; save it as UTF-8") from error


def _sync(path: Path) -> None:
    """Ask the disk to keep what was written; folders too, where the system allows it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse to sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if _unsynced:
        _unsynced[-1].add(folder)
    else:
        _sync(folder)


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> os.stat_result:
    """What the system says of a file, links followed.

    Raises
    ------
    OSError
        If it is absent, or no regular file.
    """
    # What no path can be is absent, as for the functions of pathlib.
    try:
        found = path.stat()
    except ValueError as error:
        raise FileNotFoundError(errno.ENOENT, "such a name cannot be") from error
    return check_kind(found)


def check_kind(found: os.stat_result) -> os.stat_result:
    """What the system says of a file, which has to be a regular one; else OSError."""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise OSError(number, f"it is {kind}, not a file")
    return found


_BLOCK = 1 << 22


def file_digest(path: Path) -> str:
    """SHA-256 of the content of a file."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def file_state(path: Path) -> tuple[int, ...]:
    """What changes with the content of a file, for what is remembered of it; links are followed.

    Empty where there is none to be seen: whoever reads it then says why.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    # Times of modification can be set at will, those of change cannot.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
