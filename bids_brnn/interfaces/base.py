"""What all nodes share: user errors that survive process borders, and checked outputs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nipype.interfaces.base import SimpleInterface

from bids_brnn.errors import DEBUGGER_VARIABLE, BidsBrnnError

ERROR_FILE = "error.json"
MANIFEST_FILE = "outputs.json"
_BLOCK = 1 << 22


class Node(SimpleInterface):
    """A Nipype interface that does its work in :meth:`work` and returns its outputs by name.

    Its folder then also holds a manifest with the size and digest of each output file. Nipype
    itself trusts any earlier output, even an empty one; see :func:`discard_broken`.
    """

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        try:
            outputs = self.work(folder)
        except Exception as error:
            if isinstance(error, BidsBrnnError):
                content = {"message": str(error), "exit_code": error.exit_code}
                (folder / ERROR_FILE).write_text(json.dumps(content), encoding="utf-8")
            if os.environ.get(DEBUGGER_VARIABLE):
                import pdb

                pdb.post_mortem(error.__traceback__)
            raise
        self._results.update(outputs)
        write_manifest(folder, list(_files(outputs)))
        return runtime

    def work(self, folder: Path) -> Mapping[str, Any]:
        """Do the work in ``folder``; the values of the output traits by name."""
        raise TypeError(f"{type(self).__name__} does no work in {folder}")


def _files(outputs: Mapping[str, Any]) -> Iterator[Path]:
    for value in outputs.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and Path(item).is_file():
                yield Path(item)


def file_digest(path: Path) -> str:
    """SHA-256 of the content of a file."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


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


def user_errors(work_dir: Path) -> list[BidsBrnnError]:
    """Errors the user can cure that nodes below ``work_dir`` stopped with."""
    found = []
    for path in sorted(work_dir.rglob(ERROR_FILE)):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(BidsBrnnError(content["message"], exit_code=content["exit_code"]))
    return found
