"""The optional saved index (``--bids-database-dir``).

PyBIDS neither refreshes an existing index nor looks whose data it holds, and processes that
build one at the same time damage it. So an index is built in a private folder and renamed, and
one that is found is checked before it is believed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.bids.input.dataset import ignored, index
from bids_brnn.errors import OutputError

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

FILE = "layout_index.sqlite"


def open_layout(
    root: Path,
    patterns: Sequence[re.Pattern[str]],
    subjects: Sequence[str],
    database: Path | None,
    notes: list[str],
) -> BIDSLayout:
    """The index of ``root``: a saved one if it fits, else one in memory.

    Raises
    ------
    OutputError
        If an index is to be saved and the folder cannot be written.
    """
    if database is None:
        return index(root, patterns)
    if not (database / FILE).exists():
        _build(root, database)
    reason = _unfit(root, subjects, database)
    if reason is None:
        with contextlib.suppress(Exception):  # whatever a damaged index does to SQLAlchemy
            return index(root, patterns, database)
        reason = "cannot be opened"
    notes.append(f"--bids-database-dir {database} {reason}; indexing in memory.")
    return index(root, patterns)


def _build(root: Path, database: Path) -> None:
    private = database.with_name(f"{database.name}.tmp-{uuid.uuid4().hex}")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        layout = index(root, ignored(None, None), private)
        layout.session.close()
        layout.connection_manager.engine.dispose()
        # The first of several processes wins; the others use its index.
        with contextlib.suppress(FileExistsError, OSError):
            private.rename(database)
        if not (database / FILE).exists():
            raise OutputError(f"{database} cannot be made; choose another --bids-database-dir.")
    except OSError as error:
        raise OutputError(
            f"{database} cannot be written: {error.strerror or error}; choose another "
            "--bids-database-dir."
        ) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _unfit(root: Path, subjects: Sequence[str], database: Path) -> str | None:
    """Why a saved index cannot be used, or None."""
    try:
        uri = f"{(database / FILE).as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            roots = [row[0] for row in connection.execute("SELECT root FROM layout_info")]
            query = "SELECT DISTINCT _value FROM tags WHERE entity_name = 'subject'"
            known = {row[0] for row in connection.execute(query)}
    except sqlite3.Error as error:
        return f"is damaged ({error})"
    if roots != [str(root)]:
        return f"was built for {', '.join(roots) or 'nothing'}, not for {root}"
    missing = [label for label in subjects if label not in known]
    if missing:
        return f"does not know participant {', '.join(missing)}"
    if _newest(root, subjects) > (database / FILE).stat().st_mtime:
        return "is older than the data"
    return None


def _newest(root: Path, subjects: Sequence[str]) -> float:
    """Latest change of a folder whose list of files matters."""
    folders = [root]
    for label in subjects:
        folder = root / f"sub-{label}"
        folders += [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    return max(folder.stat().st_mtime for folder in folders)
