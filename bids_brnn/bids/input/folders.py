"""Folders by what lies in them: participants, data sets, and those given in their place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_brnn.bids.grammar import grammar, is_label
from bids_brnn.bids.safe import read_json, unreadable
from bids_brnn.errors import BidsBrnnError, ReadError, UsageError

DESCRIPTION = "dataset_description.json"


def list_labels(folder: Path, prefix: str) -> list[str]:
    """Labels of the folders ``<prefix><label>`` in ``folder``, in natural order."""
    names = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*") if path.is_dir()]
    return sorted((name for name in names if is_label(name)), key=natural)


def check_open(folder: Path) -> None:
    """Refuse a folder that may not be listed, or whose files may not be reached.

    Raises
    ------
    ReadError
        Naming the folder and the reason.
    """
    try:
        os.stat(f"{folder}/.")  # noqa: PTH116 - pathlib drops the dot, and that asks less
        os.listdir(folder)  # noqa: PTH208
    except OSError as error:
        raise unreadable(folder, error) from error


def closed_folders(root: Path, patterns: Sequence[re.Pattern[str]]) -> dict[Path, ReadError]:
    """Folders of participants that cannot be read, and why.

    Parameters
    ----------
    root
        Of the data set.
    patterns
        Of paths that are not looked at.
    """
    found: dict[Path, ReadError] = {}
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    waiting = [root / f"sub-{label}" for label in list_labels(root, "sub-")]
    while waiting:
        folder = waiting.pop()
        inside = f"/{folder.relative_to(root).as_posix()}"
        if any(pattern.search(inside) or pattern.search(f"{inside}/") for pattern in patterns):
            continue
        try:
            check_open(folder)
        except ReadError as error:
            found[folder] = error
            continue
        about = folder.stat()
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(folder) as entries:
            waiting += [folder / entry.name for entry in entries if _is_folder(entry)]
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; whoever reads it says so
        return False


def participant_of(folder: Path) -> str:
    """Label of the participant to whom a folder belongs."""
    names = [part for part in folder.parts if part.startswith("sub-")]
    return names[-1].removeprefix("sub-")


def natural(label: str) -> list[tuple[int, int, str]]:
    """Sort key: numbers by value, then letters."""
    return [
        (0, int(piece), "") if piece.isdigit() else (1, 0, piece)
        for piece in re.findall(r"\d+|\D+", label)
    ]


def check_meant(root: Path, *, derivative: bool) -> None:
    """Refuse a folder that is no data set where the one that was meant lies beside it.

    That is a folder of data sets (``derivatives``, or a project with ``rawdata``), a folder
    inside a data set (``sub-01``), or the SUBJECTS_DIR of FreeSurfer.

    Raises
    ------
    UsageError
        Naming the folders that are data sets.
    """
    described, has_participants = (root / DESCRIPTION).is_file(), bool(list_labels(root, "sub-"))
    if described and has_participants:
        return
    if _is_freesurfer(root):
        near = [above for above in root.parents if (above / DESCRIPTION).is_file()]
        found = near[:1] or _data_sets(root.parent, derivative=True)
        raise UsageError(
            f"{root} holds results of FreeSurfer, not a BIDS data set; give the derivative of "
            f"fMRIPrep, which holds its labels as dseg images{_listed(found, ': ')}."
        )
    if has_participants:
        return
    found = _data_sets(root, derivative=derivative)
    if found:
        raise UsageError(
            f"{root} is not a data set with participants but holds {_listed(found)}; give "
            f"{'one of them' if len(found) > 1 else 'that'} instead."
        )
    for above in root.parents:
        inside = root.relative_to(above).parts[0]
        if (above / DESCRIPTION).is_file() and re.match("sub-|sourcedata", inside):
            raise UsageError(f"{root} is a folder inside a data set; give {above}.")


def _data_sets(folder: Path, *, derivative: bool) -> list[Path]:
    """Data sets with participants in ``folder`` or one level deeper, of the type if any is."""
    found: dict[Path, bool] = {}
    for pattern in (f"*/{DESCRIPTION}", f"*/*/{DESCRIPTION}"):
        for file in sorted(folder.glob(pattern)):
            nested = any(other in file.parents for other in found)
            if not nested and list_labels(file.parent, "sub-"):
                found[file.parent] = _is_derivative(file)
    return [path for path, is_one in found.items() if is_one == derivative] or list(found)


def _is_derivative(description: Path) -> bool:
    try:
        content = read_json(description)
    except BidsBrnnError:
        return False
    return content.get("DatasetType") == "derivative" or "GeneratedBy" in content


def _is_freesurfer(folder: Path) -> bool:
    """Whether this is a SUBJECTS_DIR, or the folder of one subject in it."""
    marks = ("mri/orig.mgz", "mri/T1.mgz", "surf/lh.white", "label/lh.aparc.annot")
    subjects = [folder, *(path for path in folder.glob("*") if path.is_dir())]
    return any((path / mark).exists() for path in subjects for mark in marks)


def _listed(folders: Sequence[Path], before: str = "") -> str:
    return before + ", ".join(map(str, folders)) if folders else ""


def left_aside(root: Path, keep: Iterable[str]) -> str | None:
    """A note naming folders of a raw data set that are no part of it, or None.

    Those that BIDS names, hidden ones and bad labels, which have a note of their own, are not
    worth one.
    """
    rules = grammar()["bids"]
    types = {*rules["raw_folders"], *rules["skipped_folders"], *keep}
    found = [
        path.name
        for path in root.glob("*")
        if not path.name.startswith((".", "sub-")) and path.name not in rules["root_folders"]
    ]
    for label in list_labels(root, "sub-"):
        below = (root / f"sub-{label}").glob("*")
        found += [
            f"sub-{label}/{path.name}"
            for path in below
            if not path.name.startswith((".", "ses-")) and path.name not in types
        ]
    found = sorted(name for name in found if (root / name).is_dir())
    if not found:
        return None
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"Not read as raw data: {', '.join(found[:5])}{more} in {root}."
