"""The network of one protocol of Z-spectra, made of one for any protocol: nothing is trained.

Its scoring steps are computed from the protocol's signal model, a small surrogate of that signal
is fitted (for M0 and the residual), and thresholds are those of the protocol's own fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bids_brnn.experiments.describe import describe
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.fingerprints import anywhere, held_out_data
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.networks import count_weights
from bids_brnn.learning.scoring import RANGES
from bids_brnn.learning.surrogate_training import train_surrogate
from bids_brnn.learning.trainer import TrainingResult
from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.zoo.any_store import StoredAny
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.store import save_model

_FINGERPRINTS = 8000
"""For the surrogate and for ranges."""
_HELD_OUT = 1000
_FLUID = 2.0
"""1/s: R2f below which fluid begins (T2 above 0.5 s). Its rate is known to 0.1/s where an offset
is near resonance, and a network over all protocols follows to 0.5/s: such voxels are flagged, and
are no part of what the network is judged on."""
_SURROGATE: Mapping[str, Any] = {"width": 96, "blocks": 2, "steps": 700, "learning_rate": 5e-3}


def specialise(
    stored: StoredAny, experiment: Experiment, name: str, folder: Path
) -> tuple[Path, TrainingSet]:
    """Write the network of a protocol into ``folder``.

    Parameters
    ----------
    stored
        The network for any protocol.
    experiment
        What a training for the protocol alone would be: signal model, prior.
    name
        Of the network.
    folder
        Of card and weights.

    Returns
    -------
    Path, TrainingSet
        The card, not yet evaluated, and fingerprints of tissue to evaluate it with.
    """
    rng = torch.Generator().manual_seed(experiment.seed)
    theta = experiment.prior.sample(_FINGERPRINTS + _HELD_OUT, rng=rng, dtype=torch.float32)
    data, held_out = simulate_fingerprints(experiment.compressed, theta).split(_HELD_OUT)
    network, errors = stored.network_of(experiment.model), stored.errors()
    elsewhere = anywhere(experiment, _FINGERPRINTS)
    surrogate = train_surrogate(data, experiment.parameters, elsewhere, **_SURROGATE)
    about = stored.card
    training = about.training
    config = TrainingConfig.from_dict(about.recipe["training"])
    result = TrainingResult(network, (), float(training["seconds"]), int(training["draws"]))
    card = describe(experiment, name, config, result, surrogate, held_out, errors, data)
    card = replace(
        card,
        support=_judged_range(card.support),
        description=f"{experiment.kind}, for the protocol of this digest, from the network "
        f'"{about.name}" for any protocol; fluid (R2f below {_FLUID:g}/s) is flagged, not judged',
        training={
            "weights": count_weights(network.body),
            "fingerprints": training["fingerprints"],
            "draws": training["draws"],
            "protocols": training["protocols"],
            "seconds": training["seconds"],
            "network": about.name,
            "network_sha256": about.weights_sha256,
            "config": config.to_dict(),
        },
        licence=about.licence,
        citation=about.citation,
    )
    path = save_model(folder, card, network, surrogate, experiment.subspace, errors)
    return path, _tissue_of(held_out, experiment)


def judged_fingerprints(card: ModelCard, experiment: Experiment, folder: Path) -> TrainingSet:
    """Held-out fingerprints that a network is judged on, fluid left out where it is flagged.

    Parameters
    ----------
    card
        Of the network.
    experiment
        Behind it.
    folder
        That may hold the fingerprints of its training.
    """
    data = held_out_data(experiment, folder)
    return _tissue_of(data, experiment) if card.is_derived else data


def _tissue_of(data: TrainingSet, experiment: Experiment) -> TrainingSet:
    """The fingerprints that are not of fluid."""
    rate = data.theta[:, experiment.parameters.index(("R2f",))[0]]
    return data[rate >= _FLUID]


def _judged_range(support: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Least and largest values of tissue, and of what maps supply no more than the steps reach.

    Beyond, steps of another value are taken, or nothing was judged: such voxels are at the edge
    of training.
    """
    found = {name: list(pair) for name, pair in support.items()}
    found["R2f"][0] = max(found["R2f"][0], _FLUID)
    for name, (low, high) in RANGES.items():
        if name in found:
            found[name] = [max(found[name][0], low), min(found[name][1], high)]
    return found
