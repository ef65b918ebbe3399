"""Which files a run wrote for a participant, and what is left over from earlier ones."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_brnn.bids.safe import read_json
from bids_brnn.errors import BidsBrnnError
from bids_brnn.files import recorded, write_text

_OF_ALL_RUNS = (".bidsignore", "README.md", "dataset_description.json", "descriptions.tsv")
"""Files at the root that every run writes, whatever it makes; never removed."""


_LOG = logging.getLogger("bids_brnn.run")


@contextmanager
def settled(output_dir: Path, record: Path) -> Iterator[None]:
    """What this process writes in the block replaces what an earlier run wrote in it."""
    with recorded() as written:
        yield
    settle(output_dir, record, digests(written))


def record_file(folder: Path, name: str) -> Path:
    """Where it is recorded which files were written for ``name``."""
    return folder / f"{name}_outputs.json"


def settle(
    output_dir: Path,
    record: Path,
    current: Mapping[Path, str],
    left: Mapping[Path, str] | None = None,
) -> list[Path]:
    """Remove what was written before and not now, then record what was written now.

    Images go before their sidecars, and the record changes last: whenever the process ends, an
    image has its sidecar, and what is still to be removed is still on record.

    Parameters
    ----------
    output_dir
        Nothing outside of it is removed.
    record
        The record.
    current
        What was written now, with the SHA-256 of each file.
    left
        What was written before besides what is recorded.

    Returns
    -------
    list of Path
        What was removed.
    """
    before = {**read_record(output_dir, record), **(left or {})}
    removed = []
    for path in sorted(before.keys() - current.keys(), key=lambda path: (_is_json(path), path)):
        if _remove(output_dir, path, before[path]):
            removed.append(path)
    if removed:
        names = ", ".join(path.name for path in removed[:3])
        more = f" and {len(removed) - 3} more" if len(removed) > 3 else ""
        _LOG.info("removed, made by an earlier run with other options: %s%s", names, more)
    rows = {
        path.relative_to(output_dir).as_posix(): digest
        for path, digest in sorted(current.items())
        if path.is_relative_to(output_dir)
    }
    if rows or record.is_file():
        write_text(record, json.dumps({"Files": rows}, indent=1) + "\n")
    return removed


def read_record(output_dir: Path, record: Path) -> dict[Path, str]:
    """Files and digests that are on record; none where it is absent or is not ours."""
    try:
        rows = read_json(record).get("Files")
    except BidsBrnnError:
        return {}
    named = rows.items() if isinstance(rows, dict) else ()
    there = ((output_dir / name, str(digest)) for name, digest in named)
    # What is not there need not be removed; what cannot be a name is not there.
    return {path: digest for path, digest in there if os.path.lexists(path)}


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of the files that are there."""
    from bids_brnn.files import file_digest

    return {path: file_digest(path) for path in paths if path.is_file()}


def _is_json(path: Path) -> bool:
    return path.suffix == ".json"


def _remove(output_dir: Path, path: Path, digest: str) -> bool:
    from bids_brnn.files import file_digest

    inside = path.parent.resolve().is_relative_to(output_dir.resolve())
    if not inside or path.is_symlink() or not path.is_file() or path.name in _OF_ALL_RUNS:
        return False
    if file_digest(path) != digest:
        _LOG.warning(
            "%s was made by an earlier run with other options and changed since; it stays", path
        )
        return False
    try:
        path.unlink()
    except OSError as error:
        _LOG.warning("%s, made by an earlier run, cannot be removed: %s", path, error.strerror)
        return False
    with suppress(OSError):  # not empty
        path.parent.rmdir()
    return True
