"""A series in a BIDS data set: made aside, read as the application reads it, moved in as a whole.

Nothing that is there is overwritten. Tables that all participants share must be equal; the list
of participants and ``.bidsignore`` grow.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.bids.input.folders import DESCRIPTION
from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import DataError, OutputError
from bids_brnn.files import make_folder, write_bytes, write_text
from bids_brnn.importing.series import Series
from bids_brnn.importing.staging import DERIVATIVE, PARTICIPANTS, TEMPORARY, Target
from bids_brnn.voxels import times

_GROWING = (PARTICIPANTS, ".bidsignore")
_OWN = (DESCRIPTION, "README.md")
"""Files of a data set that is new; of one that is there they stay."""
_FOR_NEW = ("README.md", PARTICIPANTS)
"""That a data set may lack; one that did so goes on without."""
_PATIENCE = 3600.0  # s; an array of imports comes in one after the other, seconds each
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def alone(root: Path, tell: Callable[[str], object]) -> Iterator[None]:
    """Keep other imports out while this one looks what is there and adds to it.

    Two that lengthen one list of participants would lose a line. Where the disk cannot lock
    folders nothing keeps them out.

    Parameters
    ----------
    root
        Of the data set.
    tell
        Is told once that there is another import to wait for.

    Raises
    ------
    OutputError
        If another one does not end.
    """
    try:
        handle = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        _wait(handle, root, tell)
        yield
    finally:
        os.close(handle)


def _wait(handle: int, root: Path, tell: Callable[[str], object]) -> None:
    end, told = time.monotonic() + _PATIENCE, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _BUSY:
                return
            if time.monotonic() > end:
                raise OutputError(
                    f"another import has held {root.parent} for {_PATIENCE:g} s; try again when "
                    "it has ended"
                ) from error
            if not told:
                tell(f"waiting for another import into {root.parent}")
                told = True
            time.sleep(0.05)
        else:
            return


def check_root(root: Path) -> bool:
    """Whether the data set is there already.

    Raises
    ------
    OutputError
        If the folder holds something else.
    """
    if not root.exists():
        return False
    if not root.is_dir():
        raise OutputError(f"{root} is a file; name a folder for the data set")
    if (root / DESCRIPTION).is_file():
        return True
    with suppress(OSError):
        if all(path.name.startswith(TEMPORARY) for path in root.iterdir()):
            return False
    raise OutputError(
        f"{root} is not empty and has no {DESCRIPTION}: it is no BIDS data set; name another "
        "folder, or write that file"
    )


def files_of(stage: Path, root: Path) -> list[tuple[Path, str]]:
    """Files that would come into the data set, relative to it, and what becomes of each."""
    new = not (root / DESCRIPTION).is_file()
    found = []
    for path in sorted(path for path in stage.rglob("*") if path.is_file()):
        inner = path.relative_to(stage)
        there = root / inner
        if inner.name in _OWN and (not new) and there.is_file():
            continue
        if not new and str(inner) in _FOR_NEW and not there.is_file():
            continue  # there may be a README of another ending; participants need no list
        if str(inner) in _GROWING and there.is_file():
            if _grown(path, there) is not None:
                found.append((inner, "one line more" if inner.name == PARTICIPANTS else "longer"))
            continue
        if there.is_file() and path.read_bytes() == there.read_bytes():
            continue
        if os.path.lexists(there):
            raise OutputError(
                f"{there} is there already and differs; nothing is overwritten: give another "
                "--label, --session or --run, or remove it first"
            )
        found.append((inner, f"{path.stat().st_size} bytes"))
    return found


def check_new(files: Sequence[tuple[Path, str]], target: Target) -> None:
    """Refuse a series that is in the data set already.

    Raises
    ------
    OutputError
        If nothing of it is new.
    """
    if not any(path.name.startswith(f"{target.stem}_part-") for path, _ in files):
        raise OutputError(
            f"{target.stem} is in {target.root} already, with the same images; there is nothing "
            "to import"
        )


def _grown(stage: Path, there: Path) -> str | None:
    """The text of a file that grows, or None where all is in it."""
    if there.name == PARTICIPANTS:
        return _with_participant(there, stage.read_text("utf-8").split()[-1])
    known = there.read_text("utf-8").splitlines()
    missing = [line for line in stage.read_text("utf-8").splitlines() if line not in known]
    return "\n".join([*known, *missing]) + "\n" if missing else None


def _with_participant(path: Path, name: str) -> str | None:
    columns = read_columns(path, may_be_empty=True)
    if "participant_id" not in columns and columns:
        raise DataError(f"{path} has no column participant_id; correct it first")
    if name in columns.get("participant_id", ()):
        return None
    heads = list(columns) or ["participant_id"]
    cells = [name if head == "participant_id" else "n/a" for head in heads]
    rows = [list(row) for row in zip(*columns.values(), strict=True)] if columns else []
    return "\n".join("\t".join(row) for row in [heads, *rows, cells]) + "\n"


def check_read(root: Path, target: Target, series: Series) -> list[str]:
    """Read the series as the application does; what it notes of it.

    Raises
    ------
    BidsBrnnError
        What the application would say.
    DataError
        If it finds another series, or none of that name.
    """
    derivative = root / "derivatives" / DERIVATIVE
    found = find_acquisitions(
        root,
        participants=[target.subject],
        sessions=[target.session] if target.session else None,
        derivatives={DERIVATIVE: derivative} if derivative.is_dir() else {},
    )
    wanted = f"{target.stem}_{series.suffix}"
    ours = [item for item in found.acquisitions if item.name == wanted]
    if not ours:
        for problem in found.problems:
            raise problem
        raise DataError(f"{wanted} was written to {root}, and the application does not find it")
    if tuple(ours[0].shape) != series.images.values.shape:
        raise DataError(
            f"{wanted} is read as {times(ours[0].shape)}, not as "
            f"{times(series.images.values.shape)}"
        )
    return list(found.notes)


def move_in(
    stage: Path, target: Target, files: Sequence[tuple[Path, str]], series: Series
) -> None:
    """Bring the files into the data set; when anything goes wrong it is as it was.

    Raises
    ------
    OutputError
        If a file appeared meanwhile, or the folder cannot be written.
    BidsBrnnError
        If the application cannot read the series beside what is there.
    """
    root = target.root
    if not root.exists():
        try:
            stage.rename(root)
        except OSError as error:
            raise OutputError(f"Cannot write {root}: {error.strerror}.") from error
        return
    grown = {
        name: text
        for name, _ in files
        if str(name) in _GROWING
        and (root / name).is_file()
        and (text := _grown(stage / name, root / name)) is not None
    }
    before = {name: (root / name).read_bytes() for name in grown}
    # Images last: who sees one sees what describes it.
    new = sorted((name for name, _ in files if name not in grown), key=_rank)
    moved: list[Path] = []
    folders: list[Path] = []
    try:
        for name in new:
            _move(stage / name, root / name, folders)
            moved.append(root / name)
        for name, text in grown.items():
            write_text(root / name, text)
        check_read(root, target, series)
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()
        for name, content in before.items():
            write_bytes(root / name, content)
        raise


def _rank(name: Path) -> tuple[bool, str]:
    return name.name.endswith(".nii.gz"), str(name)


def _move(source: Path, target: Path, made: list[Path]) -> None:
    """Give a file its new name, unless there is one of that name."""
    missing = [folder for folder in reversed(target.parents) if not folder.exists()]
    make_folder(target.parent)
    made += missing
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise OutputError(f"{target} appeared meanwhile; nothing is overwritten") from error
    except OSError:  # no hard links on this disk
        if os.path.lexists(target):
            raise OutputError(f"{target} appeared meanwhile; nothing is overwritten") from None
        try:
            source.replace(target)
        except OSError as error:
            raise OutputError(f"Cannot write {target}: {error.strerror}.") from error
