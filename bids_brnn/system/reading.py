"""Reading what others wrote: regular files only, never more than a limit, JSON within limits.

A file of a data set may be a pipe that never ends, a link to a device or a bomb. Here is the one
door: the kind of file is looked at before it is opened and again once it is, so that one that is
swapped in between is found too.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

from bids_brnn.files import check_kind, check_regular, decoded

MAX_TEXT = 2**20
"""Bytes of a file that is written by hand: filters, plugins, priors, configurations."""
_LARGEST_OF_TOML = 2**63
_MAX_DEPTH = 64  # of nested JSON; BIDS needs four


def open_regular(path: Path) -> BinaryIO:
    """A regular file, open for reading; never waits.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    """
    check_regular(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_kind(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bounded(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, or is no regular file.
    ValueError
        If it holds more than ``limit`` bytes.
    """
    with open_regular(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return content


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """Text of a regular file in UTF-8; errors as of :func:`read_bounded`."""
    return decoded(read_bounded(path, limit))


def parse_json(content: bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    content
        In UTF-8.
    finite
        Whether NaN and infinity, which JSON does not have, are refused.

    Raises
    ------
    ValueError
        If it is no JSON in UTF-8, is nested too deeply, holds a number that is not finite or
        text that is no Unicode, or gives one key two values.
    """
    try:
        value = json.loads(
            decoded(content),
            parse_float=_finite if finite else float,
            parse_constant=_finite if finite else float,
            parse_int=_whole,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(value)
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; errors as of :func:`read_bounded` and :func:`parse_toml`."""
    return parse_toml(read_text(path))


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML text.

    Raises
    ------
    ValueError
        If it is no TOML, is nested too deeply, or holds an integer beyond the 64 bits of TOML.
    """
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(value, _LARGEST_OF_TOML)
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{_short(text)} is not a finite number")
    return number


def _whole(text: str) -> int:
    _finite(text)  # 309 digits and more: arithmetic with them fails anywhere
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        # Programs that write a key twice with one value are met.
        if key in found and found[key] != value:
            raise ValueError(f'the key "{_short(key)}" stands in it twice, with two values')
        found[key] = value
    return found


def _check(value: Any, largest: float = math.inf) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        texts = [item for item in level if isinstance(item, str)]
        below: list[Any] = [part for item in level if isinstance(item, list) for part in item]
        for item in level:
            if isinstance(item, dict):
                texts += item.keys()
                below += item.values()
        if any(type(item) is int and abs(item) > largest for item in level):
            raise ValueError("it holds a whole number of more than 64 bits")
        for text in texts:
            if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ValueError("it holds half of a surrogate pair (\\ud800 ... \\udfff)")
        if not below:
            return
        level = below
    raise ValueError("it is nested too deeply")


def _short(text: str) -> str:
    shown = text.encode("ascii", "backslashreplace").decode("ascii")
    return shown if len(shown) < 40 else f"{shown[:36]} ..."
