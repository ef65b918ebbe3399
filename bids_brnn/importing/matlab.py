"""``.mat`` files within limits: numbers, text, structures and cells; nothing that could run code.

Versions 5 to 7 are read here (``mat5``). Version 7.3 is HDF5 and needs the package h5py; MATLAB
stores arrays in it with reversed axes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_brnn.bids.safe import check_content, unreadable
from bids_brnn.errors import DataError, ReadError, UsageError
from bids_brnn.files import check_regular
from bids_brnn.importing.mat5 import Unread, byte_order, value, variables
from bids_brnn.system.kinds import abridged
from bids_brnn.system.memory import memory_limit
from bids_brnn.system.reading import read_bounded

_SHARE = 16
"""Bytes in memory for each byte of a file: complex numbers of which each part is stored as one."""
_MOST_LEVELS, _MOST_ELEMENTS = 32, 100_000
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
    with _broken(path):
        found = variables(content, limit)

    def load(name: str) -> Any:
        with _broken(path):
            return value(found[name], byte_order(content))

    return MatFile(path, tuple(found), load)


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Whatever is met in a broken file becomes one sentence."""
    try:
        yield
    except (DataError, ReadError):
        raise
    except MemoryError as error:
        raise DataError(f"{path.name} inflates to more than the memory takes") from error
    except Exception as error:  # of HDF5 there is no telling which
        said = abridged(str(error)) or type(error).__name__
        raise ReadError(f"{path.name} is a broken .mat file: {said}") from error


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
