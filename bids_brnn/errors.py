"""Errors that a user can cure, and the exit code that goes with each.

Codes follow the BIDS Apps execution specification and ``sysexits.h``; the command line turns
a :class:`BidsBrnnError` into one sentence on stderr and this code, never into a traceback.
"""

import errno
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

EXIT_OK = 0
EXIT_NODE_CRASHED = 1
EXIT_USAGE = 2
EXIT_INVALID_BIDS = 16
EXIT_UNKNOWN_LEVEL = 17
EXIT_NOTHING_SELECTED = 18
EXIT_BAD_DATA = 65
EXIT_NO_SERIES = 66
EXIT_NOT_WRITABLE = 73
EXIT_READ_ERROR = 74
EXIT_TEMPORARY = 75

_LONGEST = 10_000  # characters of a message; messages quote files, and files hold anything

DEBUGGER_VARIABLE = "BIDS_BRNN_DEBUGGER"
"""Environment variable: where it is set, a step that fails opens the debugger."""


def printable(text: str) -> str:
    """Text of which a terminal obeys nothing: what controls it is written as in Python."""
    if not text.replace("\n", "").isprintable():
        text = "".join(
            sign
            if sign.isprintable() or sign == "\n"
            else sign.encode("unicode_escape").decode("ascii")
            for sign in text
        )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


class BidsBrnnError(Exception):
    """A problem the user can cure; the message says what, where and what to do."""

    exit_code = EXIT_BAD_DATA

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(printable(message))
        if exit_code is not None:
            self.exit_code = exit_code

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders in Nipype workers; keyword arguments would be lost.
        return (_rebuild, (type(self), str(self), self.exit_code))


def _rebuild(kind: type[BidsBrnnError], message: str, exit_code: int) -> BidsBrnnError:
    return kind(message, exit_code=exit_code)


class UsageError(BidsBrnnError):
    """The command line asks for something impossible."""

    exit_code = EXIT_USAGE


class InvalidBidsError(BidsBrnnError):
    """A file that is needed breaks the BIDS rules."""

    exit_code = EXIT_INVALID_BIDS


class NothingSelectedError(BidsBrnnError):
    """The participant, session or filter selects nothing."""

    exit_code = EXIT_NOTHING_SELECTED


class NoSeriesError(BidsBrnnError):
    """The data set is fine, but holds no series that this program handles."""

    exit_code = EXIT_NO_SERIES


class DataError(BidsBrnnError):
    """Shapes, units, values, basis or pulse train are wrong."""


class SequenceError(DataError):
    """A pulse train is incomplete or physically impossible."""


class ParameterError(DataError):
    """A parameter value lies outside what the model accepts."""


class OutputError(BidsBrnnError):
    """The output or work folder cannot be written."""

    exit_code = EXIT_NOT_WRITABLE


class ReadError(BidsBrnnError):
    """A file cannot be read (truncated, corrupt, not downloaded)."""

    exit_code = EXIT_READ_ERROR


class TemporaryError(BidsBrnnError):
    """Worth a retry: the device is busy or its memory is taken."""

    exit_code = EXIT_TEMPORARY


_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


def out_of_space(text: str) -> bool:
    """Whether a message of the system says that a disk or a quota is full.

    >>> out_of_space("OSError: [Errno 28] No space left on device"), out_of_space("broken pipe")
    (True, False)
    """
    return any(os.strerror(number) in text for number in _FULL)


def curable(error: BaseException) -> BidsBrnnError | None:
    """The error in words where the system refused memory or space; else None.

    Whatever library was at work: the cure is the same, and a traceback does not name it.
    """
    if isinstance(error, BidsBrnnError):
        return error
    if isinstance(error, OSError) and (error.errno in _FULL or out_of_space(str(error))):
        where = f" {error.filename}" if error.filename else ""
        return OutputError(
            f"Cannot write{where}: {error.strerror or error}. Free space, or choose another "
            "output folder or work folder (-w); finished steps are kept."
        )
    refused = isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
    if refused or isinstance(error, MemoryError):
        return TemporaryError(
            "The memory does not suffice. Give the run more (--mem-mb and the limit of the job), "
            "fewer CPUs (--nprocs), or use --low-mem; finished steps are kept."
        )
    return None


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.75) -> str:
    """The known name that ``word`` is a misspelling of, or nothing.

    Case, hyphens and underscores do not count. ``likeness`` is that of :mod:`difflib`, 0 to 1.
    """
    plain = {_plain(name): name for name in known}
    found = get_close_matches(_plain(word), plain, n=1, cutoff=likeness)
    return plain[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "onset"?`` for the end of a message, or nothing."""
    name = nearest(word, known)
    return f'; did you mean "{name}"?' if name else ""


def unknown_names(where: str, what: str, unknown: Iterable[str], known: Iterable[str]) -> str:
    """Names that are not known, with those that are, and what the first may have meant.

    >>> unknown_names("my.toml", "key", ["rnak"], ["rank", "seed"])
    'my.toml: unknown key rnak; known are rank, seed; did you mean "rank"?'
    """
    names, listed = list(unknown), list(known)
    meant = did_you_mean(names[0], listed)
    place = f"{where}: " if where else ""
    return f"{place}unknown {what} {', '.join(names)}; known are {', '.join(listed)}{meant}"


def _plain(name: object) -> str:
    # A file of others may hold a number where a name belongs.
    return re.sub("[^a-z0-9]", "", str(name).lower())
