"""Dictionaries on disk under a key of their content, safe for many jobs at once."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import bids_brnn
from bids_brnn.estimators.checkpoint import content_key, model_key
from bids_brnn.estimators.dictionary.atoms import Dictionary
from bids_brnn.signals.base import SignalModel

_log = logging.getLogger(__name__)
_FORMAT = 1


def dictionary_key(model: SignalModel, theta: Tensor, rank: int | None, dtype: torch.dtype) -> str:
    """Changes with the sequence, every option of the model, the atoms and the version."""
    options = (rank, str(dtype))
    return content_key(_FORMAT, bids_brnn.__version__, model_key(model), options, theta)[:32]


def load(folder: Path, key: str, device: torch.device) -> Dictionary | None:
    """The stored dictionary, or None if there is none that can be read."""
    path = _path(folder, key)
    try:
        with safe_open(path, framework="pt", device=str(device)) as stored:
            # Copied: in the file, numbers lie where complex128 must not.
            parts = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
        return Dictionary(
            parts["theta"],
            torch.view_as_complex(parts["coefficients"]),
            _from_parts(parts.get("basis")),
        )
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        _log.warning("the cached dictionary %s is unreadable (%s); making it again", path, error)
        return None


def store(folder: Path, key: str, dictionary: Dictionary) -> Dictionary:
    """Put a dictionary into the cache; of several jobs that do, all use the first one's.

    A folder that cannot be written costs time, not the result, and is only warned of.
    """
    path = _path(folder, key)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    parts = {
        "theta": dictionary.theta,
        "coefficients": torch.view_as_real(dictionary.coefficients),
        "basis": _to_parts(dictionary.basis),
    }
    tensors = {name: part.cpu().contiguous() for name, part in parts.items() if part is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        winner = load(folder, key, dictionary.theta.device)
        if winner is not None:
            temporary.unlink()
            return winner
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        _log.warning("cannot keep the dictionary in %s (%s)", folder, error)
    return dictionary


def _path(folder: Path, key: str) -> Path:
    return folder / f"dictionary-{key}.safetensors"


def _to_parts(values: Tensor | None) -> Tensor | None:
    """Complex numbers get a last axis of two, real ones of one."""
    if values is None:
        return None
    return torch.view_as_real(values) if values.is_complex() else values[..., None]


def _from_parts(parts: Tensor | None) -> Tensor | None:
    if parts is None:
        return None
    if parts.shape[-1] == 1:
        return parts[..., 0]
    return torch.view_as_complex(parts)
