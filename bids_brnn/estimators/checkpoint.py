"""Partial results on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bids_brnn
from bids_brnn.errors import ReadError
from bids_brnn.estimators.voxels import blocks
from bids_brnn.signals.base import SignalModel
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors

_log = logging.getLogger(__name__)
_HASH_BLOCK = 65536


@dataclass
class Checkpoint:
    """Where and how often an estimator keeps its partial result.

    The file is replaced in one step, so it is whole whenever the process dies. It is used only by
    a run with the same data, options, model and program version; the caller deletes it when the
    result itself is safe.
    """

    path: Path
    interval: float = 120.0
    """Least number of seconds between two writes."""
    _written: float = field(default_factory=time.monotonic, repr=False)

    def load(self, key: str) -> dict[str, Tensor]:
        """Tensors of an earlier run with the same ``key``; empty if there are none."""
        try:
            if read_metadata(self.path).get("key") != key:
                _log.warning("%s belongs to another run; starting afresh", self.path)
                return {}
            # Copied: in the file, numbers lie where complex128 must not.
            return {name: value.clone() for name, value in read_tensors(self.path).items()}
        except FileNotFoundError:
            return {}
        except ReadError as error:
            _log.warning("%s; starting afresh", error)
            return {}

    def due(self) -> bool:
        """Whether the interval has passed since the last write."""
        return time.monotonic() - self._written >= self.interval

    def save(self, tensors: Mapping[str, Tensor], key: str) -> None:
        """Replace the file in one step.

        Raises
        ------
        OutputError
            If the folder cannot be written or is full; the file is then as it was.
        """
        write_tensors(self.path, tensors, {"key": key})
        self._written = time.monotonic()


def content_key(*parts: object) -> str:
    """Hash of tensors (values, shape, dtype) and of the text of anything else."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            state.update(f"{part.dtype} {tuple(part.shape)};".encode())
            values = part.detach() if part.ndim else part.detach()[None]
            for rows in blocks(len(values), _HASH_BLOCK):
                state.update(values[rows].resolve_conj().contiguous().cpu().numpy().tobytes())
        else:
            state.update(f"{part!r};".encode())
    return state.hexdigest()


def model_key(model: SignalModel) -> str:
    """Hash of the parameters and options of a model, or of what it does where they do not tell.

    The latter, its signal at a few points, is rounded to 5 digits, so that another order of
    summation does not change it.
    """
    parameters = model.parameters
    try:
        return content_key(parameters, describe(model))
    except _OpaqueError:
        pass
    share = torch.tensor([0.31, 0.5, 0.77], dtype=torch.float64)
    signal = model(parameters.from_unit(share[:, None].expand(-1, len(parameters))))
    scaled = torch.view_as_real(signal / signal.norm(dim=-1, keepdim=True))
    return content_key(parameters, torch.round(scaled * 1e5).to(torch.int64))


def run_key(
    estimator: Any,
    data: Tensor,
    known: Mapping[int, Tensor],
    noise: Tensor,
    *parts: object,
    without: Collection[str] = (),
) -> str:
    """Changes with anything that changes the result of a run, or the order of its blocks.

    Parameters
    ----------
    estimator
        A dataclass with a ``model``. Each of its fields counts, so that no option is forgotten; a
        part whose content cannot be told makes the key unique: nothing is taken over then.
    data, known, noise
        What it is given: see ``estimators.voxels``.
    parts
        Whatever else counts.
    without
        Fields that change nothing, or for which ``parts`` stand.
    """
    options = [field.name for field in dataclasses.fields(estimator)]
    try:
        content = [
            (name, describe(getattr(estimator, name)))
            for name in options
            if name != "model" and name not in without
        ]
    except _OpaqueError:
        return uuid.uuid4().hex
    # Another device sums in another order.
    where = (bids_brnn.__version__, data.device.type)
    values = [part for item in sorted(known.items()) for part in item]
    return content_key(where, model_key(estimator.model), content, data, noise, *values, *parts)


class _OpaqueError(TypeError):
    """The content of a value cannot be told."""


def describe(value: object) -> object:
    """The content of a value in a form whose text is the same in every process.

    Raises
    ------
    TypeError
        If that cannot be told from its fields.
    """
    digest = getattr(value, "digest", None)
    if isinstance(digest, str):
        return (type(value).__name__, digest)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if field.compare]
        parts = tuple((field.name, describe(getattr(value, field.name))) for field in fields)
        return (type(value).__qualname__, parts)
    if isinstance(value, nn.Module):
        # Weights do not tell how the layers are wired; the description of a network does.
        parts = tuple((name, content_key(part)) for name, part in value.state_dict().items())
        return (type(value).__qualname__, describe(getattr(value, "spec", None)), parts)
    if isinstance(value, np.ndarray):
        return describe(torch.from_numpy(value))
    if isinstance(value, Tensor):
        return content_key(value)
    if value is None or isinstance(value, str | bool | int | float | complex):
        return repr(value)
    if isinstance(value, Mapping):
        return tuple((repr(key), describe(part)) for key, part in sorted(value.items()))
    if isinstance(value, Sequence):
        return tuple(describe(part) for part in value)
    raise _OpaqueError(f"a {type(value).__name__} does not tell its content")
