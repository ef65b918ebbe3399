"""State of a training in one safetensors file; nothing in it can run code when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError, ReadError
from bids_brnn.files import read_metadata, read_tensors, write_tensors
from bids_brnn.learning.config import TrainingConfig


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` as they come back from JSON (tuples become lists)."""
    content: dict[str, Any] = json.loads(json.dumps(values))
    return content


def check_origin(
    path: Path, note: Mapping[str, Any], config: TrainingConfig, data_key: str, focus_key: str
) -> None:
    """Refuse a checkpoint that a training by ``config`` cannot go on from.

    It may have been written with fewer stages, and with another focus as long as none of its
    steps had one. Options that are younger than the checkpoint had their default in it.

    Raises
    ------
    DataError
        If the configuration or the fingerprints were others.
    """
    old, new = TrainingConfig.from_dict(note["config"]).to_dict(), config.to_dict()
    begun = new["stages"][: len(old["stages"])]
    if begun != old["stages"] or {**old, "stages": []} != {**new, "stages": []}:
        raise DataError(
            f"{path} belongs to another training configuration; "
            "delete it to start again, or choose another output folder"
        )
    if note.get("data") != data_key or note.get("focus", "") not in ("", focus_key):
        raise DataError(
            f"{path} was trained with other fingerprints (train, basis, prior or focus changed); "
            "delete it to start again, or choose another output folder"
        )


@dataclass(frozen=True)
class SavedTraining:
    """State of a training, as it was read."""

    path: Path
    tensors: Mapping[str, Tensor]
    note: Mapping[str, Any]

    def fill(self, name: str, module: nn.Module) -> None:
        """Load the weights stored under ``name`` into ``module``."""
        prefix = f"{name}."
        state = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ReadError(
                f"{self.path} holds a network of another shape; delete it to start again"
            ) from error

    def rng_state(self) -> Tensor:
        """State of the random generator."""
        return self.tensors["rng"].to(torch.uint8).cpu()

    def fill_optimisers(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Load moments and counters into freshly built ``optimisers``."""
        for number, optimiser in enumerate(optimisers):
            state = optimiser.state_dict()
            prefix = f"optimiser.{number}."
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in self.tensors.items():
                if key.startswith(prefix):
                    index, field = key[len(prefix) :].split(".", 1)
                    entries.setdefault(int(index), {})[field] = value
            optimiser.load_state_dict({**state, "state": entries})


def save(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimisers: Sequence[torch.optim.Optimizer],
    rng: torch.Generator,
    note: Mapping[str, Any],
) -> None:
    """Write weights, optimiser states, random state and ``note`` whole or not at all."""
    tensors: dict[str, Tensor] = {"rng": rng.get_state()}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}.{key}"] = value
    for number, optimiser in enumerate(optimisers):
        for index, entry in optimiser.state_dict()["state"].items():
            for field, value in entry.items():
                tensors[f"optimiser.{number}.{index}.{field}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"note": json.dumps(plain(note))})


def load(path: Path) -> SavedTraining:
    """Read what :func:`save` wrote.

    Raises
    ------
    ReadError
        If the file is truncated or not a checkpoint.
    """
    try:
        note = json.loads(read_metadata(path)["note"])
        return SavedTraining(path, read_tensors(path), note)
    except (ReadError, KeyError, ValueError, OSError) as error:
        raise ReadError(
            f"{path} is not a checkpoint of this program; delete it to start again"
        ) from error
