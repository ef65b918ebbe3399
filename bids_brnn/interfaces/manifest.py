"""What a step made: lost or changed files are noticed, and no pickled result is ever opened.

Nipype keeps the result of each step as a pickle beside it and opens it in the next run and for the
next step. Whoever can write into the work folder could have it execute anything. The manifest
holds the same outputs as JSON, and :func:`results_from_manifests` has Nipype read that.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from nipype.interfaces.base import Bunch, InterfaceResult, Undefined, specs
from nipype.pipeline.engine import nodes

from bids_brnn.files import file_digest, file_state, write_text
from bids_brnn.system.threads import in_threads

MANIFEST_FILE = "outputs.json"
_NOT_OURS = (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError)


_TICK = 100_000_000
"""ns from a change of a file on after which another one has another time for certain."""
_digests: dict[str, tuple[tuple[int, ...], str]] = {}


def known_digest(path: Path) -> str:
    """SHA-256 of a file, which is read once as long as the system tells of no change of it.

    The inputs of every step are outputs of others, and gigabytes for a whole brain.
    """
    state = file_state(path)
    known, digest = _digests.get(str(path), ((), ""))
    if state and known == state:
        return digest
    settled = bool(state) and time.time_ns() - state[-1] > _TICK
    digest = file_digest(path)
    if settled:
        _digests[str(path)] = state, digest  # of before: what changed meanwhile is read again
    return digest


def _input_digest(file: str | Path) -> str | None:
    """Stands for ``hash_infile`` of Nipype, which reads every input of a step four times."""
    return known_digest(Path(file)) if os.path.isfile(file) else None  # noqa: PTH113


def output_files(outputs: Mapping[str, Any]) -> Iterator[Path]:
    """Files among the outputs of a step."""
    for value in outputs.values():
        for item in value if isinstance(value, list) else [value]:
            # Outputs are sentences too, and some are longer than a file name may be.
            if isinstance(item, str) and os.path.isfile(item):  # noqa: PTH113
                yield Path(item)


def write_manifest(folder: Path, outputs: Mapping[str, Any], threads: int = 1) -> None:
    """Record outputs by name, and size and digest of each file; written last, and whole.

    Up to ``threads`` files are read at a time.

    Raises
    ------
    OutputError
        If the folder cannot be written or is full.
    """
    files = list(output_files(outputs))
    found = in_threads(known_digest, files, threads)
    rows = {str(path): [path.stat().st_size, sha] for path, sha in zip(files, found, strict=True)}
    content = {"files": rows, "outputs": dict(outputs)}
    # What a power cut leaves of it does not fit the files, and the step is done again.
    write_text(folder / MANIFEST_FILE, json.dumps(content, default=_plain), lasting=False)


def _plain(value: Any) -> Any:
    """What JSON has no word for: numbers of NumPy, and paths."""
    return value.item() if isinstance(value, np.generic) else os.fspath(value)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Files and outputs of a manifest; many kinds of errors if it is none of ours."""
    content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    return dict(content["files"]), dict(content["outputs"])


def is_intact(folder: Path) -> bool:
    """Whether every output that the manifest of ``folder`` names is as it was written."""
    try:
        rows, _ = _read(folder)
        return all(
            os.stat(name).st_size == size and known_digest(Path(name)) == digest  # noqa: PTH116
            for name, (size, digest) in rows.items()
        )
    except _NOT_OURS:
        return False


def result_of(file: str | Path, resolve: bool = True) -> InterfaceResult:
    """The result of a step, from its manifest and not from the pickle ``file`` beside it.

    Stands for ``load_resultfile`` of Nipype. A step that failed has no outputs.
    """
    del resolve  # paths are absolute
    outputs = None
    with suppress(*_NOT_OURS):
        _, values = _read(Path(file).parent)
        given = {name: Undefined if value is None else value for name, value in values.items()}
        outputs = Bunch(**given)
    return InterfaceResult(interface=None, runtime=Bunch(hostname=gethostname()), outputs=outputs)


def _refuse(file: str | Path) -> NoReturn:
    raise RuntimeError(f"{file} is a pickle, which could execute anything when it is opened")


_READ = ((nodes, "_load_resultfile", result_of), (nodes, "loadpkl", _refuse))
_HASHED = ((specs, "hash_infile", _input_digest),)


def _replaced(digests: bool) -> tuple[tuple[ModuleType, str, Any], ...]:
    return (*_READ, *(_HASHED if digests else ()))


def use_manifests(*, digests: bool = True) -> None:
    """From now on, Nipype reads results of steps in this process from their manifests."""
    for module, name, function in _replaced(digests):
        setattr(module, name, function)


@contextmanager
def results_from_manifests(*, digests: bool = True) -> Iterator[None]:
    """:func:`use_manifests` for a while: Nipype belongs to the program around this one too.

    Parameters
    ----------
    digests
        Whether inputs are told by :func:`known_digest`. Not where steps run in processes that
        hash as Nipype does: what they have done would look like something else from here.
    """
    before = [(module, name, getattr(module, name)) for module, name, _ in _replaced(digests)]
    use_manifests(digests=digests)
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


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
        with suppress(*_NOT_OURS):
            rows, _ = _read(manifest.parent)
            found[manifest.parent] = {Path(name): sha for name, (_, sha) in rows.items()}
    return found


def finished_steps(work_dir: Path) -> dict[Path, int]:
    """When each step below ``work_dir`` was finished; equal before and after an idle run."""
    return {path: path.stat().st_mtime_ns for path in work_dir.rglob(MANIFEST_FILE)}
