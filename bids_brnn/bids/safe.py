"""Reading what others wrote: JSON within limits, paths that stay inside, BIDS URIs.

Names that stand in files are asked for with :mod:`os.path`: :mod:`pathlib` raises where they are
too long to be any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_brnn.errors import InvalidBidsError, ReadError
from bids_brnn.system.kinds import is_text, shown
from bids_brnn.system.reading import parse_json, read_bounded

MAX_JSON_BYTES = 16 * 2**20
_OBJECTS = ("annex", "objects")
_POINTERS = (b"/annex/objects/", b"version https://git-lfs")


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises
    ------
    InvalidBidsError
        If the file is not UTF-8 JSON (see :func:`~bids_brnn.system.reading.parse_json`), not an
        object, or too large.
    ReadError
        If it cannot be read at all, or is no regular file.
    """
    try:
        raw = read_bounded(path, MAX_JSON_BYTES)
        check_content(path, raw)
        content = parse_json(raw)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        _refuse(path, str(error))
    if not isinstance(content, dict):
        _refuse(path, f"it holds a {type(content).__name__}, not an object in braces")
    return content


def _refuse(path: Path, reason: str) -> NoReturn:
    raise InvalidBidsError(f"{path} is not usable JSON: {reason}.")


def unreadable(path: Path, error: BaseException) -> ReadError:
    """The error for a file that cannot be opened, with the likely cure."""
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
        return ReadError(
            f"{path} is a link to a file that is not here; not downloaded? "
            "Get it first (git annex get, datalad get)."
        )
    if isinstance(error, FileNotFoundError):
        return ReadError(f"{path} does not exist.")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ReadError(f"{path} cannot be read: {reason}.")


def check_content(path: Path, content: bytes) -> None:
    """Refuse what git-annex or git-lfs leave in place of a file that is not here.

    Raises
    ------
    ReadError
        If ``content`` is such a pointer.
    """
    if is_pointer(content):
        raise ReadError(
            f"{path} is a pointer to a file that is not here; not downloaded? "
            "Get it first (git annex get, datalad get, git lfs pull)."
        )


def is_pointer(content: bytes) -> bool:
    """Whether a file begins as the pointers of git-annex and git-lfs do."""
    return content.lstrip().startswith(_POINTERS)


def check_present(paths: Mapping[Path, str]) -> None:
    """Refuse links to files that were not downloaded, before any work is done.

    Parameters
    ----------
    paths
        Files, each with the word of ``--ignore`` that leaves it out.

    Raises
    ------
    ReadError
        Naming the first that is not there.
    """
    for path, word in paths.items():
        if not path.exists():
            reason = str(unreadable(path, FileNotFoundError())).rstrip(".")
            raise ReadError(f"{reason}; or leave it out with --ignore {word}.")


def check_inside(path: Path, root: Path, allowed: Sequence[Path] = ()) -> Path:
    """Refuse a path that leads out of its data set.

    Links into the git-annex of the repository that holds it, and below ``allowed``, are fine.

    Raises
    ------
    InvalidBidsError
        If the path, with all links followed, lies elsewhere.
    """
    target = resolved(path)
    inside = any(target.is_relative_to(resolved(folder)) for folder in (root, *allowed))
    if not inside and not (os.path.islink(path) and _in_annex(path, target)):  # noqa: PTH114
        raise InvalidBidsError(
            f"{path} leads out of the data set, to {target}; copy that file into {root}, or "
            "name its folder in --allow-links."
        )
    return path


def resolved(path: Path) -> Path:
    """The path with all links followed as far as they lead; circular ones lead nowhere."""
    return Path(os.path.realpath(path))


def _in_annex(path: Path, target: Path) -> bool:
    """Whether ``target`` is an object of a repository around ``path``.

    That of a subdataset may lie in the repository above (``.git/modules``). A ``.git`` that is
    itself a link is none: it could lead anywhere.
    """
    here = resolved(path.parent)
    for folder in (here, *here.parents):
        git = folder / ".git"
        if not git.is_symlink() and target.is_relative_to(git):
            inner = target.relative_to(git).parts
            return inner[:2] == _OBJECTS or (inner[0] == "modules" and _has(inner, _OBJECTS))
    return False


def _has(parts: tuple[str, ...], pair: tuple[str, str]) -> bool:
    return any(parts[place : place + 2] == pair for place in range(len(parts)))


def resolve_uri(
    uri: object, *, root: Path, links: Mapping[str, Path], allowed: Sequence[Path] = ()
) -> Path:
    """The file that a BIDS URI names.

    Parameters
    ----------
    uri
        ``bids::path`` (relative to ``root``) or ``bids:name:path``.
    links
        Folders of other data sets by name.
    allowed
        Further folders that links may lead to.

    Raises
    ------
    InvalidBidsError
        If this is no BIDS URI, its data set is unknown, or the path leaves the data set.
    """
    if isinstance(uri, str) and not is_text(uri):
        raise InvalidBidsError(
            f"{shown(uri)} is too long for a path, or holds what cannot be printed; write "
            "bids::path/from/the/data/set/root."
        )
    text = uri if isinstance(uri, str) else ""
    scheme, _, rest = text.partition(":")
    name, colon, relative = rest.partition(":")
    if scheme != "bids" or not colon or not relative:
        raise InvalidBidsError(
            f"{shown(uri)} is not a BIDS URI; write bids::path/from/the/data/set/root."
        )
    if name and name not in links:
        known = ", ".join(sorted(links)) or "none"
        raise InvalidBidsError(
            f'{uri}: no data set is called "{name}" (known: {known}); add it to DatasetLinks '
            f"and give its folder with --derivatives {name}=FOLDER."
        )
    folder = links[name] if name else root
    return check_inside(folder / relative, folder, allowed)
