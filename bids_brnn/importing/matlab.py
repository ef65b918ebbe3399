"""``.mat`` files within limits: numbers, text, structures and cells; nothing that could run code.

Versions 5 to 7 are read by SciPy once their nesting and inflated size are known to be bounded.
Version 7.3 is HDF5 and needs the package h5py; MATLAB stores arrays in it with reversed axes.
"""

from __future__ import annotations

import importlib
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bids_brnn.bids.safe import check_content, unreadable
from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.files import check_regular
from bids_brnn.system.kinds import abridged
from bids_brnn.system.memory import memory_limit
from bids_brnn.system.reading import read_bounded

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_MOST_LEVELS, _MOST_ELEMENTS = 32, 100_000
_SHARE = 16
"""Bytes in memory for each byte of a file: complex numbers of which each part is stored as one."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048)


@dataclass(frozen=True, eq=False)
class MatFile:
    """Variables of a file; each is read when it is asked for."""

    path: Path
    names: tuple[str, ...]
    load: Callable[[str], Any]

    def __getitem__(self, name: str) -> Any:
        """An array as MATLAB shows it, a text, a dict of a structure or a list of a cell."""
        return self.load(name)


class Unread:
    """What is neither numbers, text, structure nor cell: objects, functions, sparse matrices."""


def open_mat(path: Path) -> MatFile:
    """The variables of a ``.mat`` file.

    Raises
    ------
    ReadError
        If it cannot be read, is no such file, or is broken.
    DataError
        If it holds more than the memory takes.
    UsageError
        If it is of version 7.3 and h5py is not installed.
    """
    limit = memory_limit()[0] // _SHARE
    try:
        if _is_hdf5(path):
            return _open_hdf5(path)
        content = read_bounded(path, limit)
        check_content(path, content)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{path.name} is too large for the memory: {error}") from error
    if content[126:128] not in (b"IM", b"MI") or not content.startswith(b"MATLAB 5.0"):
        raise ReadError(
            f"{path.name} is no .mat file of MATLAB 5 to 7.3; save it again with -v7 (Octave: "
            "save -mat7-binary)"
        )
    _check_elements(path, content, limit)
    return _open_scipy(path, content)


def _open_scipy(path: Path, content: bytes) -> MatFile:
    from scipy.io import loadmat, whosmat

    def load(name: str) -> Any:
        with _broken(path):
            found = loadmat(io.BytesIO(content), variable_names=[name])
            return _value(found[name])

    with _broken(path):
        return MatFile(path, tuple(name for name, *_ in whosmat(io.BytesIO(content))), load)


class _broken:  # noqa: N801
    """Whatever a library meets in a broken file becomes one sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, DataError | ReadError):
            said = abridged(str(error)) or type(error).__name__
            raise ReadError(f"{self.path.name} is a broken .mat file: {said}") from error


def _check_elements(path: Path, content: bytes, limit: int) -> None:
    """Refuse what inflates beyond ``limit`` bytes or nests deeper than anybody writes."""
    order = "<" if content[126:128] == b"IM" else ">"
    place, left = _HEADER, limit
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        inner = content[place + 8 : place + 8 + size]
        place += 8 + size
        if kind == _COMPRESSED:
            inner = _inflated(path, inner, left)
            left -= len(inner)
            if len(inner) < 8:
                _refuse(path, "an element is empty")
            kind, size = struct.unpack_from(f"{order}II", inner)
            inner = inner[8 : 8 + size]
        if kind != _MATRIX:
            _refuse(path, f"there is an element of type {kind}")
        _check_depth(path, inner, order)


def _inflated(path: Path, packed: bytes, limit: int) -> bytes:
    try:
        found = zlib.decompressobj().decompress(packed, limit + 1)
    except zlib.error as error:
        _refuse(path, str(error))
    if len(found) > limit:
        raise DataError(f"{path.name} inflates to more than the memory takes ({limit} bytes)")
    return found


