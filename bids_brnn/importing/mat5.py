"""Variables of ``.mat`` files of versions 5 to 7, read element by element within limits.

Not by SciPy: its reader ends the process with some broken files. The format: "MAT-File Level 5
File Format", https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf. An element is a
tag (type, size) and its bytes; a variable is one that holds others: flags, dimensions, name and
numbers, or the variables of a cell or structure.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS: Mapping[int, str] = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""Types of elements that are numbers."""
_CLASSES: Mapping[int, str] = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""Classes of variables that are numbers."""
_TEXTS: Mapping[int, str] = {
    1: "latin-1",
    2: "latin-1",
    4: "utf-16",
    16: "utf-8",
    17: "utf-16",
    18: "utf-32",
}
_CELL, _STRUCTURE, _CHARACTERS = 1, 2, 4
_OPAQUE = 17  # strings, tables and other objects of MATLAB
_IS_COMPLEX = 0x800
_MOST_LEVELS, _MOST_ELEMENTS = 32, 100_000


class Unread:
    """What is neither numbers, text, structure nor cell: objects, functions, sparse matrices."""


def variables(content: bytes, limit: int) -> dict[str, bytes]:
    """The variables of a file by name, still as bytes, for :func:`value`.

    Parameters
    ----------
    content
        The whole file.
    limit
        Bytes that all may take when they are inflated.

    Raises
    ------
    ValueError
        If the file is broken.
    MemoryError
        If it inflates to more.
    """
    order = byte_order(content)
    place, left = _HEADER, limit
    found: dict[str, bytes] = {}
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        inner = content[place + 8 : place + 8 + size]
        if len(inner) < size:
            raise ValueError("it ends within a variable")
        place += 8 + size
        if kind == _COMPRESSED:
            inner = _inflated(inner, left)
            left -= len(inner)
            kind, inner = next(iter(_elements(inner, order)), (0, b""))
        if kind != _MATRIX:
            raise ValueError(f"there is an element of type {kind} in place of a variable")
        if name := _Variable(inner, order).name:  # what objects refer to has none
            found[name] = inner
        if len(found) > _MOST_ELEMENTS:
            raise ValueError("it has too many variables")
    return found


def byte_order(content: bytes) -> str:
    """Of the numbers in a file: ``<`` or ``>``."""
    return "<" if content[126:128] == b"IM" else ">"


def value(content: bytes, order: str) -> Any:
    """What a variable holds: an array, a text, a dict, a list, or :class:`Unread`.

    Raises
    ------
    ValueError
        If it is broken.
    """
    return _Budget(_MOST_ELEMENTS).value(content, order, 0)


def _inflated(packed: bytes, limit: int) -> bytes:
    try:
        found = zlib.decompressobj().decompress(packed, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(found) > limit:
        raise MemoryError("it inflates to more than it may")
    return found


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the elements that follow one another."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:  # a small element: size and type share four bytes, its bytes the next
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError(f"a small element has {size} bytes")
            yield kind, content[place + 4 : place + 4 + size]
            place += 8
            continue
        inner = content[place + 8 : place + 8 + size]
        if len(inner) < size:
            raise ValueError("an element is longer than what it lies in")
        yield kind, inner
        place += 8 + (size + 7) // 8 * 8


class _Variable:
    """Flags, dimensions and name of a variable, and the elements behind them."""

    def __init__(self, content: bytes, order: str) -> None:
        self.parts = _elements(content, order)
        self.order = order
        flags, shape = self._next(), self._next()
        self.kind, self.flags, self.shape, self.name = 0, 0, (0, 0), ""
        if flags is None:  # nothing at all: an empty array
            return
        if len(flags[1]) != 8 or shape is None:
            raise ValueError("a variable has no flags or no dimensions")
        (word,) = struct.unpack_from(f"{order}I", flags[1])
        self.kind, self.flags = word & 0xFF, word & 0xFF00
        if self.kind == _OPAQUE:  # has no dimensions: its name comes at once
            self.name = shape[1].decode("ascii", "replace")
            return
        if shape[0] != 5 or len(shape[1]) % 4:
            raise ValueError("a variable has no flags or no dimensions")
        self.shape = tuple(np.frombuffer(shape[1], f"{order}i4").tolist())
        if len(self.shape) < 2 or len(self.shape) > 32 or min(self.shape) < 0:
            raise ValueError(f"a variable has the dimensions {self.shape[:8]}")
        name = self._next()
        self.name = "" if name is None else name[1].decode("ascii", "replace")

    def _next(self) -> tuple[int, bytes] | None:
        return next(self.parts, None)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def numbers(self) -> NDArray[Any]:
        real = self._part()
        if self.flags & _IS_COMPLEX:
            return real + 1j * self._part()
        return real

    def _part(self) -> NDArray[Any]:
        kind, content = self._next() or (0, b"")
        if kind not in _NUMBERS:
            raise ValueError(f"numbers are stored as type {kind}")
        stored = np.dtype(f"{self.order}{_NUMBERS[kind]}")
        if len(content) != self.size * stored.itemsize:
            raise ValueError(f"an array of {self.size} numbers has {len(content)} bytes")
        values = np.frombuffer(content, stored).reshape(self.shape, order="F")
        with np.errstate(all="ignore"):
            return values.astype(_CLASSES[self.kind])

    def text(self) -> str:
        kind, content = self._next() or (16, b"")
        encoding = _TEXTS.get(kind, "latin-1")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        return content.decode(encoding, "replace").strip()

    def fields(self) -> list[str]:
        length, names = self._next(), self._next()
        if length is None or names is None or len(length[1]) < 4:
            raise ValueError("a structure has no fields")
        (width,) = struct.unpack_from(f"{self.order}i", length[1])
        if not 0 < width <= 4096 or len(names[1]) > 64 * _MOST_ELEMENTS:
            raise ValueError(f"names of fields have {width} letters")
        cells = [names[1][k : k + width] for k in range(0, len(names[1]), width)]
        return [cell.split(b"\0")[0].decode("ascii", "replace") for cell in cells]

    def inner(self) -> bytes:
        kind, content = self._next() or (0, b"")
        if kind != _MATRIX:
            raise ValueError("a cell or structure has fewer entries than it says")
        return content


@dataclass
class _Budget:
    """Values within a number of elements."""

    left: int

    def value(self, content: bytes, order: str, level: int) -> Any:
        self.left -= 1
        if level > _MOST_LEVELS or self.left < 0:
            raise ValueError("it nests too deeply, or has too many elements")
        found = _Variable(content, order)
        if found.kind == 0:
            return np.zeros((0, 0))
        if found.kind in _CLASSES:
            return found.numbers()
        if found.kind == _CHARACTERS:
            return found.text()
        if found.kind not in (_CELL, _STRUCTURE):
            return Unread()
        names = found.fields() if found.kind == _STRUCTURE else [""]
        if found.size * max(1, len(names)) > self.left:
            raise ValueError("it nests too deeply, or has too many elements")
        entries = [
            {name: self.value(found.inner(), order, level + 1) for name in names}
            for _ in range(found.size)
        ]
        if found.kind == _CELL:
            return [entry[""] for entry in entries]
        return entries[0] if len(entries) == 1 else entries
