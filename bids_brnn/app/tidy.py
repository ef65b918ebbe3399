"""Outputs of earlier runs that the present one would not make.

The rule: what a run makes of a series, of a report or of the group replaces what an earlier run
made of it. A record beside the results says which files those were, with their digests; a file
that is not in it, or was changed since, is nobody's business and stays. See ``docs/outputs.md``.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.files import recorded, write_text

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from bids_brnn.bids.input.acquisition import Acquisition

_OF_ALL_RUNS = (".bidsignore", "README.md", "dataset_description.json", "descriptions.tsv")
"""Files at the root that every run writes, whatever it makes; never removed."""
_LOG = logging.getLogger("bids_brnn.run")


def settle_series(
    output_dir: Path,
    base: Path,
    workflow: Workflow,
    acquisitions: Iterable[Acquisition],
    before: Mapping[str, Mapping[Path, str]],
) -> set[str]:
    """Remove outputs of earlier runs of some series, all of whose steps have succeeded.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    base
        Work folder of the run.
    workflow
        Of the run.
    acquisitions
        The series.
    before
        What :func:`known_outputs` told before the run: a run that was killed left no record.

    Returns
    -------
    set of str
        Participants of whom something was removed.

    Raises
    ------
    OutputError
        If the record cannot be written.
    """
    from bids_brnn.interfaces.base import written_files
    from bids_brnn.workflows.participant import series_folder, step_folders

    steps = step_folders(workflow, base)
    touched = set()
    for item in acquisitions:
        current: dict[Path, str] = {}
        left = dict(before.get(item.name, {}))
        gone = []
        for step, files in written_files(series_folder(item, base)).items():
            outputs = {path: sha for path, sha in files.items() if path.is_relative_to(output_dir)}
            if any(step.is_relative_to(known) for known in steps):
                current |= outputs
            elif outputs:
                gone.append(step)
        if not current:  # a run that wrote nothing replaces nothing
            continue
        for step in gone:  # the next run with its options writes its files again
            shutil.rmtree(step, ignore_errors=True)
        participant = item.entities["subject"]
        record = record_file(output_dir / f"sub-{participant}" / "log", item.name)
        if settle(output_dir, record, current, left):
            touched.add(participant)
    return touched


def known_outputs(
    output_dir: Path, base: Path, acquisitions: Iterable[Acquisition]
) -> dict[str, dict[Path, str]]:
    """Outputs that finished steps of each series wrote, with digests, by its name."""
    from bids_brnn.interfaces.base import written_files
    from bids_brnn.workflows.participant import series_folder

    return {
        item.name: {
            path: digest
            for files in written_files(series_folder(item, base)).values()
            for path, digest in files.items()
            if path.is_relative_to(output_dir)
        }
        for item in acquisitions
    }


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
        rows = json.loads(record.read_text(encoding="utf-8"))["Files"]
        return {output_dir / str(name): str(digest) for name, digest in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of the files that are there."""
    from bids_brnn.interfaces.base import file_digest

    return {path: file_digest(path) for path in paths if path.is_file()}


def _is_json(path: Path) -> bool:
    return path.suffix == ".json"


def _remove(output_dir: Path, path: Path, digest: str) -> bool:
    from bids_brnn.interfaces.base import file_digest

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
