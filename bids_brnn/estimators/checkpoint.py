"""Partial results on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bids_brnn.estimators.voxels import blocks
from bids_brnn.files import replacing
from bids_brnn.signals.base import SignalModel

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
            with safe_open(self.path, framework="pt") as stored:
                if (stored.metadata() or {}).get("key") != key:
                    _log.warning("%s belongs to another run; starting afresh", self.path)
                    return {}
                return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return {}
        except (SafetensorError, OSError) as error:
            _log.warning("%s is unreadable (%s); starting afresh", self.path, error)
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
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with replacing(self.path) as temporary:
            try:
                save_file(whole, temporary, {"key": key})
            except SafetensorError as error:
                raise OSError(str(error)) from error
        self._written = time.monotonic()


def content_key(*parts: object) -> str:
    """Hash of tensors (values, shape, dtype) and of the text of anything else."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            state.update(f"{part.dtype} {tuple(part.shape)};".encode())
            flat = part.detach().reshape(part.shape[0] if part.ndim else 1, -1)
            for rows in blocks(flat.shape[0], _HASH_BLOCK):
                state.update(flat[rows].resolve_conj().contiguous().cpu().numpy().tobytes())
        else:
            state.update(f"{part!r};".encode())
    return state.hexdigest()


def model_key(model: SignalModel) -> str:
    """Hash of what a model does: its parameters and its signal at a few points.

    Rounded to 5 digits, so that another order of summation does not change it.
    """
    parameters = model.parameters
    share = torch.tensor([0.31, 0.5, 0.77], dtype=torch.float64)
    signal = model(parameters.from_unit(share[:, None].expand(-1, len(parameters))))
    scaled = torch.view_as_real(signal / signal.norm(dim=-1, keepdim=True))
    return content_key(parameters, torch.round(scaled * 1e5).to(torch.int64))
