"""A small trained model on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.make import make_models
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.priors import Prior, TissueClass, uniform
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.store import StoredModel, load_model

RANK = 5


@dataclass(frozen=True)
class Small:
    """An experiment, the folder of its models, and the model of its last stage."""

    experiment: Experiment
    folder: Path
    stored: StoredModel


def make_experiment(**changes) -> Experiment:
    sequence = jiang_like_train(150)
    frames = EpgFisp(sequence)
    ranges = {"R1": uniform(0.5, 2), "R2": uniform(6, 20), "B1": uniform(0.8, 1.2)}
    prior = Prior(frames.parameters, (TissueClass("all", 1, ranges),), name="test")
    theta = prior.sample(200, rng=torch.Generator().manual_seed(0))
    stages = [
        {"loss": {"name": "mse-crb", "mirrored": False}, "steps": 250, "batch": 512,
         "learning_rate": 5e-3, "warmup": 20},
        {"loss": "bias-reduced", "realisations": 4, "steps": 120, "batch": 256,
         "learning_rate": 3e-3, "warmup": 20},
    ]  # fmt: skip
    options = {
        "name": "small", "description": "for tests", "kind": "fisp", "model": frames,
        "sequence": sequence, "subspace": Subspace.from_signals(frames(theta), RANK),
        "prior": prior, "fingerprints": 3000, "held_out": 500, "seed": 1,
        "network": {"width": 32, "blocks": 2}, "command": "brnn train small.toml OUT",
        "surrogate": {"width": 32, "blocks": 2, "steps": 500},
        "errors": {"width": 32, "blocks": 1, "steps": 300},
        "training": TrainingConfig.from_dict(
            {"stages": stages, "snr_range": [50, 100], "averaging": 0.98, "precision": "float32"}
        ),
    }  # fmt: skip
    return Experiment(**{**options, **changes})


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp("models")
    experiment = make_experiment()
    cards = make_models(experiment, folder)
    return Small(experiment, folder, load_model(cards[0]))


@pytest.fixture(scope="session")
def compressed(small) -> CompressedSignal:
    return small.experiment.compressed
