"""From a signal model, a prior and a configuration to a stored model, in resumable steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import torch
from torch import nn

from bids_brnn.errors import ReadError
from bids_brnn.experiments.describe import describe
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.fingerprints import (
    anywhere,
    data_key,
    focus_data,
    focus_key,
    training_data,
)
from bids_brnn.files import make_folder
from bids_brnn.learning.beside import beside
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.error_network import ErrorNetwork, train_error_network
from bids_brnn.learning.networks import CoefficientNetwork, Network, build_network
from bids_brnn.learning.run import Row
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.learning.surrogate_training import train_surrogate
from bids_brnn.learning.trainer import TrainingResult, train
from bids_brnn.learning.training_set import Progress as SimulationProgress
from bids_brnn.learning.training_set import TrainingSet, cached_tensors, description_key
from bids_brnn.tensor_files import write_tensors
from bids_brnn.zoo.store import save_model

_N = TypeVar("_N", bound=nn.Module)
_ANYWHERE = 2**17
"""Fingerprints between all bounds that a surrogate is trained on, at most: five seconds of qMT."""
SURROGATE: Mapping[str, Any] = {"width": 128, "blocks": 3, "steps": 4000, "harmonics": 24}
ERRORS: Mapping[str, Any] = {"width": 128, "blocks": 2, "steps": 6000}
"""Size and training of these networks where a configuration says nothing."""
COMPARISON = "-msecrb"
"""Added to the name of the network as it was after the MSE-CRB stages."""


@dataclass(frozen=True)
class Progress:
    """Where :func:`make_models` reports to."""

    simulation: SimulationProgress | None = None
    training: Callable[[str, Row], None] | None = None
    surrogate: Callable[[int, float], None] | None = None
    errors: Callable[[int, float], None] | None = None


def make_models(
    experiment: Experiment,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Path]:
    """Simulate, train and store; a second call goes on where an interrupted one stopped.

    The stages before the first one that is not ``mse`` or ``mse-crb`` make the comparison
    network (``NAME-msecrb``), the following ones go on from it.

    Returns
    -------
    list of Path
        Cards in ``folder``; the model of the last stage first.
    """
    make_folder(folder)
    progress = progress or Progress()
    data, held_out = training_data(experiment, folder, progress.simulation)
    data = data.to(device)
    network = build_network(experiment.spec, seed=experiment.training.seed).to(device)
    with beside(torch.device(device), share=0) as (start, left):
        imitated = start(lambda: _surrogate(experiment, data, folder, progress, left))
        trained = _trained(experiment, network, data, held_out, folder, progress)
        surrogate = imitated()
    surrogate.network.to("cpu")
    cards, before = [], 0
    for name, config, result in trained:
        errors = _errors(experiment, name, config, result.network, data, folder, progress)
        for module in (result.network, errors):
            module.to("cpu")
        card = describe(
            experiment, name, config, result, surrogate, held_out, errors, data, device
        )
        card = replace(card, training={**card.training, "draws_before": before})
        before += result.draws
        cards.append(
            save_model(folder, card, result.network, surrogate, experiment.subspace, errors)
        )
    return cards[::-1]


def _trained(
    experiment: Experiment,
    network: CoefficientNetwork,
    data: TrainingSet,
    held_out: TrainingSet,
    folder: Path,
    progress: Progress,
) -> list[tuple[str, TrainingConfig, TrainingResult]]:
    """Networks after each part of the training, the comparison network first."""
    focus = focus_data(experiment, folder, progress.simulation)
    trained = []
    for name, config in _parts(experiment):
        result = train(
            network,
            data,
            experiment.parameters,
            config,
            held_out=held_out,
            focus=focus,
            checkpoint=folder / f"{name}.checkpoint.safetensors",
            data_key=data_key(experiment),
            focus_key=focus_key(experiment),
            log=_logger(progress, name),
        )
        trained.append((name, config, replace(result, network=copy.deepcopy(result.network))))
    return trained


def _parts(experiment: Experiment) -> list[tuple[str, TrainingConfig]]:
    stages = experiment.training.stages
    simple = [stage.loss.name in ("mse", "mse-crb") for stage in stages]
    border = simple.index(False) if False in simple else 0
    whole = experiment.training
    if border == 0:
        return [(experiment.name, whole)]
    return [
        (experiment.name + COMPARISON, replace(whole, stages=stages[:border])),
        (experiment.name, replace(whole, stages=stages[border:])),
    ]


def _logger(progress: Progress, name: str) -> Callable[[Row], None] | None:
    sink = progress.training
    return None if sink is None else lambda row: sink(name, row)


def _surrogate(
    experiment: Experiment, data: TrainingSet, folder: Path, progress: Progress, left: Event
) -> SurrogateModel:
    """The surrogate of the signal, cached; ``left`` is set when nobody waits for it any more."""
    options = {**SURROGATE, **experiment.surrogate}
    path = folder / "surrogate.safetensors"
    key = description_key({"data": data_key(experiment), "anywhere": _ANYWHERE, **options})
    saved = cached_network(
        path,
        key,
        lambda: SurrogateNetwork.of(
            experiment.parameters,
            experiment.subspace.rank,
            options["width"],
            options["blocks"],
            harmonics=options["harmonics"],
        ),
    )
    if saved is not None:
        return SurrogateModel(saved, experiment.parameters, experiment.training.conjugate)
    elsewhere = anywhere(experiment, min(len(data), _ANYWHERE))
    device = data.theta.device

    def log(step: int, error: float) -> None:
        if left.is_set():
            raise CancelledError
        if progress.surrogate is not None:
            progress.surrogate(step, error)

    model = train_surrogate(
        data,
        experiment.parameters,
        (elsewhere[0].to(device), elsewhere[1].to(device)),
        conjugate=experiment.training.conjugate,
        seed=experiment.training.seed,
        log=log,
        **options,
    )
    write_tensors(path, model.network.state_dict(), {"key": key})
    return model


def _errors(
    experiment: Experiment,
    name: str,
    config: TrainingConfig,
    network: Network,
    data: TrainingSet,
    folder: Path,
    progress: Progress,
) -> ErrorNetwork:
    """The network that knows the errors of ``network``, cached under a key of its weights."""
    names = experiment.parameters.select("estimated").names
    options = {**ERRORS, **experiment.errors}
    path = folder / f"{name}.errors.safetensors"
    weights = {key: value.cpu().numpy().tobytes() for key, value in network.state_dict().items()}
    digest = sha256(b"".join(weights[key] for key in sorted(weights))).hexdigest()
    key = description_key({"data": data_key(experiment), "weights": digest, **options})
    size = (options["width"], options["blocks"])
    saved = cached_network(path, key, lambda: ErrorNetwork(network.n_features, len(names), *size))
    if saved is not None:
        return saved
    found = train_error_network(
        network, data, experiment.parameters, config, names, log=progress.errors, **options
    )
    write_tensors(path, found.state_dict(), {"key": key})
    return found


def cached_network(path: Path, key: str, build: Callable[[], _N]) -> _N | None:
    """A network that was stored under a key, or None where there is none.

    Parameters
    ----------
    path, key
        See :func:`~bids_brnn.learning.training_set.cached_tensors`.
    build
        Makes one of its shape.

    Raises
    ------
    ReadError
        If the file is broken or holds a network of another shape.
    """
    saved = cached_tensors(path, key=key)
    if saved is None:
        return None
    network = build()
    try:
        network.load_state_dict(dict(saved))
    except RuntimeError as error:
        raise ReadError(f"{path} holds a network of another shape; delete it") from error
    return network.eval().requires_grad_(False)
