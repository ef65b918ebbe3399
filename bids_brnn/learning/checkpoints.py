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
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.system.kinds import Kind, ListOf, Number, Real, Table, Text, Whole, problem
from bids_brnn.system.reading import parse_json
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` as they come back from JSON (tuples become lists)."""
    content: dict[str, Any] = json.loads(json.dumps(values))
    return content


def check_origin(
    path: Path, note: Mapping[str, Any], config: TrainingConfig, data_key: str, focus_key: str
) -> None:
    """Refuse a checkpoint that a training by ``config`` cannot go on from.

    It may have been written with fewer stages, with another focus as long as none of its
    steps had one, and in the arithmetic of another processor. Options that are younger than the
    checkpoint had their default in it.

    Raises
    ------
    DataError
        If the configuration or the fingerprints were others.
    """
    old = {**TrainingConfig.from_dict(note["config"]).to_dict(), "precision": config.precision}
    new = config.to_dict()
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


_MOST_STEPS = 10**9
_SHARED: dict[str, Kind] = {
    "config": Table(),
    "data": Text(),
    "step": Whole(0, _MOST_STEPS),
    "seconds": Number(0, 1e12),
}
OF_PROTOCOLS = Table(_SHARED)
"""Note of a training over many protocols (:mod:`bids_brnn.learning.any_spectrum`)."""
_NOTE = Table(
    {
        **_SHARED,
        "draws": Whole(0, 2**63 - 1),
        "history": ListOf(Table(), most=10**7),
        # It may have become infinite, which the next step finds out.
        "loss": ListOf(Real(), 1, 64),
    },
    {"focus": Text()},
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
            raise self._other(f"a network of another shape ({name})") from error

    def set_rng(self, rng: torch.Generator) -> None:
        """Let a generator go on from the state of this one.

        Raises
        ------
        ReadError
            If there is none, or that of another kind of generator.
        """
        state = self.tensors.get("rng", torch.empty(0)).to(torch.uint8).cpu()
        try:
            rng.set_state(state)
        except (RuntimeError, TypeError) as error:
            raise self._other("no state of the random generator") from error

    def losses(self, number: int) -> list[float]:
        """Summed losses of ``number`` outputs since the last report.

        Raises
        ------
        ReadError
            If there are others.
        """
        found: list[float] = self.note["loss"]
        if len(found) != number:
            raise self._other(f"losses of {len(found)} outputs and not of {number}")
        return found

    def fill_optimisers(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Load moments and counters into freshly built ``optimisers``.

        Raises
        ------
        ReadError
            If they belong to other weights.
        """
        for number, optimiser in enumerate(optimisers):
            state = optimiser.state_dict()
            prefix = f"optimiser.{number}."
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in self.tensors.items():
                if key.startswith(prefix):
                    index, _, name = key[len(prefix) :].partition(".")
                    entries.setdefault(_whole(index), {})[name] = value
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            if not _suit(entries, weights):
                raise self._other("moments of other weights")
            optimiser.load_state_dict({**state, "state": entries})

    def _other(self, what: str) -> ReadError:
        return ReadError(f"{self.path} holds {what}; delete it to start again")


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _fits(value: Tensor, weight: Tensor) -> bool:
    if value.ndim == 0:  # a number of steps
        return not value.is_complex() and 0 <= float(value) < _MOST_STEPS
    return value.shape == weight.shape and not value.is_complex()


def _suit(entries: Mapping[int, Mapping[str, Tensor]], weights: Sequence[Tensor]) -> bool:
    """Whether moments have the shape of their weights, and the same names for all of them."""
    if not entries:  # no step was made yet
        return True
    return (
        entries.keys() <= set(range(len(weights)))
        and len({frozenset(entry) for entry in entries.values()}) == 1
        and all(
            _fits(value, weights[index])
            for index, entry in entries.items()
            for value in entry.values()
        )
    )


def save(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimisers: Sequence[torch.optim.Optimizer],
    rng: Tensor,
    note: Mapping[str, Any],
) -> None:
    """Write weights, optimiser states, state of chance and ``note`` whole or not at all."""
    tensors: dict[str, Tensor] = {"rng": rng}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}.{key}"] = value
    for number, optimiser in enumerate(optimisers):
        for index, entry in optimiser.state_dict()["state"].items():
            for field, value in entry.items():
                tensors[f"optimiser.{number}.{index}.{field}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"note": json.dumps(plain(note))})


def load(path: Path, kind: Table = _NOTE) -> SavedTraining:
    """Read what :func:`save` wrote, with a note of this ``kind``.

    Raises
    ------
    ReadError
        If the file is truncated or not a checkpoint.
    """
    try:
        note = parse_json(read_metadata(path)["note"].encode("utf-8"), finite=False)
        tensors = read_tensors(path)
    except (ReadError, KeyError, ValueError, OSError) as error:
        raise _no_checkpoint(path, str(error)) from error
    if why := problem(kind, note, "its note"):
        raise _no_checkpoint(path, why)
    return SavedTraining(path, tensors, note)


def _no_checkpoint(path: Path, why: str) -> ReadError:
    return ReadError(
        f"{path} is not a checkpoint of this program ({why}); delete it to start again"
    )
