"""Kinds of values that files of others hold: what is right, in one place and in words.

What a file may say is a table of kinds by key (``bids/input/declared.py`` for sidecars,
``zoo/schema.py`` for model cards); :func:`problem` looks, so that code behind it meets no other
type and no other range. JSON Schema would do for types, but its sentences speak of schemas, and
it knows neither units nor what must agree with something else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

LONGEST_TEXT = 1024
"""Characters: no path of a data set and no name is longer."""


_SHOWN = 120  # characters


class Kind(Protocol):
    """What a value has to be."""

    @property
    def words(self) -> str:
        """What is right, for messages: ``write <words>``."""

    def holds(self, value: object) -> bool:
        """Whether ``value`` is right, apart from what it holds itself."""


def is_text(value: object, longest: int = LONGEST_TEXT) -> TypeGuard[str]:
    """Whether this is text that may be a name, a path or part of a message: one line."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def abridged(text: str) -> str:
    """Text as messages show it: on one line, short, nothing that a terminal would obey."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 4]} ..."


def shown(value: object) -> str:
    """A value as messages show it: short, and nothing in it that a terminal would obey."""
    if isinstance(value, int | float | None):
        if isinstance(value, int) and abs(value) > 10**20:
            return "a whole number of more than 20 digits"
        return repr(value)
    if isinstance(value, str):
        return repr(abridged(value)) if value.isprintable() else f"'{abridged(value)}'"
    if isinstance(value, list):
        few = ", ".join(
            shown(item) if isinstance(item, int | float) else "..." for item in value[:4]
        )
        return f"[{few}]" if len(value) <= 4 else f"[{few} ...] ({len(value)} entries)"
    return "an object" if isinstance(value, Mapping) else f"of type {type(value).__name__}"


def cell_number(text: str) -> float:
    """The number in a cell of a table, infinite where it is too large; NaN if it is none.

    Only what other programs read too: no underscores, no digits of other scripts.
    """
    if not text.isascii() or "_" in text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def point(text: object) -> str:
    """What is to be said of a text that is no number where it has a decimal comma; else nothing.

    >>> point("0,5"), point("half")
    (' (decimals are written with a point)', '')
    """
    is_number = isinstance(text, str) and math.isfinite(
        cell_number(text.strip().replace(",", "."))
    )
    return " (decimals are written with a point)" if is_number and "," in str(text) else ""


@dataclass(frozen=True)
class Number:
    """A finite number of a range."""

    low: float
    high: float
    unit: str = ""
    either_sign: bool = False
    """Whether the range is that of the absolute value."""
    reason: str = ""

    @property
    def words(self) -> str:
        """What is right, for messages."""
        unit = f" {self.unit}" if self.unit else ""
        sign = ", of either sign" if self.either_sign else ""
        return f"one number from {self.low:g} to {self.high:g}{unit}{sign}{self.reason}"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is a number of the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        # Compared before anything else: an int may be larger than any float.
        size = abs(value) if self.either_sign else value
        return self.low <= size <= self.high and math.isfinite(size)


@dataclass(frozen=True)
class Real:
    """Any number, also one that is not finite."""

    words: str = "a number"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is a number."""
        return isinstance(value, float) or (type(value) is int and abs(value) < 10**300)


@dataclass(frozen=True)
class Whole:
    """A whole number of a range."""

    low: int
    high: int

    @property
    def words(self) -> str:
        """What is right, for messages."""
        return f"one whole number from {self.low} to {self.high}"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is a whole number of the range."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True)
class Text:
    """Text of one line, or of several."""

    longest: int = LONGEST_TEXT
    several_lines: bool = False
    words: str = "a text"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is text, not too long and without characters that control."""
        if self.several_lines and isinstance(value, str):
            value = value.translate({10: " ", 9: " ", 13: " "})
        return is_text(value, self.longest)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    words: str = "true or false"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is one of the two."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 10_000
    or_one: bool = False
    """Whether one value may stand without a list around it."""

    @property
    def words(self) -> str:
        """What is right, for messages."""
        if self.or_one:
            return f"{self.kind.words}, or a list of such"
        number = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {number} entries, each {self.kind.words}"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is a list of that length."""
        if isinstance(value, list):
            return self.least <= len(value) <= self.most
        return self.or_one and self.kind.holds(value)


@dataclass(frozen=True)
class Table:
    """An object: keys that must and may be there, each with its kind."""

    needed: Mapping[str, Kind] = field(default_factory=dict)
    may: Mapping[str, Kind] = field(default_factory=dict)
    rest: Kind | None = None
    """Kind of the values of all other keys; None: any."""
    words: str = "an object in braces"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is an object."""
        return isinstance(value, Mapping)


@dataclass(frozen=True)
class Optional:
    """A value, or null."""

    kind: Kind

    @property
    def words(self) -> str:
        """What is right, for messages."""
        return f"{self.kind.words}, or null"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is null or of the kind."""
        return value is None or self.kind.holds(value)


def problem(kind: Kind, value: Any, where: str) -> str:
    """What is wrong with a value and all that it holds, and what is right; empty if nothing is.

    >>> problem(Table({"width": Whole(1, 4096)}), {"width": -5}, "network")
    'width of network is -5; write one whole number from 1 to 4096'
    """
    if isinstance(kind, Optional):
        return "" if value is None else problem(kind.kind, value, where)
    if not kind.holds(value):
        return f"{where} is {shown(value)}; write {kind.words}"
    if isinstance(kind, ListOf) and isinstance(value, list):
        found = (
            problem(kind.kind, item, f"entry {place} of {where}")
            for place, item in enumerate(value, start=1)
        )
        return next((text for text in found if text), "")
    return _problem_of_table(kind, value, where) if isinstance(kind, Table) else ""


def _problem_of_table(kind: Table, value: Mapping[str, Any], where: str) -> str:
    missing = [key for key in kind.needed if key not in value]
    if missing:
        return f"{where} has no {', '.join(missing)}"
    known = {**kind.may, **kind.needed}
    for key, item in value.items():
        if not is_text(key):
            return f"{where} has the key {shown(key)}; write a short text of one line"
        inner = known.get(key, kind.rest)
        text = "" if inner is None else problem(inner, item, f"{key} of {where}")
        if text:
            return text
    return ""
