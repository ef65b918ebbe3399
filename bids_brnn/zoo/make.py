"""From a signal model, a prior and a configuration to a stored model, in resumable steps."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.draws import network_inputs
from bids_brnn.learning.simulate import (
    TrainingSet,
    content_key,
    load_training_set,
    save_atomic,
    save_training_set,
    simulate_training_set,
)
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork, train_surrogate
from bids_brnn.learning.trainer import Row, TrainingResult, train
from bids_brnn.networks import CoefficientNetwork, NetworkSpec, build_network, count_weights
from bids_brnn.noise import add_noise
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import Prior
from bids_brnn.sequences import PulseSequence
from bids_brnn.signals.base import SignalModel
from bids_brnn.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.card import ModelCard, parameters_to
from bids_brnn.zoo.store import save_model

COMPARISON = "-msecrb"
"""Added to the name of the network as it was after the MSE-CRB stages."""


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
            **self.network,
        )


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

    The stages before the first ``bias-reduced`` or ``bias-constrained`` one make the comparison
    network (``NAME-msecrb``), the following ones go on from it.

    Returns
    -------
    list of Path
        Cards in ``folder``; the model of the last stage first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    data, held_out = training_data(experiment, folder, progress)
    data = TrainingSet(*(part.to(device) for part in (data.coefficients, data.theta, data.bound)))
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
            log=log,
        )
        trained.append((name, config, replace(result, network=copy.deepcopy(result.network))))
        network = result.network
    surrogate = _surrogate(experiment, data, folder, progress)
    cards = [
        save_model(
            folder,
            describe(experiment, name, config, result, surrogate, held_out),
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
    path = folder / "fingerprints.safetensors"
    key = content_key(
        {
            "sequence": experiment.sequence.digest,
            "basis": experiment.subspace.digest,
            "kind": experiment.kind,
            "prior": str(experiment.prior.classes),
            "parameters": str(experiment.parameters),
            "fingerprints": experiment.fingerprints,
            "held_out": experiment.held_out,
            "seed": experiment.seed,
        }
    )
    data = load_training_set(path, key=key)
    if data is None:
        data = simulate_training_set(
            experiment.compressed,
            experiment.prior,
            experiment.fingerprints + experiment.held_out,
            rng=torch.Generator().manual_seed(experiment.seed),
            progress=progress.simulation,
        )
        save_training_set(path, data, key=key)
    return data.split(experiment.held_out)


def _surrogate(
    experiment: Experiment, data: TrainingSet, folder: Path, progress: Progress
) -> SurrogateModel:
    options = {"width": 128, "blocks": 3, "steps": 4000, **experiment.surrogate}
    path = folder / "surrogate.safetensors"
    n_outputs = experiment.subspace.rank
    if path.is_file():
        network = SurrogateNetwork(
            len(experiment.parameters), n_outputs, options["width"], options["blocks"]
        )
        network.load_state_dict(load_file(path))
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
    save_atomic(path, state, {})
    return model


def describe(
    experiment: Experiment,
    name: str,
    config: TrainingConfig,
    result: TrainingResult,
    surrogate: SurrogateModel,
    held_out: TrainingSet,
) -> ModelCard:
    """The card of a trained network, not yet evaluated."""
    first = surrogate.network.body.enter
    error = surrogate_error(surrogate, held_out)
    return ModelCard(
        name=name,
        description=experiment.description,
        model=experiment.kind,
        network=result.network.spec.to_dict(),
        surrogate={
            "width": first.out_features,
            "blocks": len(surrogate.network.body.widen),
            "conjugate": surrogate.conjugate,
            "relative_error_median": float(f"{float(error.median()):.3g}"),
            "relative_error_99": float(f"{float(error.quantile(0.99)):.3g}"),
        },
        parameters=parameters_to(experiment.parameters),
        sequence={
            "digest": experiment.sequence.digest,
            "name": experiment.sequence.name,
            "samples": experiment.sequence.n_samples,
            "duration": round(experiment.sequence.duration, 6),
        },
        subspace={
            "digest": experiment.subspace.digest,
            "rank": experiment.subspace.rank,
            "samples": experiment.subspace.n_samples,
        },
        prior=prior_table(experiment.prior),
        snr_range=config.snr_range,
        loss=config.stages[-1].loss.name,
        training={
            "weights": count_weights(result.network),
            "fingerprints": experiment.fingerprints,
            "draws": result.draws,
            "seconds": round(result.seconds, 1),
            "threads": torch.get_num_threads(),
            "device": next(result.network.parameters()).device.type,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "config": config.to_dict(),
        },
        thresholds=thresholds(result.network, surrogate, held_out, config),
        command=experiment.command,
    )


def prior_table(prior: Prior) -> dict[str, Any]:
    """The prior as plain values."""
    return {
        "name": prior.name,
        "classes": [
            {
                "name": tissue.name,
                "weight": tissue.weight,
                "parameters": {
                    name: {
                        "shape": item.shape,
                        "values": [item.first]
                        if item.shape == "constant"
                        else [item.first, item.second],
                        "support": list(item.support),
                        "reciprocal": item.reciprocal,
                    }
                    for name, item in tissue.distributions.items()
                },
            }
            for tissue in prior.classes
        ],
    }


def surrogate_error(surrogate: SurrogateModel, data: TrainingSet) -> Tensor:
    """Relative residual ``(n,)`` of the surrogate signal at the true parameters."""
    with torch.no_grad():
        signal = surrogate(data.theta)
    truth = data.coefficients.to(signal.device)
    scale = (signal.conj() * truth).sum(-1) / (signal.abs() ** 2).sum(-1)
    rest = (truth - scale[:, None] * signal).abs().square().sum(-1)
    return (rest / truth.abs().square().sum(-1)).sqrt()


def thresholds(
    network: CoefficientNetwork,
    surrogate: SurrogateModel,
    held_out: TrainingSet,
    config: TrainingConfig,
) -> dict[str, float]:
    """99th percentiles over held-out fingerprints: residual without noise, size of the inputs."""
    from bids_brnn.estimators.network import NetworkEstimator

    device = next(network.parameters()).device
    parameters = surrogate.parameters
    columns = parameters.index(network.spec.supplied)
    clean = held_out.coefficients.to(device)
    theta = held_out.theta.to(device)
    known = {
        name: theta[:, column] for name, column in zip(network.spec.supplied, columns, strict=True)
    }
    estimator = NetworkEstimator(network, surrogate, spread="none")
    residual = estimator.estimate(clean, known).residual
    rng = torch.Generator(device).manual_seed(config.seed)
    noisy = add_noise(clean, config.snr_range[0], rng=rng)
    inputs = network_inputs(network, noisy, theta, parameters)
    level = ((inputs - network.input_centre) / network.input_scale).square().mean(-1)
    return {
        "residual": float(f"{float(residual.quantile(0.99)):.4g}"),
        "inputs": float(f"{float(level.quantile(0.99)):.4g}"),
    }
