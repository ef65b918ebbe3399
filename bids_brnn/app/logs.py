"""Messages of a run: on the terminal, and in its log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_brnn.errors import OutputError, printable
from bids_brnn.files import make_folder

_OURS = "bids_brnn"
_SILENT = logging.CRITICAL + 1  # what it finds critical comes to the user in our words
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


class LogFile(logging.FileHandler):
    """A log file that is given up, with one sentence, when it cannot be written."""

    def __init__(self, file: Path) -> None:
        # Names of files of others need not be text.
        super().__init__(file, delay=True, encoding="utf-8", errors="backslashreplace")
        self._lost = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, unless an earlier one could not be written."""
        if not self._lost:
            try:
                super().emit(record)  # it opens the file, and lets errors of that out
            except OSError:
                self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        """Say once what is wrong; logging itself prints a traceback for every message."""
        self._lost = True
        reason = getattr(sys.exc_info()[1], "strerror", None) or sys.exc_info()[1]
        with suppress(OSError):
            sys.stderr.write(
                f"bids_brnn: note: cannot write the log {self.baseFilename}: {reason}; "
                "messages are on the terminal only.\n"
            )

    def close(self) -> None:
        """Close the file, whose last bytes may find no place."""
        with suppress(OSError):
            super().close()


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
        handlers.append(LogFile(file))
    for handler in handlers:
        handler.setFormatter(_Printable("%(asctime)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
    nipype = {0: _SILENT, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    for name in _NIPYPE:
        logging.getLogger(name).setLevel(nipype)


def close_log() -> None:
    """Let go of the log file, and leave messages to the program around this one."""
    ours = logging.getLogger(_OURS)
    ours.propagate = True
    for handler in list(ours.handlers):
        ours.removeHandler(handler)
        handler.close()
