"""Folders of a run: the private work folder, its locks, and the record beside the results."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import bids_brnn
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import OutputError, TemporaryError
from bids_brnn.estimators.registry import estimators
from bids_brnn.files import WRITER_VARIABLE, remove_leftovers, replacing
from bids_brnn.maps import quality_maps
from bids_brnn.signals.registry import models
from bids_brnn.system.locks import take_lock

_PREFIX = "bids_brnn-"


def run_id() -> str:
    """Name of this run: UTC time and a random part."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}_{uuid4()}"


@cache
def code_digest() -> str:
    """Hash of the program text: work of another version is never reused."""
    root = Path(bids_brnn.__file__).parent
    state = hashlib.sha256(bids_brnn.__version__.encode())
    for path in sorted(root.rglob("*.py")) + sorted(root.rglob("*.toml")):
        state.update(path.relative_to(root).as_posix().encode())
        state.update(path.read_bytes())
    for path in _extensions():
        state.update(path.read_bytes())
    return state.hexdigest()[:12]


def _extensions() -> list[Path]:
    """Modules of other packages that brought a model, an estimator or a map."""
    brought: list[object] = [model.home for model in models().values()]
    brought += [estimator.home for estimator in estimators().values()]
    brought += [item.values for item in quality_maps().values()]
    names = {
        thing.partition(":")[0] if isinstance(thing, str) else thing.__module__
        for thing in brought
    }
    foreign = sorted(name for name in names if not name.startswith("bids_brnn."))
    files = [getattr(import_module(name), "__file__", None) for name in foreign]
    return [Path(file) for file in files if file is not None]


def base_folder(config: RunConfig) -> Path:
    """Work folder of this program version, data set and output folder.

    Nipype itself tells by content hashes which steps are up to date, so options need no part in
    the name.
    """
    return config.work_dir / f"{_PREFIX}{code_digest()}-{_place(config)}"


def _place(config: RunConfig) -> str:
    text = f"{config.bids_dir.resolve()}\n{config.output_dir.resolve()}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def older_note(config: RunConfig) -> str | None:
    """What to say of work that other versions of this program left for the same place."""
    base = base_folder(config)
    others = sorted(set(config.work_dir.glob(f"{_PREFIX}*-{_place(config)}")) - {base})
    if not others:
        return None
    return (
        "work of another version of this program is not used and may be deleted: "
        f"{', '.join(map(str, others))}"
    )


def check_output(folder: Path) -> None:
    """Make the output folder, and see that files can be written there.

    Raises
    ------
    OutputError
        If they cannot.
    """
    probe = folder / f".probe-{uuid4().hex}"  # many jobs of an array do this at once
    try:
        with replacing(probe) as temporary:
            temporary.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror}.") from error


def make_private(folder: Path) -> None:
    """Make the work folder, for this user only: Nipype keeps pickled files in it.

    Raises
    ------
    OutputError
        If it cannot be made, or belongs to somebody else.
    """
    if folder.is_symlink():
        raise OutputError(f"The work folder {folder} is a link; remove it, or choose -w.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise OutputError(f"The work folder {folder} belongs to another user; choose -w.")
        folder.chmod(0o700)
    except OSError as error:
        raise OutputError(
            f"Cannot use the work folder {folder}: {error.strerror}. Choose another with -w."
        ) from error


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in ``folder`` for a while: Nipype reads settings from the current one and may write."""
    try:
        before: Path | None = Path.cwd()
    except FileNotFoundError:  # the folder we were started in is gone
        before = None
    os.chdir(folder)
    try:
        yield
    finally:
        if before is not None and before.is_dir():
            os.chdir(before)


@contextmanager
def locked(base: Path, participants: Iterable[str]) -> Iterator[dict[str, str]]:
    """Keep other runs of the same participants off the same work folder.

    The lock belongs to the process: it ends with it, however it ends. Inside it stands whose
    temporary files they are, until the run is through.

    Yields
    ------
    dict
        By participant, the writer (:data:`WRITER_VARIABLE`) of an earlier run that was killed.

    Raises
    ------
    TemporaryError
        If another run holds it.
    OutputError
        If something else lies in the place of a lock, it cannot be written, or its disk cannot
        lock.
    """
    killed = {}
    with ExitStack() as stack:
        files = []
        for participant in participants:
            try:
                handle = take_lock(base / f"sub-{participant}.lock")
            except OSError as error:
                raise OutputError(
                    f"Cannot lock sub-{participant} in {base}: {error.strerror}. Choose another "
                    "work folder with -w."
                ) from error
            if handle is None:
                raise TemporaryError(
                    f"Another run works on sub-{participant} in {base}; wait for it, or choose "
                    "another work folder with -w."
                )
            file = stack.enter_context(os.fdopen(handle, "r+", encoding="ascii", errors="replace"))
            writer = file.read(64)
            if re.fullmatch("[0-9a-f]{6}", writer):
                killed[participant] = writer
            file.seek(0)
            file.truncate()
            file.write(os.environ.get(WRITER_VARIABLE, ""))
            file.flush()
            files.append(file)
        yield killed
        for file in files:
            file.truncate(0)


def clear_leftovers(output_dir: Path, base: Path, writers: Mapping[str, str]) -> None:
    """Remove temporary files that killed processes left of some participants.

    Others may write into the same output folder: only files of the ``writers`` are touched.
    """
    for participant, writer in writers.items():
        own = (output_dir / f"sub-{participant}", output_dir / "logs", base)
        remove_leftovers(own, writer)
        remove_leftovers([output_dir], writer, deep=False)


def clean(config: RunConfig, folder: Path) -> None:
    """Delete earlier work of a participant, by every version of this program.

    ``folder`` is that of the participant below the present :func:`base_folder`.
    """
    inner = folder.relative_to(base_folder(config))
    for base in config.work_dir.glob(f"{_PREFIX}*"):
        shutil.rmtree(base / inner, ignore_errors=True)
