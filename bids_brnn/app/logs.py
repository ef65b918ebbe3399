"""Messages of a run: on the terminal, and in its log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bids_brnn.errors import OutputError, printable
from bids_brnn.files import make_folder

_OURS = "bids_brnn"
_NIPYPE = ("nipype", "nipype.workflow", "nipype.interface", "nipype.utils", "nipype.filemanip")


class _Printable(logging.Formatter):
    """Names and values of files of others stand in messages; a terminal must not obey them."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with everything in it written out."""
        return printable(super().format(record))


def log_file(output_dir: Path, run: str) -> Path:
    """Where the messages of a run are kept; its folder exists.

    Raises
    ------
    OutputError
        If that folder cannot be made, or is a link.
    """
    folder = output_dir / "logs"
    if folder.is_symlink():  # before the first run it lies in no data set yet
        raise OutputError(f"{folder} is a link, and no log is written through one; remove it.")
    make_folder(folder)
    return folder / f"{run}.log"


@contextmanager
def messages(verbosity: int, file: Path | None = None) -> Iterator[None]:
    """Messages as :func:`set_verbosity` says while the block runs, and not after it."""
    set_verbosity(verbosity, file)
    try:
        yield
    finally:
        close_log()


def set_verbosity(verbosity: int, file: Path | None = None) -> None:
    """Messages of this program always; those of Nipype from ``-v`` on."""
    close_log()
    ours = logging.getLogger(_OURS)
    ours.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    ours.propagate = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        # Names of files of others need not be text.
        handlers.append(
            logging.FileHandler(file, delay=True, encoding="utf-8", errors="backslashreplace")
        )
    for handler in handlers:
        handler.setFormatter(_Printable("%(asctime)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
    nipype = {0: logging.CRITICAL, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    for name in _NIPYPE:
        logging.getLogger(name).setLevel(nipype)


def close_log() -> None:
    """Let go of the log file, and leave messages to the program around this one."""
    ours = logging.getLogger(_OURS)
    ours.propagate = True
    for handler in list(ours.handlers):
        ours.removeHandler(handler)
        handler.close()
