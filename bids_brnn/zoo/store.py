"""Trained models on disk: a safetensors file and a card; what does not fit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from bids_brnn.errors import DataError, ReadError
from bids_brnn.estimators.network.estimator import NetworkEstimator, Precision, Spread
from bids_brnn.files import write_bytes, write_text
from bids_brnn.learning.networks import CoefficientNetwork, NetworkSpec, build_network
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.card import ModelCard, parameters_from
from bids_brnn.zoo.choice import WEIGHTS_VARIABLE, card_path, weight_folders
from bids_brnn.zoo.recognition import rotation_from, sketch

BF16_LIMIT = 0.05
"""Largest error of bf16 arithmetic, in Cramer-Rao standard deviations, at which it is used."""


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model that was read and checked."""

    card: ModelCard
    network: CoefficientNetwork
    surrogate: SurrogateModel
    sketch: Tensor
    """Of the basis of training, see :mod:`bids_brnn.zoo.recognition`."""
    basis: Tensor | None
    """``(N, R)``, for pulse trains of our own: turns time frames into coefficients."""

    def estimator(
        self,
        *,
        subspace: Subspace | None = None,
        parameters: ParameterSet | None = None,
        precision: Precision | None = None,
        spread: Spread = "jacobian",
    ) -> NetworkEstimator:
        """The estimator for coefficients in ``subspace``, or for time frames without it.

        Raises
        ------
        DataError
            If the subspace is another one, or time frames cannot be compressed.
        """
        if subspace is not None:
            rotation = rotation_from(subspace, self.sketch, f'the model "{self.card.name}"')
        elif self.basis is not None:
            rotation = self.basis.conj()
        else:
            raise DataError(
                f'the model "{self.card.name}" takes coefficients and holds no basis; give the '
                "basis of the data"
            )
        return self._build(rotation, parameters, precision, spread)

    def estimator_in_training_basis(
        self, *, precision: Precision | None = None, spread: Spread = "jacobian"
    ) -> NetworkEstimator:
        """The estimator for coefficients exactly as in training."""
        return self._build(None, None, precision, spread)

    def _build(
        self,
        rotation: Tensor | None,
        parameters: ParameterSet | None,
        precision: Precision | None,
        spread: Spread,
    ) -> NetworkEstimator:
        model = self.surrogate
        if parameters is not None:
            model = replace(model, parameters=parameters)
        if precision is None:
            error = self.card.evaluation.get("bf16_error_over_crb_std", float("inf"))
            precision = "bf16" if error < BF16_LIMIT else "float32"
        return NetworkEstimator(
            self.network,
            model,
            rotation=rotation,
            precision=precision,
            spread=spread,
            lowest_snr=self.card.snr_range[0],
            typical_residual=self.card.thresholds["residual"],
            typical_inputs=self.card.thresholds["inputs"],
        )


def save_model(
    folder: Path,
    card: ModelCard,
    network: CoefficientNetwork,
    surrogate: SurrogateModel,
    subspace: Subspace,
    *,
    keep_basis: bool,
) -> Path:
    """Write weights and card into ``folder``; the card last, so that it never lacks its weights.

    ``keep_basis`` stores the basis too, with which time frames can be mapped.
    """
    tensors = {
        **{f"network.{key}": value for key, value in network.state_dict().items()},
        **{f"surrogate.{key}": value for key, value in surrogate.network.state_dict().items()},
        "sketch": torch.view_as_real(sketch(subspace)),
    }
    if keep_basis:
        tensors["basis"] = torch.view_as_real(subspace.basis.to(torch.complex64))
    content = save_bytes({key: value.contiguous().cpu() for key, value in tensors.items()})
    card = replace(card, weights_sha256=hashlib.sha256(content).hexdigest())
    write_bytes(folder / f"{card.name}.safetensors", content)
    path = folder / f"{card.name}.json"
    write_text(path, card.to_json())
    return path


def load_model(reference: str | Path) -> StoredModel:
    """Read a model by the name of a shipped one, or by the path of its card or weights.

    Raises
    ------
    ReadError
        If a file is absent, truncated, or not the one that the card describes.
    DataError
        If weights are not finite or have another shape than the card says.
    """
    path = card_path(reference)
    card = ModelCard.from_file(path)
    weights = path.with_suffix(".safetensors")
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot read {weights}, the weights of {path.name}: {error}") from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ReadError(
            f"{weights} is not the file that {path.name} describes (other SHA-256); copy both "
            f"again, or train the model with: {card.command}"
        )
    try:
        tensors = load_bytes(content)
    except SafetensorError as error:
        raise ReadError(f"{weights} is not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"{weights}: {name} holds NaN or infinite values; train again: {card.command}"
            )
    return _assemble(card, tensors, weights)


def _assemble(card: ModelCard, tensors: Mapping[str, Tensor], weights: Path) -> StoredModel:
    parameters = parameters_from(card.parameters)
    network = build_network(NetworkSpec.from_dict(card.network))
    _fill(network, "network.", tensors, weights, card)
    rank = network.spec.n_coefficients
    body = SurrogateNetwork(
        len(parameters), rank, int(card.surrogate["width"]), int(card.surrogate["blocks"])
    )
    _fill(body, "surrogate.", tensors, weights, card)
    for module in (network, body):
        module.eval().requires_grad_(False)
    if "sketch" not in tensors or tensors["sketch"].shape[1] != rank:
        raise DataError(f"{weights} lacks the sketch of its basis; train again: {card.command}")
    basis = tensors.get("basis")
    return StoredModel(
        card,
        network,
        SurrogateModel(body, parameters, bool(card.surrogate["conjugate"])),
        torch.view_as_complex(tensors["sketch"]),
        None if basis is None else torch.view_as_complex(basis),
    )


def _fill(
    module: nn.Module, prefix: str, tensors: Mapping[str, Tensor], path: Path, card: ModelCard
) -> None:
    state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(
            f"{path} does not have the shape that its card describes; train again: {card.command}"
        ) from error


def list_cards(where: Iterable[Path] | None = None) -> list[tuple[Path, ModelCard]]:
    """Cards of all models in the folders, sorted by name within each folder.

    Raises
    ------
    ReadError
        If a folder is absent or a card cannot be read.
    """
    found = []
    for folder in weight_folders() if where is None else where:
        if not folder.is_dir():
            raise ReadError(
                f"the folder of models {folder} does not exist; see {WEIGHTS_VARIABLE}"
            )
        for path in sorted(folder.glob("*.json"), key=lambda item: item.stem):
            found.append((path, ModelCard.from_file(path)))
    return found
