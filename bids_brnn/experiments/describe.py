"""Cards of freshly trained networks: where they came from, and where to stop trusting them."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.information.noise import add_noise
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.draws import network_inputs
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.networks import Network, count_weights
from bids_brnn.learning.surrogate import SurrogateModel
from bids_brnn.learning.trainer import TrainingResult
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.priors import Prior
from bids_brnn.zoo.card import ModelCard, parameters_to
from bids_brnn.zoo.sameness import anchors_of

if TYPE_CHECKING:
    from bids_brnn.experiments.experiment import Experiment


def describe(
    experiment: Experiment,
    name: str,
    config: TrainingConfig,
    result: TrainingResult,
    surrogate: SurrogateModel,
    held_out: TrainingSet,
    errors: ErrorNetwork,
    data: TrainingSet,
    device: str = "cpu",
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
            "logarithmic": [
                experiment.parameters.names[column] for column in surrogate.network.logarithmic
            ],
            "harmonics": surrogate.network.turning[2],
            "relative_error_median": float(f"{float(error.median()):.3g}"),
            "relative_error_99": float(f"{float(error.quantile(0.99)):.3g}"),
        },
        parameters=parameters_to(experiment.parameters),
        sequence={
            "digest": experiment.sequence.digest,
            "name": experiment.sequence.name,
            "samples": experiment.sequence.n_samples,
            "duration": round(experiment.sequence.duration, 6),
            "anchors": anchors_of(held_out.theta, held_out.coefficients),
        },
        subspace={
            "digest": experiment.subspace.digest,
            "rank": experiment.subspace.rank,
            "samples": experiment.subspace.n_samples,
            "from": experiment.basis_from,
        },
        prior=prior_table(experiment.prior),
        snr_range=config.snr_range,
        loss=config.stages[-1].loss.name,
        training={
            "weights": count_weights(result.network),
            "fingerprints": experiment.fingerprints,
            "further": sum(item.fingerprints for item in (*experiment.extra, *experiment.focus)),
            "seeds": {"fingerprints": experiment.seed, "training": config.seed},
            "draws": result.draws,
            "seconds": round(result.seconds, 1),
            "threads": torch.get_num_threads(),
            "device": device,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "config": config.to_dict(),
        },
        thresholds=thresholds(result.network, surrogate, held_out, config),
        support=_support(experiment, data),
        errors={
            "outputs": list(experiment.parameters.select("estimated").names),
            "width": errors.body.enter.out_features,
            "blocks": len(errors.body.widen),
        },
        command=experiment.command,
        recipe=experiment.source,
        field_strength=experiment.field_strength,
    )


def _support(experiment: Experiment, data: TrainingSet) -> dict[str, list[float]]:
    """Least and largest value of each parameter, off-resonance of both signs."""
    low, high = data.theta.amin(0), data.theta.amax(0)
    found = {
        name: [float(f"{float(value):.6g}") for value in pair]
        for name, *pair in zip(experiment.parameters.names, low, high, strict=True)
    }
    if "w0" in found:
        reach = max(abs(value) for value in found["w0"])
        found["w0"] = [-reach, reach]
    return found


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
    network: Network,
    surrogate: SurrogateModel,
    held_out: TrainingSet,
    config: TrainingConfig,
) -> dict[str, float]:
    """Of held-out fingerprints: where the rarest percent begins.

    Of the residual without noise and of the size of the inputs the largest, of the norm of the
    signal the smallest.
    """
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
    level = network.standardised(inputs).square().mean(-1)
    signal = clean.abs().square().sum(-1).sqrt()
    found = {
        "residual": residual.quantile(0.99),
        "inputs": level.quantile(0.99),
        "signal": signal.quantile(0.01),
    }
    return {name: float(f"{float(value):.4g}") for name, value in found.items()}
