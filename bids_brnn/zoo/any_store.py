"""Weights of a network for any protocol of Z-spectra, and the network of one protocol."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save as save_bytes
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.files import write_bytes, write_text
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.scoring import ScoringSteps
from bids_brnn.learning.scoring_network import ScoringNetwork, scoring_spec
from bids_brnn.signals.base import SignalModel
from bids_brnn.zoo.any_card import AnyCard
from bids_brnn.zoo.weights_file import read_arrays


@dataclass(frozen=True, eq=False)
class StoredAny:
    """A network that was read and checked."""

    card: AnyCard
    tensors: dict[str, Tensor]

    def network_of(self, model: SignalModel) -> ScoringNetwork:
        """The network for the protocol of a signal model, whose images have the same noise."""
        steps = ScoringSteps.of(model)
        spec = scoring_spec(
            model.n_samples,
            is_divided=steps.is_divided,
            width=self.card.width,
            blocks=self.card.blocks,
        )
        network = ScoringNetwork(spec)
        state = {f"steps.{name}": value for name, value in steps.state_dict().items()}
        network.load_state_dict({**state, **self._part("network")})
        return network.eval().requires_grad_(False)

    def errors(self) -> ErrorNetwork:
        """What knows its errors, in every protocol."""
        shape = self.card.errors["width"], self.card.errors["blocks"]
        n_features = len(self.tensors["network.input_centre"]) + len(self.card.outputs)
        found = ErrorNetwork(n_features, len(self.card.outputs), *shape)
        found.load_state_dict(self._part("errors"))
        return found.eval().requires_grad_(False)

    def _part(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def save_any(folder: Path, card: AnyCard, network: ScoringNetwork, errors: ErrorNetwork) -> Path:
    """Write weights and card into ``folder``; the card last. The steps of a protocol are left out.

    Returns
    -------
    Path
        The card.
    """
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state |= {f"errors.{name}": value for name, value in errors.state_dict().items()}
    content = save_bytes({name: state[name].contiguous().cpu() for name in card.shapes()})
    card = replace(card, weights_sha256=hashlib.sha256(content).hexdigest())
    path = folder / f"{card.name}.json"
    write_bytes(path.with_suffix(".safetensors"), content)
    write_text(path, card.to_json())
    return path


def load_any(path: Path) -> StoredAny:
    """Read card and weights.

    Raises
    ------
    ReadError
        If a file is absent, or not the one that the card describes.
    DataError
        If an array is absent, or has another shape than the card says.
    """
    card = AnyCard.from_file(path)
    arrays = read_arrays(path, card.weights_sha256, card.command)
    wanted = card.shapes()
    wrong = [name for name in wanted if name not in arrays or arrays[name].shape != wanted[name]]
    if wrong or set(arrays) != set(wanted):
        raise DataError(
            f"{path.with_suffix('.safetensors')} does not have the shape that its card describes "
            f"({(wrong or sorted(set(arrays) - set(wanted)))[0]}); train again: {card.command}"
        )
    return StoredAny(
        card, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    )
