"""Tensors in safetensors files: nothing in them can run code, and none is ever half-written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bids_brnn.errors import ReadError
from bids_brnn.files import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace the file in one step; several processes may write it.

    Raises
    ------
    OutputError
        If the folder cannot be written or is full; the file is then as it was.
    """
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, dict(metadata))
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, however large the tensors are.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ReadError
        If it is broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ReadError(f"{path} is broken ({error}); delete it") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors by name; errors as of :func:`read_metadata`."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise ReadError(f"{path} is broken ({error}); delete it") from error
