"""Trained models on disk: a safetensors file and a card; what does not fit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from bids_brnn.errors import BidsBrnnError, DataError
from bids_brnn.estimators.network.estimator import NetworkEstimator, Spread
from bids_brnn.estimators.network.forward import Precision
from bids_brnn.files import write_bytes, write_text
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.networks import Network, empty_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.card import ModelCard, parameters_from
from bids_brnn.zoo.choice import card_path
from bids_brnn.zoo.places import Found, read_cards, weight_folders
from bids_brnn.zoo.recognition import rotation_from, sketch
from bids_brnn.zoo.weights_file import read_weights

BF16_LIMIT = 0.05
"""Largest error of bf16 arithmetic, in Cramer-Rao standard deviations, at which it is used."""


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model that was read and checked."""

    card: ModelCard
    network: Network
    surrogate: SurrogateModel
    sketch: Tensor
    """Of the basis of training, see :mod:`bids_brnn.zoo.recognition`."""
    basis: Tensor | None
    """``(N, R)``: turns time frames into coefficients. None in files of earlier versions."""
    errors: ErrorNetwork | None = None
    """What knows the errors of the network. None in files of earlier versions."""

    def estimator(
        self,
        *,
        subspace: Subspace | None = None,
        parameters: ParameterSet | None = None,
        precision: Precision | None = None,
        spread: Spread | None = None,
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
        self, *, precision: Precision | None = None, spread: Spread | None = None
    ) -> NetworkEstimator:
        """The estimator for coefficients exactly as in training."""
        return self._build(None, None, precision, spread)

    def _build(
        self,
        rotation: Tensor | None,
        parameters: ParameterSet | None,
        precision: Precision | None,
        spread: Spread | None,
    ) -> NetworkEstimator:
        model = self.surrogate
        if parameters is not None:
            model = replace(model, parameters=parameters)
        if precision is None:
            precision = "bf16" if self.card.bf16_error < BF16_LIMIT else "float32"
        return NetworkEstimator(
            self.network,
            model,
            rotation=rotation,
            precision=precision,
            spread=spread or ("jacobian" if self.errors is None else "learnt"),
            errors=self.errors,
            std_kind="rmse" if self.errors is not None and self.card.is_biased else "std",
            error_names=tuple(self.card.errors.get("outputs", ())),
            lowest_snr=self.card.snr_range[0],
            least_signal=self.card.thresholds.get("signal", 0.0),
            support={name: (pair[0], pair[1]) for name, pair in self.card.support.items()},
            typical_residual=self.card.thresholds["residual"],
            typical_inputs=self.card.thresholds["inputs"],
        )


def save_model(
    folder: Path,
    card: ModelCard,
    network: Network,
    surrogate: SurrogateModel,
    subspace: Subspace,
    errors: ErrorNetwork | None = None,
) -> Path:
    """Write weights and card into ``folder``; the card last, so that it never lacks its weights.

    The basis is stored with them, so that time frames can be mapped. An evaluation of the same
    weights that lies in the folder stays.
    """
    tensors = {
        **{f"network.{key}": value for key, value in network.state_dict().items()},
        **{f"surrogate.{key}": value for key, value in surrogate.network.state_dict().items()},
        **{
            f"errors.{key}": value
            for key, value in ({} if errors is None else errors.state_dict()).items()
        },
        "sketch": torch.view_as_real(sketch(subspace)),
        "basis": torch.view_as_real(subspace.basis.to(torch.complex64)),
    }
    content = save_bytes({key: value.contiguous().cpu() for key, value in tensors.items()})
    card = replace(card, weights_sha256=hashlib.sha256(content).hexdigest())
    path = folder / f"{card.name}.json"
    write_bytes(path.with_name(f"{card.name}.safetensors"), content)
    write_text(path, _with_earlier_evaluation(path, card).to_json())
    return path


def _with_earlier_evaluation(path: Path, card: ModelCard) -> ModelCard:
    try:
        earlier = ModelCard.from_file(path)
    except BidsBrnnError:
        return card
    if card.evaluation or earlier.weights_sha256 != card.weights_sha256:
        return card
    return card.with_evaluation(earlier.evaluation)


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
    arrays = read_weights(path, card)
    tensors = {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
    return _assemble(card, tensors, path.with_suffix(".safetensors"))


def _assemble(card: ModelCard, tensors: Mapping[str, Tensor], weights: Path) -> StoredModel:
    parameters = parameters_from(card.parameters)
    network = empty_network(NetworkSpec.from_dict(card.network))
    _fill(network, "network.", tensors, weights, card)
    rank = network.spec.n_coefficients
    about = card.surrogate
    body = SurrogateNetwork.of(
        parameters,
        rank,
        int(about["width"]),
        int(about["blocks"]),
        logarithmic=about.get("logarithmic", ()),
        harmonics=int(about.get("harmonics", 0)),
    )
    _fill(body, "surrogate.", tensors, weights, card)
    errors = _errors(card, network.n_features)
    if errors is not None:
        _fill(errors, "errors.", tensors, weights, card)
    for module in (network, body, errors):
        if module is not None:
            module.eval().requires_grad_(False)
    basis = tensors.get("basis")
    return StoredModel(
        card,
        network,
        SurrogateModel(body, parameters, bool(about["conjugate"])),
        torch.view_as_complex(tensors["sketch"]),
        None if basis is None else torch.view_as_complex(basis),
        errors,
    )


def _errors(card: ModelCard, n_features: int) -> ErrorNetwork | None:
    about = card.errors
    if not about:
        return None
    shape = int(about["width"]), int(about["blocks"])
    return ErrorNetwork(n_features, len(about["outputs"]), *shape)


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


def list_cards(where: Iterable[Path] | None = None) -> Found:
    """Cards of all models in the folders, sorted by name within each folder.

    Files that are no card are left out; :func:`bids_brnn.zoo.places.read_cards` names them.

    Raises
    ------
    ReadError
        If a folder of the environment variable is absent.
    """
    return read_cards(weight_folders() if where is None else where)[0]
