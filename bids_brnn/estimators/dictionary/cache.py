"""Dictionaries on disk under a key of their content, safe for many jobs at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import bids_brnn
from bids_brnn.errors import OutputError, ReadError
from bids_brnn.estimators.checkpoint import content_key, model_key
from bids_brnn.estimators.dictionary.atoms import Dictionary
from bids_brnn.estimators.dictionary.interpolant import Axis, Interpolant
from bids_brnn.signals.base import SignalModel
from bids_brnn.tensor_files import read_tensors, write_tensors

_log = logging.getLogger(__name__)
_FORMAT = 1
T = TypeVar("T")


def dictionary_key(model: SignalModel, theta: Tensor, rank: int | None, dtype: torch.dtype) -> str:
    """Changes with the sequence, every option of the model, the atoms and the version."""
    options = (rank, str(dtype))
    return content_key(_FORMAT, bids_brnn.__version__, model_key(model), options, theta)[:32]


def interpolant_key(model: SignalModel, axes: tuple[Axis, ...]) -> str:
    """Changes with the sequence, every option of the model, the box and the version."""
    return content_key(_FORMAT, bids_brnn.__version__, model_key(model), axes)[:32]


def load(folder: Path, key: str, device: torch.device) -> Dictionary | None:
    """The stored dictionary, or None if there is none that can be read."""

    def decode(parts: dict[str, Tensor]) -> Dictionary:
        return Dictionary(
            parts["theta"],
            torch.view_as_complex(parts["coefficients"]),
            _from_parts(parts["basis"]) if "basis" in parts else None,
        )

    return _read(_path(folder, "dictionary", key), device, decode)


def store(folder: Path, key: str, dictionary: Dictionary) -> Dictionary:
    """Put a dictionary into the cache; of several jobs that do, all use the first one's.

    A folder that cannot be written costs time, not the result, and is only warned of.
    """
    parts = {
        "theta": dictionary.theta,
        "coefficients": torch.view_as_real(dictionary.coefficients),
        "basis": _to_parts(dictionary.basis),
    }
    path = _path(folder, "dictionary", key)
    if _write(path, parts, lambda: load(folder, key, dictionary.theta.device) is not None):
        return dictionary
    return load(folder, key, dictionary.theta.device) or dictionary


def load_interpolant(folder: Path, key: str, axes: tuple[Axis, ...]) -> Interpolant | None:
    """The stored interpolant, or None if there is none that can be read."""

    def decode(parts: dict[str, Tensor]) -> Interpolant:
        real, imag = parts["phase"].tolist()
        return Interpolant(
            axes,
            _from_parts(parts["series"]),
            complex(real, imag),
            _from_parts(parts["basis"]) if "basis" in parts else None,
        )

    return _read(_path(folder, "interpolant", key), torch.device("cpu"), decode)


def store_interpolant(folder: Path, key: str, made: Interpolant) -> Interpolant:
    """Put an interpolant into the cache; as :func:`store`. What is returned is what lies there."""
    phase = torch.tensor([made.phase.real, made.phase.imag], dtype=torch.float64)
    parts = {"series": _to_parts(made.series), "phase": phase, "basis": _to_parts(made.basis)}
    path = _path(folder, "interpolant", key)
    _write(path, parts, lambda: load_interpolant(folder, key, made.axes) is not None)
    return load_interpolant(folder, key, made.axes) or made


def _read(path: Path, device: torch.device, decode: Callable[[dict[str, Tensor]], T]) -> T | None:
    try:
        # Copied: in the file, numbers lie where complex128 must not.
        found = {name: value.clone().to(device) for name, value in read_tensors(path).items()}
        return decode(found)
    except FileNotFoundError:
        return None
    except (ReadError, KeyError, ValueError, IndexError, RuntimeError) as error:
        _log.warning("the cached dictionary %s is unreadable (%s); making it again", path, error)
        return None


def _write(path: Path, parts: Mapping[str, Tensor | None], there: Callable[[], bool]) -> bool:
    """Whether this job's is the one that counts from now on: no other one was ``there``."""
    if there():
        return False
    try:
        write_tensors(path, {name: part for name, part in parts.items() if part is not None}, {})
    except OutputError as error:
        _log.warning("cannot keep the dictionary in %s (%s)", path.parent, error)
    return True


def _path(folder: Path, kind: str, key: str) -> Path:
    return folder / f"{kind}-{key}.safetensors"


def _to_parts(values: Tensor | None) -> Tensor | None:
    """Complex numbers get a last axis of two, real ones of one."""
    if values is None:
        return None
    return torch.view_as_real(values) if values.is_complex() else values[..., None]


def _from_parts(parts: Tensor) -> Tensor:
    if parts.shape[-1] == 1:
        return parts[..., 0]
    return torch.view_as_complex(parts)
