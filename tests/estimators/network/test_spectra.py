"""The network of Z-spectra: estimates, deviations, what is supplied, and distrust."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.information.averaged import Whitened
from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.priors import tissue_set
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.zoo.match import load_network

SNR = 100.0
DRAWS = 400


@pytest.fixture(scope="module")
def exact():
    return ObservedR1(build_model("gbloch-zspectrum", demo_protocol()))


@pytest.fixture(scope="module")
def shipped(exact):
    """The network of the demonstration, as the program finds it."""
    return load_network(exact, "gbloch-zspectrum")


@pytest.fixture(scope="module")
def tissue(exact):
    """Six fingerprints of white and grey matter, and their signals."""
    rng = torch.Generator().manual_seed(3)
    sets = [tissue_set(exact.parameters, name, 3, rng=rng) for name in ("WM", "GM")]
    theta = torch.cat(sets)
    return theta, exact(theta)


def supplied(model, theta):
    names = ("R1", "w0", "B1")
    columns = model.parameters.index(names)
    return {name: theta[:, column].float() for name, column in zip(names, columns, strict=True)}


@pytest.fixture(scope="module")
def many(exact, tissue):
    """Draws of real noise at one level, with M0 of several sizes."""
    theta, signal = tissue
    wide = theta.repeat_interleave(DRAWS, 0)
    rng = torch.Generator().manual_seed(4)
    noise = torch.randn(len(wide), exact.n_samples, generator=rng, dtype=torch.float64) / SNR
    m0 = 700.0
    data = m0 * (signal.real.repeat_interleave(DRAWS, 0) + noise)
    return wide, (data + 0j).to(torch.complex64), m0 / SNR


def test_estimates_and_deviations_are_those_of_the_bound(exact, shipped, many, tissue):
    theta, data, sigma = many
    found = shipped.estimate(data, supplied(exact, theta), sigma=sigma)
    columns = list(exact.parameters.columns("estimated"))
    errors = (found.theta - theta)[:, columns].reshape(-1, DRAWS, len(columns)).double()
    bound = torch.stack([cramer_rao_bound(exact, row) for row in tissue[0]])[:, columns].sqrt()
    bound = bound / SNR
    # 400 draws know a bias to 0.05 of the deviation and a deviation to 4 %; 0.25 is what the
    # network may be off (a sixteenth in the square).
    assert ((errors.mean(1) / bound).abs() < 0.25 + 3 / DRAWS**0.5).all()
    assert ((errors.std(1) / bound - 1).abs() < 0.25).all()
    inside = (errors.abs() <= 1.96 * found.std[:, columns].reshape(errors.shape)).double().mean(1)
    assert inside.mean() == pytest.approx(0.95, abs=0.02)
    assert (inside > 0.85).all()
    assert (found.quality["distance"] > 1).double().mean() < 0.015
    torch.testing.assert_close(found.m0.abs().median(), torch.tensor(700.0), rtol=0.05, atol=0)


def test_what_is_not_known_of_a_map_widens_the_deviations(exact, shipped, many):
    theta, data, sigma = (part[:200] if torch.is_tensor(part) else part for part in many)
    known = supplied(exact, theta)
    spread = {"R1": torch.full((200,), 0.1), "w0": torch.zeros(200)}
    plain = shipped.estimate(data, known, sigma=sigma)
    wide = shipped.estimate(data, known, sigma=sigma, spread=spread)
    torch.testing.assert_close(wide.theta, plain.theta)
    m0s, R1 = exact.parameters.index(("m0s", "R1"))
    moved = [
        shipped.estimate(data, {**known, "R1": known["R1"] + step}, sigma=sigma).theta[:, m0s]
        for step in (0.1, -0.1)
    ]
    expected = (plain.std[:, m0s].square() + ((moved[0] - moved[1]) / 2).square()).sqrt()
    torch.testing.assert_close(wide.std[:, m0s], expected, rtol=1e-3, atol=1e-7)
    assert (wide.std[:, m0s] > 1.02 * plain.std[:, m0s]).all()
    torch.testing.assert_close(wide.std[:, R1], torch.full((200,), 0.1))
    # The map of R1f follows from R1, m0s and Rx, and needs all of their covariance.
    matrix = wide.covariance
    torch.testing.assert_close(
        matrix.diagonal(dim1=-2, dim2=-1).sqrt(), wide.std, rtol=1e-3, atol=1e-7
    )
    assert (matrix[:, m0s, R1].abs() > 0).all()


def test_data_that_the_model_does_not_describe_stand_out(exact, shipped, many):
    theta, data, sigma = (part[:300] if torch.is_tensor(part) else part for part in many)
    broken = data.clone()
    broken[:, 3] *= 1.3  # one image through a spike
    found = shipped.estimate(broken, supplied(exact, theta), sigma=sigma)
    assert (found.quality["distance"] > 1).double().mean() > 0.95


def test_averaged_images_count_as_many(exact, shipped):
    weights = torch.ones(exact.n_samples, dtype=torch.float64)
    weights[0] = 4
    protocol = replace(demo_protocol(), weights=weights.numpy())
    with pytest.raises(DataError, match="no trained gbloch-zspectrum model has this"):
        load_network(ObservedR1(build_model("gbloch-zspectrum", protocol)), "gbloch-zspectrum")


def tiny(scale, n=4):
    """An untrained network and its errors, for what does not depend on training."""
    model = ObservedR1(build_model("ramani", demo_protocol()))
    spec = NetworkSpec(
        n_coefficients=model.n_samples, outputs=("m0s", "R2f", "Rx", "T2s"),
        supplied=("R1", "R1s", "w0", "B1"), scale=scale, width=16, blocks=1,
    )  # fmt: skip
    network = build_network(spec, seed=n).eval()
    errors = ErrorNetwork(network.n_features, 4, 16, 1).eval()
    return NetworkEstimator(
        network, Whitened(model), errors=errors, spread="learnt", error_names=spec.outputs,
        exact=model,
    )  # fmt: skip


@pytest.mark.parametrize("scale", ["real", "one"])
def test_only_an_unknown_m0_is_estimated(exact, many, scale):
    theta, data, _ = (part[:50] if torch.is_tensor(part) else part for part in many)
    known = supplied(exact, theta)
    estimator = tiny(scale)
    found = estimator.estimate(data, known)
    louder = estimator.estimate(5 * data, known)
    if scale == "one":
        assert (found.m0 == 1).all()
    else:
        torch.testing.assert_close(louder.theta, found.theta)
        torch.testing.assert_close(louder.m0, 5 * found.m0)
        assert float(found.m0.imag.abs().max()) == 0
    # The norm of what is left over that of the data, as every estimator says it.
    signal = estimator.model(found.theta.double()).to(torch.complex64)
    rest = (data - found.m0[:, None] * signal).norm(dim=-1) / data.norm(dim=-1)
    torch.testing.assert_close(found.residual, rest, rtol=1e-3, atol=1e-6)
    assert math.isfinite(float(found.std.max()))
