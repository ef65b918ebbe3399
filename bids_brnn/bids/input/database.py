"""The optional saved index (``--bids-database-dir``).

PyBIDS neither refreshes an existing index nor looks whose data it holds, and processes that
build one at the same time damage it. So an index is built in a private folder and renamed, and
one that is found, whoever made it, is compared with the files on disk before it is believed.
Listing names costs a hundredth of indexing them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.bids.grammar import default_filters, series_entities
from bids_brnn.bids.input.dataset import ignored, index, left_out, without
from bids_brnn.bids.input.folders import closed_folders
from bids_brnn.errors import OutputError

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

FILE = "layout_index.sqlite"


def open_layout(
    root: Path, patterns: Sequence[re.Pattern[str]], database: Path | None, notes: list[str]
) -> BIDSLayout:
    """The index of ``root``: a saved one if it fits, else one in memory.

    Parameters
    ----------
    root
        Of the data set.
    patterns
        Of paths that this run does not read.
    database
        Folder of the saved index; it is made if there is none.
    notes
        Decisions; grows.

    Raises
    ------
    OutputError
        If an index is to be saved and the folder cannot be written.
    """
    if database is None:
        return index(root, patterns)
    if not (database / FILE).exists():
        _build(root, database)
    reason = _unfit(root, patterns, database)
    if reason is None:
        with contextlib.suppress(Exception):  # whatever a damaged index does to SQLAlchemy
            return index(root, patterns, database)
        reason = "cannot be opened"
    notes.append(f"--bids-database-dir {database} {reason}; indexing in memory.")
    return index(root, patterns)


def _build(root: Path, database: Path) -> None:
    # Inside the folder itself: what lies around it may not be ours to write.
    private = database / f".tmp-{uuid.uuid4().hex}"
    try:
        private.mkdir(parents=True)
        patterns = ignored(None, None, raw=True)
        patterns += without(closed_folders(root, patterns), root)
        layout = index(root, patterns, private)
        layout.session.close()
        layout.connection_manager.engine.dispose()
        # Of several processes at once the last wins; their indices are equal.
        (private / FILE).replace(database / FILE)
    except OSError as error:
        raise OutputError(
            f"{database} cannot be written: {error.strerror or error}; choose another "
            "--bids-database-dir."
        ) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _unfit(root: Path, patterns: Sequence[re.Pattern[str]], database: Path) -> str | None:
    """Why a saved index cannot be used, or None."""
    try:
        uri = f"{(database / FILE).as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return "is damaged (it is empty)"
            if not {"layout_info", "files", "entities"} <= tables:
                return "holds no index of a PyBIDS version that is known here"
            roots = [row[0] for row in connection.execute("SELECT root FROM layout_info")]
            entities = {row[0] for row in connection.execute("SELECT name FROM entities")}
            paths = [Path(row[0]) for row in connection.execute("SELECT path FROM files")]
    except sqlite3.Error as error:
        return f"is damaged ({error})"
    if roots != [str(root)]:
        return f"was built for {', '.join(roots) or 'nothing'}, not for {root}"
    missing = sorted(_needed_entities() - entities)
    if missing:
        return f"was made without the entities {', '.join(missing)}, by another program"
    inside = [path for path in paths if path.is_relative_to(root) and _counts(path)]
    indexed = {path for path in inside if not left_out(path, root, patterns)}
    there = {path for path in _files(root, root, patterns) if _counts(path)}
    known = {path.relative_to(root).parts[0] for path in inside}
    new = sorted({path.relative_to(root).parts[0] for path in there} - known)
    if new:
        return f"does not know participant {', '.join(name.removeprefix('sub-') for name in new)}"
    for files, words in ((there - indexed, "does not hold"), (indexed - there, "still holds")):
        if files:
            first = min(files).relative_to(root)
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            gone = ", deleted since" if words == "still holds" else ""
            return f"{words} {first}{more}{gone}"
    return None


def _needed_entities() -> set[str]:
    filters = default_filters().values()
    return {*series_entities().values(), "space", *(key for entry in filters for key in entry)}


def _counts(path: Path) -> bool:
    """Whether a file is looked for in the index; sidecars and tables are found without it."""
    return path.suffix not in (".json", ".tsv")


def _files(folder: Path, root: Path, patterns: Sequence[re.Pattern[str]]) -> Iterator[Path]:
    """Files below ``folder`` that belong to the data set."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            inside = f"/{path.relative_to(root).as_posix()}"
            if any(pattern.search(inside) for pattern in patterns):
                continue
            if entry.is_dir():
                yield from _files(path, root, patterns)
            elif folder != root:
                yield path
