"""Messages of a run: on the terminal, and in its log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OURS = "bids_brnn"
_SILENT = logging.CRITICAL + 1  # what it finds critical comes to the user in our words
_NIPYPE = ("nipype", "nipype.workflow", "nipype.interface", "nipype.utils", "nipype.filemanip")


def log_file(output_dir: Path, run: str) -> Path:
    """Where the messages of a run are kept; its folder exists."""
    folder = output_dir / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{run}.log"


class LogFile(logging.FileHandler):
    """A log file that is given up, with one sentence, when it cannot be written."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, delay=True, encoding="utf-8")
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
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
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
