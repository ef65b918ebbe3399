"""The network of a protocol that is made of the installed one: maps and deviations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bids_brnn.experiments import specialise as home
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.information.noise import add_noise
from bids_brnn.priors import tissue_set
from bids_brnn.sequences.z_designs import wand_like
from bids_brnn.zoo.any_card import named_any_card
from bids_brnn.zoo.any_store import load_any
from bids_brnn.zoo.cache import Job
from bids_brnn.zoo.recipe import EstimatorRecipe
from bids_brnn.zoo.store import load_model

NAMES = ("m0s", "R2f", "Rx", "T2s")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The experiment of a WAND-like protocol at 1.5 T, its network, and its card."""
    folder = tmp_path_factory.mktemp("own")
    recipe = EstimatorRecipe(estimator="nlls", model="ramani", sequence=wand_like())
    job = Job(folder, "own", "a series", "quick", 1.5, recipe)
    experiment = read_experiment(job.write_configuration("float32"))
    with pytest.MonkeyPatch.context() as patch:
        # M0 and residual are not what is asked here.
        patch.setattr(home, "_SURROGATE", {"width": 48, "blocks": 1, "steps": 150})
        path, held_out = home.specialise(
            load_any(named_any_card("any-spectrum")), experiment, "own", folder
        )
    assert held_out.theta[:, experiment.parameters.index(("R2f",))[0]].min() >= 2
    assert 800 < len(held_out) < 1000
    return experiment, load_model(path), held_out


@pytest.fixture(scope="module")
def white(made):
    """White matter at SNR 100: truth, data, and what maps tell."""
    model = made[0].model
    rng = torch.Generator().manual_seed(4)
    theta = tissue_set(model.parameters, "WM", 400, rng=rng)
    data = add_noise(model(theta).to(torch.complex64), 100.0, rng=rng)
    names = model.parameters.select("supplied").names
    columns = model.parameters.index(names)
    supplied = {name: theta[:, column] for name, column in zip(names, columns, strict=True)}
    return theta, torch.complex(data.real, torch.zeros_like(data.real)), supplied


def test_the_card_is_of_the_protocol_and_tells_where_the_network_is_from(made):
    experiment, stored, _ = made
    card = stored.card
    assert card.is_derived
    held_out = made[2].coefficients.abs().square().sum(-1).sqrt()
    assert (held_out < card.thresholds["signal"]).double().mean() == pytest.approx(0.01, abs=0.01)
    assert card.sequence["digest"] == wand_like().digest
    assert card.field_strength == 1.5
    assert card.training["network"] == "any-spectrum"
    assert card.facts["Protocols"] == card.training["protocols"]
    assert card.network["n_coefficients"] == experiment.sequence.n_samples


def test_a_later_evaluation_is_of_the_same_tissue(made, tmp_path):
    """`brnn evaluate --update-card` would else refuse it for fluid, which it flags."""
    experiment, stored, _ = made
    some = replace(experiment, fingerprints=1, held_out=600)
    column = experiment.parameters.index(("R2f",))[0]
    judged = home.judged_fingerprints(stored.card, some, tmp_path).theta[:, column]
    assert judged.min() >= 2
    assert 480 < len(judged) < 600
    trained = replace(stored.card, network={**stored.card.network, "layout": "residual"})
    assert len(home.judged_fingerprints(trained, some, tmp_path)) == 600


def test_intervals_of_healthy_tissue_hold_the_truth(made, white):
    experiment, stored, _ = made
    theta, data, supplied = white
    # With the parameters of the model, which tell what follows from several of them.
    found = stored.estimator(parameters=experiment.parameters).estimate(data, supplied, sigma=0.01)
    columns = list(experiment.parameters.index(NAMES))
    held = (found.theta - theta)[:, columns].abs() <= 1.96 * found.std[:, columns]
    # 95 %, less three standard errors of 400 draws and what 2 % of a deviation change.
    assert (held.double().mean(0) > 0.90).all()
    assert (found.quality["distance"] > 1).double().mean() < 0.1
    assert found.covariance is not None


def test_what_maps_are_not_sure_of_widens_the_deviations(made, white):
    stored = made[1]
    _, data, supplied = white
    estimator = stored.estimator_in_training_basis()
    sure = estimator.estimate(data, supplied, sigma=0.01).std
    spread = {"R1": torch.full((len(data),), 0.1)}
    unsure = estimator.estimate(data, supplied, sigma=0.01, spread=spread).std
    column = stored.surrogate.parameters.index(("m0s",))[0]
    assert (unsure[:, column] > 1.05 * sure[:, column]).double().mean() > 0.9


def test_the_scale_of_images_is_that_of_M0(made, white):
    stored = made[1]
    _, data, supplied = white
    estimator = stored.estimator_in_training_basis(precision="float32")
    one, many = (estimator.estimate(data * scale, supplied) for scale in (1.0, 250.0))
    torch.testing.assert_close(many.theta, one.theta, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(many.m0.abs(), 250 * one.m0.abs(), rtol=1e-4, atol=0)


def test_noise_alone_is_flagged(made):
    stored = made[1]
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(300, stored.network.spec.n_coefficients, generator=rng)
    found = stored.estimator_in_training_basis().estimate(
        torch.complex(noise, 0 * noise), {"R1": torch.full((300,), 0.9)}
    )
    assert (found.quality["distance"] > 1).double().mean() > 0.9


def test_voxels_of_an_R1_beyond_the_steps_are_at_the_edge(made):
    """At 1.5 T the prior goes on to 2.4/s, where steps are those of 2/s and m0s is 12 % off."""
    experiment, stored, _ = made
    model = experiment.model
    assert stored.card.support["R1"][1] == 2.0
    names = model.parameters.select("supplied").names
    theta = tissue_set(model.parameters, "WM", 2, rng=torch.Generator().manual_seed(4))
    theta[:, model.parameters.index(("R1",))[0]] = torch.tensor([1.9, 2.3]).to(theta)
    data = model(theta).real.to(torch.complex64)
    supplied = dict(zip(names, theta[:, list(model.parameters.index(names))].T, strict=True))
    found = stored.estimator().estimate(data, supplied)
    assert found.quality["edge"].tolist() == [0, 1]


def test_fluid_is_at_the_edge(made):
    """R2f of fluid is biased by up to 0.5/s where the protocol tells it: no part of a verdict."""
    experiment, stored, _ = made
    model = experiment.model
    names = model.parameters.select("supplied").names
    theta = tissue_set(model.parameters, "oedema", 2, rng=torch.Generator().manual_seed(4))
    fluid = {"m0s": 1e-3, "R2f": 0.6, "R1": 0.24}
    for name, value in fluid.items():
        theta[1, model.parameters.index((name,))[0]] = value
    data = model(theta).real.to(torch.complex64)
    supplied = dict(zip(names, theta[:, list(model.parameters.index(names))].T, strict=True))
    found = stored.estimator().estimate(data, supplied, sigma=1 / 300)
    assert found.quality["edge"].tolist() == [0, 1]