def _check_depth(path: Path, content: bytes, order: str) -> None:
    stack, seen = [(content, 1)], 0
    while stack:
        inner, level = stack.pop()
        for kind, part in _parts(inner, order):
            seen += 1
            if level > _MOST_LEVELS or seen > _MOST_ELEMENTS:
                _refuse(path, "it nests too deeply, or has too many elements")
            if kind == _MATRIX:
                stack.append((part, level + 1))


def _parts(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow one another."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:  # a small element: its size and type share four bytes
            place += 8
            continue
        yield kind, content[place + 8 : place + 8 + size]
        place += 8 + (size + 7) // 8 * 8


def _refuse(path: Path, why: str) -> NoReturn:
    raise ReadError(f"{path.name} is a broken .mat file: {why}")


def _value(found: Any) -> Any:
    """What SciPy returns, in plain values."""
    if not isinstance(found, np.ndarray):
        return found if isinstance(found, str | int | float | complex | np.number) else Unread()
    if found.dtype.names and type(found).__name__ == "ndarray":
        if found.size != 1:
            return [_fields(item, found.dtype.names) for item in found.ravel(order="F")]
        return _fields(found.ravel()[0], found.dtype.names)
    if found.dtype.kind in "US":
        return "".join(str(item) for item in found.ravel()).strip()
    if found.dtype.kind == "O" and type(found).__name__ == "ndarray":
        return [_value(item) for item in found.ravel(order="F")]
    return found if found.dtype.kind in "biufc" else Unread()


def _fields(item: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(item[name]) for name in names}


def _is_hdf5(path: Path) -> bool:
    check_regular(path)
    with path.open("rb") as stream:
        start = stream.read(_HDF5_PLACES[-1] + len(_HDF5))
    return any(start[place : place + len(_HDF5)] == _HDF5 for place in _HDF5_PLACES)


def _open_hdf5(path: Path) -> MatFile:
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise UsageError(
            f"{path.name} is a .mat file of version 7.3 (HDF5), which needs the package h5py: "
            "pip install 'bids_brnn[import]', or save it again with -v7"
        ) from error

    def load(name: str) -> Any:
        with _broken(path), h5py.File(path, "r") as file:
            return _Hdf5(h5py, path, file, memory_limit()[0] // 4).value(file, name)

    with _broken(path), h5py.File(path, "r") as file:
        return MatFile(path, tuple(name for name in file if not name.startswith("#")), load)


@dataclass
class _Hdf5:
    """Values of an open file; links that lead to other files are never followed."""

    h5py: Any
    path: Path
    file: Any
    left: int
    """Bytes that may still be read."""

    def value(self, group: Any, name: str, level: int = 0) -> Any:
        if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
            raise DataError(f"{self.path.name}: {abridged(name)} is a link to elsewhere")
        return self._of(group[name], level)

    def _of(self, item: Any, level: int) -> Any:
        if level > _MOST_LEVELS:
            raise DataError(f"{self.path.name} nests too deeply")
        if isinstance(item, self.h5py.Group):
            names = list(item)[:_MOST_ELEMENTS]
            return {name: self.value(item, name, level + 1) for name in names}
        shown = item.attrs.get("MATLAB_class", b"")
        kind = shown.decode("ascii", "replace") if isinstance(shown, bytes) else str(shown)
        if item.external or (item.is_virtual):
            raise DataError(f"{self.path.name} keeps its numbers in other files")
        self.left -= math.prod(item.shape or (0,)) * item.dtype.itemsize
        if self.left < 0:
            raise DataError(f"{self.path.name} holds more than the memory takes")
        if item.attrs.get("MATLAB_empty", 0):
            return "" if kind == "char" else np.zeros(0)
        values = item[()]
        if kind == "char":
            return "".join(map(chr, np.asarray(values).ravel(order="C"))).strip()
        if kind == "cell":
            return [self._of(self.file[ref], level + 1) for ref in values.T.ravel(order="F")]
        if values.dtype.names == ("real", "imag"):
            values = values["real"] + 1j * values["imag"]
        return np.asarray(values).T if values.dtype.kind in "biufc" else Unread()


def listed(values: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Names as messages show them."""
    names = [abridged(name) for name in values]
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing"
