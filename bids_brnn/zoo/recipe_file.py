"""The files of a recipe: JSON, and arrays beside it; checked before anything is made of them.

A protocol that lies in a shared folder of networks is such a file, and may come from anybody.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import ReadError
from bids_brnn.system.kinds import (
    Flag,
    ListOf,
    Number,
    Optional,
    Table,
    Text,
    Whole,
    abridged,
    problem,
)
from bids_brnn.system.reading import parse_json, read_bounded

FORMAT = 1
"""Version of the file layout."""
_MAX_JSON = 2**20  # bytes
_MAX_ARRAYS = 2**28  # bytes, unpacked: twice a basis of 200,000 rows, 40 complex columns
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_HEADER = 4096  # bytes before the numbers of an array
_NO_HEADER = (TokenError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError)
_SECONDS = Number(0, 1e4, "s")
_NAMES = ListOf(Text(), most=64)
_CONTENT = Table(
    {
        "format": Whole(0, 10**6),
        "estimator": Text(),
        "estimator_options": Table(),
        "model": Text(),
        "model_options": Table(),
        "supplied": _NAMES,
        "weights": Text(longest=4096),
        "weights_sha256": Text(),
        "magnitude": Flag(),
        "arrays": Text(),
        "digest": Text(),
        "sequence_name": Text(longest=4096),
    },
    {
        "spreads": _NAMES,
        "loss": Table(),
        "training": Table(),
        "start": Text(),
        "zspectrum": Table(
            {
                "pulse": Table(
                    {"shape": Text(), "duration": _SECONDS},
                    {"bandwidth": Optional(Number(0, 1e9, "Hz"))},
                ),
                "flip_angle": Number(0, 10, "rad"),
                "repetition_time": _SECONDS,
            },
            {"mt_delay": _SECONDS, "excitation_duration": _SECONDS, "normalised": Flag()},
        ),
    },
)


def read_recipe(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a recipe says, and its arrays by name.

    Raises
    ------
    ReadError
        If a file is absent, broken, or the arrays are not those of the JSON.
    """
    try:
        content = parse_json(read_bounded(path, _MAX_JSON), finite=False)
        if why := problem(_CONTENT, content, "it"):
            raise ValueError(why)
        if content["format"] != FORMAT:
            raise ReadError(
                f"{path} has recipe format {content['format']}, this program reads {FORMAT}; "
                "delete it and run again."
            )
        beside = Path(content["arrays"]).name
        arrays = _read_arrays(path.parent / beside)
    except (OSError, ValueError) as error:
        raise unusable(path, error) from error
    if digest_of(arrays) != content["digest"]:
        raise ReadError(f"{beside} does not belong to {path}; delete both and run again.")
    return content, arrays


def unusable(path: Path, error: Exception) -> ReadError:
    """The error for a recipe that nothing can be made of."""
    why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return ReadError(f"Cannot read the estimator recipe {path}: {abridged(why)}.")


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file, within limits; never a pickle.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file.
    """
    raw = BytesIO(read_bounded(path, _MAX_ARRAYS))
    try:
        with zipfile.ZipFile(raw) as archive:
            size = sum(item.file_size for item in archive.infolist())
            if size > _MAX_ARRAYS:
                raise ValueError(f"{path.name} holds {size} bytes, more than {_MAX_ARRAYS}")
            if any(item.compress_type not in _PACKED for item in archive.infolist()):
                raise ValueError(f"{path.name} is packed as NumPy packs nothing")
            return {
                item.filename.removesuffix(".npy"): _array(archive.read(item))
                for item in archive.infolist()
            }
    # Damaged archives end in any of these; what an archive says of sizes it checks itself.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def _array(content: bytes) -> NDArray[Any]:
    """One array, whose header claims no more than there is."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError("an array has another format than 1.0")
    try:
        shape, _, kind = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
    except _NO_HEADER as error:  # of the parsers that numpy reads it with
        raise ValueError("an array has no header that can be read") from error
    if kind.kind not in "biufcU" or not kind.itemsize:
        raise ValueError("an array holds something else than numbers and texts")
    claimed = kind.itemsize
    for length in shape:
        claimed *= length
    if claimed != len(content) - stream.tell():
        raise ValueError("an array is shorter or longer than its header says")
    stream.seek(0)
    found: NDArray[Any] = np.lib.format.read_array(
        stream, allow_pickle=False, max_header_size=_MAX_HEADER
    )
    return found


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of arrays, their names, shapes and types."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name}{array.shape}{array.dtype.str}".encode())
        state.update(array.tobytes())
    return state.hexdigest()
