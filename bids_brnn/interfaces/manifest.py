"""What a step wrote, so that a changed or lost file is noticed and made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_brnn.files import file_digest

MANIFEST_FILE = "outputs.json"


def output_files(outputs: Mapping[str, Any]) -> Iterator[Path]:
    """Files among the outputs of a step."""
    for value in outputs.values():
        for item in value if isinstance(value, list) else [value]:
            # Outputs are sentences too, and some are longer than a file name may be.
            if isinstance(item, str) and os.path.isfile(item):  # noqa: PTH113
                yield Path(item)


def write_manifest(folder: Path, files: Iterable[Path]) -> None:
    """Record size and digest of ``files``; written last, and whole."""
    rows = {str(path): [path.stat().st_size, file_digest(path)] for path in files}
    temporary = folder / f".{MANIFEST_FILE}.tmp"
    temporary.write_text(json.dumps(rows), encoding="utf-8")
    temporary.replace(folder / MANIFEST_FILE)


def is_intact(folder: Path) -> bool:
    """Whether every output that the manifest of ``folder`` names is as it was written."""
    try:
        rows = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        return all(
            os.stat(name).st_size == size and file_digest(Path(name)) == digest  # noqa: PTH116
            for name, (size, digest) in rows.items()
        )
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def discard_broken(work_dir: Path) -> list[Path]:
    """Remove node folders whose outputs were lost, cut short or changed since.

    Returns
    -------
    list of Path
        What was removed although it had been finished; those nodes run again.
    """
    removed = []
    for result in sorted(work_dir.rglob("result_*.pklz")):
        folder = result.parent
        # Identity nodes have no folder; every other node here leaves a manifest.
        if folder.is_dir() and not is_intact(folder):
            finished = (folder / MANIFEST_FILE).exists()
            shutil.rmtree(folder)
            if finished:
                removed.append(folder)
    return removed


def written_files(work_dir: Path) -> dict[Path, dict[Path, str]]:
    """What the finished steps below ``work_dir`` wrote: folder of the step, file, SHA-256."""
    found = {}
    for manifest in sorted(work_dir.rglob(MANIFEST_FILE)):
        with suppress(OSError, ValueError, AttributeError, TypeError):
            rows = json.loads(manifest.read_text(encoding="utf-8"))
            found[manifest.parent] = {Path(name): sha for name, (_, sha) in rows.items()}
    return found


def finished_steps(work_dir: Path) -> dict[Path, int]:
    """When each step below ``work_dir`` was finished; equal before and after an idle run."""
    return {path: path.stat().st_mtime_ns for path in work_dir.rglob(MANIFEST_FILE)}
