"""Safetensors files, written in one step and with a checksum of everything in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bids_brnn.errors import ReadError
from bids_brnn.files import check_regular, replacing

if TYPE_CHECKING:
    from torch import Tensor

_DIGEST = "content"
"""Key in the metadata of a safetensors file: SHA-256 of everything else in it."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace a safetensors file in one step; several processes may write it.

    Nothing in such a file can run code, and damage to it is noticed when it is read.

    Raises
    ------
    OutputError
        If the folder cannot be written or is full; the file is then as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {**metadata, _DIGEST: _digest_of(whole, metadata)}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, about)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file alone, however large its tensors are.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ReadError
        If it is broken.
    """
    return _read(path, tensors=False)[1]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file by name; errors as of :func:`read_metadata`."""
    return _read(path, tensors=True)[0]


def _read(path: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            digest = about.pop(_DIGEST, None)  # files of earlier versions have none
            names = file.keys() if tensors else ()
            found = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ReadError(f"{path} is broken ({error}); delete it") from error
    if tensors and digest not in (None, _digest_of(found, about)):
        raise ReadError(f"{path} is broken (other SHA-256); delete it")
    return found, about


def _digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    state = hashlib.sha256(repr(sorted(metadata.items())).encode("utf-8", "surrogatepass"))
    for name, value in sorted(tensors.items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        # NumPy knows no narrower ones; as float32 they keep their values.
        narrow = value.is_floating_point() and value.element_size() < 4
        plain = (value.float() if narrow else value).resolve_conj().reshape(-1)
        state.update(plain.numpy().data)
    return state.hexdigest()
