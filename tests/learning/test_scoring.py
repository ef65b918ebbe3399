"""Scoring steps: inputs that mean the same in every protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bids_brnn.information.averaged import Whitened
from bids_brnn.learning.scoring import ANCHORS, NAMES, WIDTHS, ScoringSteps, supplied_of
from bids_brnn.learning.scoring_shape import SUPPLIED, n_scored
from bids_brnn.sequences.z_designs import qmrlab_like, wand_like
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

N = len(NAMES)


def model_of(protocol, name="ramani"):
    return Whitened(ObservedR1(build_model(name, protocol)))


def anchors_of(model, **supplied):
    """Parameters of the anchors under what maps tell."""
    parameters = model.parameters
    theta = parameters.start(ANCHORS).repeat(len(ANCHORS), 1)
    theta[:, list(parameters.index(NAMES))] = ANCHORS
    for name, value in supplied.items():
        theta[:, parameters.index((name,))[0]] = value
    return theta


@pytest.fixture(scope="module", params=["like WAND", "divided"])
def model(request):
    protocol = wand_like() if request.param == "like WAND" else qmrlab_like()
    if request.param == "divided":
        protocol = replace(
            protocol,
            mt_flip_angle=protocol.mt_flip_angle[1:],
            offset=protocol.offset[1:],
            normalised=True,
        )
    return model_of(protocol)


@pytest.fixture(scope="module")
def steps(model):
    return ScoringSteps.of(model)


def estimates(steps, model, theta, images):
    """Estimates ``(V, anchors, 4)`` in widths, and logarithms of their deviations."""
    found = steps(images, supplied_of(model.parameters, theta))
    scored = found[..., : 12 * N].unflatten(-1, (12, N))
    told = found[..., 12 * N : -len(SUPPLIED)].unflatten(-1, (12, -1))[..., :N]
    return scored, told


@pytest.mark.parametrize("known", [{}, {"B1": 0.8, "R1": 0.6, "w0": 300.0}])
def test_without_noise_the_step_from_the_tissue_itself_stays_there(model, steps, known):
    theta = anchors_of(model, **known)
    scored, told = estimates(steps, model, theta, model(theta).real)
    own = torch.arange(12)
    error = torch.sinh(scored[own, own] / 4) * 4 - (ANCHORS / WIDTHS).float()
    # Polynomials of what maps tell miss exact steps by a fraction of their deviation at SNR 150.
    assert (error.abs() / told[own, own].exp()).median() < 0.1
    assert (error.abs() / told[own, own].exp()).max() < 1.0


def test_noise_moves_a_step_by_no_more_than_its_deviation_tells(model, steps):
    theta = anchors_of(model)[4:5]
    clean = model(theta).real.float()
    size = 1.0 if steps.is_divided else float(clean.norm())
    noise = torch.randn(4000, clean.shape[1], generator=torch.Generator().manual_seed(0))
    scored, told = estimates(steps, model, theta, clean + noise * size / 150)
    ratio = scored[:, 4].std(0) / told[0, 4].exp()
    # The deviation is that of a posterior: its noise is a part of it, never more; 5 % of
    # a deviation from 4000 draws and polynomials.
    assert (ratio < 1.05).all()
    assert ratio.max() > 0.8


def test_the_number_of_inputs_depends_on_no_protocol():
    for protocol in (wand_like(), qmrlab_like()):
        model = model_of(protocol)
        theta = anchors_of(model)
        inputs = ScoringSteps.of(model)(model(theta).real, supplied_of(model.parameters, theta))
        assert inputs.shape == (12, n_scored(N))


def test_the_scale_of_images_counts_only_where_they_are_divided(model, steps):
    theta = anchors_of(model)
    supplied, images = supplied_of(model.parameters, theta), model(theta).real
    same = torch.allclose(steps(images, supplied), steps(7 * images, supplied), atol=1e-4)
    assert same is not steps.is_divided
