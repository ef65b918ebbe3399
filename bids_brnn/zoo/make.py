"""From a signal model, a prior and a configuration to a stored model, in resumable steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.simulate import (
    TrainingSet,
    content_key,
    load_tensors,
    load_training_set,
    save_atomic,
    save_training_set,
    simulate_fingerprints,
)
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork, train_surrogate
from bids_brnn.learning.trainer import Row, TrainingResult, train
from bids_brnn.networks import NetworkSpec, build_network
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import Prior
from bids_brnn.sequences import PulseSequence
from bids_brnn.signals.base import SignalModel
from bids_brnn.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.describe import describe
from bids_brnn.zoo.store import save_model

_FINGERPRINTS = "fingerprints.safetensors"
COMPARISON = "-msecrb"
"""Added to the name of the network as it was after the MSE-CRB stages."""


@dataclass(frozen=True)
class Extra:
    """More fingerprints to train with, where the signal is steep and the prior is thin."""

    prior: Prior
    fingerprints: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """Everything that a training needs; nothing in it is a file."""

    name: str
    description: str
    kind: str
    """Key of the signal model in ``SIGNALS``."""
    model: SignalModel
    """Of the time samples."""
    sequence: PulseSequence
    subspace: Subspace
    keep_basis: bool
    """Store the basis with the weights, so that time frames can be mapped."""
    prior: Prior
    training: TrainingConfig
    network: Mapping[str, Any]
    """Options of :class:`NetworkSpec`: layout, width, blocks, normalisation."""
    surrogate: Mapping[str, Any]
    """Options of :func:`train_surrogate`."""
    fingerprints: int
    held_out: int
    seed: int
    command: str
    extra: tuple[Extra, ...] = ()
    """Beside ``fingerprints``; never held out."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The configuration as it was read."""

    @property
    def compressed(self) -> CompressedSignal:
        """The model that makes coefficients."""
        return CompressedSignal(self.model, self.subspace)

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the model."""
        return self.model.parameters

    @property
    def spec(self) -> NetworkSpec:
        """Shape of the network: outputs are the estimated parameters, then the nuisances."""
        outputs = self.parameters.select("estimated").names
        outputs += self.parameters.select("nuisance").names
        table = self.parameters
        return NetworkSpec(
            n_coefficients=self.subspace.rank,
            outputs=outputs,
            supplied=self.parameters.select("supplied").names,
            lower=tuple(table[name].lower for name in outputs),
            upper=tuple(table[name].upper for name in outputs),
            odd="w0" if self._folds else "",
            **self.network,
        )

    @property
    def _folds(self) -> bool:
        # The nested layout stays as published.
        return self.training.conjugate and self.network.get("layout", "residual") == "residual"


@dataclass(frozen=True)
class Progress:
    """Where :func:`make_models` reports to."""

    simulation: Callable[[int, int], None] | None = None
    training: Callable[[str, Row], None] | None = None
    surrogate: Callable[[int, float], None] | None = None


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
    folder.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    data, held_out = training_data(experiment, folder, progress)
    data = data.to(device)
    network = build_network(experiment.spec, seed=experiment.training.seed).to(device)
    trained: list[tuple[str, TrainingConfig, TrainingResult]] = []
    for name, config in _parts(experiment):
        log = _logger(progress, name)
        result = train(
            network,
            data,
            experiment.parameters,
            config,
            held_out=held_out,
            checkpoint=folder / f"{name}.checkpoint.safetensors",
            data_key=_data_key(experiment),
            log=log,
        )
        trained.append((name, config, replace(result, network=copy.deepcopy(result.network))))
        network = result.network
    surrogate = _surrogate(experiment, data, folder, progress)
    surrogate.network.to("cpu")
    for _, _, result in trained:
        result.network.to("cpu")
    cards = [
        save_model(
            folder,
            describe(experiment, name, config, result, surrogate, held_out, device),
            result.network,
            surrogate,
            experiment.subspace,
            keep_basis=experiment.keep_basis,
        )
        for name, config, result in trained
    ]
    return cards[::-1]


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


def training_data(
    experiment: Experiment, folder: Path, progress: Progress
) -> tuple[TrainingSet, TrainingSet]:
    """Fingerprints to train with and held-out ones, cached in ``folder``."""
    path, key = folder / _FINGERPRINTS, _data_key(experiment)
    data = load_training_set(path, key=key)
    if data is None:
        data = simulate_fingerprints(
            experiment.compressed,
            _theta(experiment),
            with_gain=_needs_gain(experiment),
            progress=progress.simulation,
        )
        save_training_set(path, data, key=key)
    return data.split(experiment.held_out)


def _needs_gain(experiment: Experiment) -> bool:
    return any(stage.loss.needs_gain for stage in experiment.training.stages)


def held_out_data(experiment: Experiment, folder: Path) -> TrainingSet:
    """The held-out fingerprints of a training: from its cache, or simulated again."""
    data = load_training_set(folder / _FINGERPRINTS, key=_data_key(experiment))
    if data is not None:
        return data.split(experiment.held_out)[1]
    theta = _theta(experiment)[-experiment.held_out :]
    return simulate_fingerprints(experiment.compressed, theta)


def _theta(experiment: Experiment) -> Tensor:
    rng = torch.Generator().manual_seed(experiment.seed)
    n = experiment.fingerprints + experiment.held_out
    main = experiment.prior.sample(n, rng=rng, dtype=torch.float32)
    extra = [
        item.prior.sample(item.fingerprints, rng=rng, dtype=torch.float32)
        for item in experiment.extra
    ]
    return torch.cat([*extra, main])


def _data_key(experiment: Experiment) -> str:
    extra = [(str(item.prior.classes), item.fingerprints) for item in experiment.extra]
    return content_key(
        {
            **({"extra": str(extra)} if extra else {}),
            "sequence": experiment.sequence.digest,
            "basis": experiment.subspace.digest,
            "kind": experiment.kind,
            "prior": str(experiment.prior.classes),
            "parameters": str(experiment.parameters),
            "fingerprints": experiment.fingerprints,
            "held_out": experiment.held_out,
            "seed": experiment.seed,
            "gain": _needs_gain(experiment),
        }
    )


def _surrogate(
    experiment: Experiment, data: TrainingSet, folder: Path, progress: Progress
) -> SurrogateModel:
    options = {"width": 128, "blocks": 3, "steps": 4000, **experiment.surrogate}
    path = folder / "surrogate.safetensors"
    key = content_key({"data": _data_key(experiment), **options})
    saved = load_tensors(path, key=key)
    if saved is not None:
        network = SurrogateNetwork(
            len(experiment.parameters),
            experiment.subspace.rank,
            options["width"],
            options["blocks"],
        )
        network.load_state_dict(dict(saved))
        network.eval().requires_grad_(False)
        return SurrogateModel(network, experiment.parameters, experiment.training.conjugate)
    model = train_surrogate(
        data,
        experiment.parameters,
        conjugate=experiment.training.conjugate,
        seed=experiment.training.seed,
        log=progress.surrogate,
        **options,
    )
    state = {key: value.contiguous() for key, value in model.network.state_dict().items()}
    save_atomic(path, state, {"key": key})
    return model
