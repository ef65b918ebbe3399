"""Learning over many protocols, on two small ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.experiments.any_spectrum import spectrum_model
from bids_brnn.learning.any_spectrum import Course, Lesson, learn_any_errors
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.scoring_network import ScoringNetwork, scoring_spec
from bids_brnn.priors import qmt_prior
from bids_brnn.sequences.z_random import random_protocol


@pytest.fixture(scope="module")
def lessons():
    found = []
    for number in (1, 2):
        model = spectrum_model("ramani", random_protocol(np.random.default_rng(number)))
        rng = torch.Generator().manual_seed(number)
        found.append(Lesson.of(model, qmt_prior(model.parameters).sample(80, rng=rng).float()))
    return found


def start(lessons, steps=(30, 10)):
    stages = [
        {"loss": {"name": "efficient", "weight": 0.0, "mirrored": False}, "steps": steps[0],
         "batch": 256, "warmup": 5, "learning_rate": 3e-3},
        {"loss": {"name": "efficient", "weight": 8.0}, "steps": steps[1], "batch": 64,
         "realisations": 4, "warmup": 5},
    ]  # fmt: skip
    config = TrainingConfig.from_dict(
        {"stages": stages, "snr_range": [30, 300], "snr_spacing": "log", "precision": "float32",
         "checkpoint_every": 15, "report_every": 10}
    )  # fmt: skip
    torch.manual_seed(0)
    network = ScoringNetwork(scoring_spec(1, is_divided=False, width=16, blocks=1))
    return Course(network, lessons, config)


def test_what_is_learnt_lowers_the_loss(lessons):
    rows = []
    start(lessons, (60, 1)).run(log=lambda *row: rows.append(sum(row[1])))
    assert rows[-1] < 0.6 * rows[0]


def test_a_training_that_stops_goes_on_as_if_it_had_not(lessons, tmp_path):
    whole = start(lessons)
    whole.run()
    path = tmp_path / "x.safetensors"
    broken = start(lessons)
    broken.total = 15  # the process ends here, after a checkpoint
    broken.run(path, "key")
    resumed = start(lessons)
    resumed.run(path, "key")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_checkpoint_of_other_protocols_is_refused(lessons, tmp_path):
    path = tmp_path / "x.safetensors"
    start(lessons).run(path, "one")
    with pytest.raises(DataError, match="trained with other fingerprints"):
        start(lessons).run(path, "other")


def test_what_a_protocol_cannot_see_costs_the_distance_to_the_truth(lessons):
    course = start(lessons)
    blind = [Lesson(**{**vars(lesson), "bound": lesson.bound * torch.inf}) for lesson in lessons]
    course.lessons = blind
    stage = course.config.stages[0]
    loss = course._loss(stage)
    assert torch.isfinite(loss).all()
    assert (loss > 0).all()


def test_errors_are_those_of_what_is_delivered(lessons):
    course = start(lessons, (60, 1))
    course.run()
    rng = torch.Generator().manual_seed(3)
    features, noise, errors = course.draw_errors(4096, rng)
    stage = Stage(Loss("mse"), 60, 1024, learning_rate=5e-3, warmup=5)
    known = learn_any_errors(course, stage, width=16, blocks=1)
    with torch.no_grad():
        held = (errors.abs() <= 1.96 * known.deviations(features, noise)).float().mean(0)
    # A small network of 60 steps: that it has learnt the size at all.
    assert ((held > 0.8) & (held < 1)).all()
