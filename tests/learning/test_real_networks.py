"""Networks of real values: Z-spectra, with M0 unknown or known, and with averaged images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information.averaged import Whitened
from bids_brnn.information.bounds import cramer_rao_bound, efficient_gain
from bids_brnn.information.second_order import second_order_bounds
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.learning.training_set import simulate_fingerprints
from bids_brnn.priors import qmt_prior, tissue_set, tissue_values
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.base import amplitude_of, check_parameters
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1


def seen(sequence):
    return Whitened(ObservedR1(build_model("ramani", sequence)))


@pytest.fixture(scope="module")
def averaged():
    """The usual protocol; its image without MT pulse is the mean of nine."""
    protocol = demo_protocol()
    weights = np.ones(protocol.n_samples)
    weights[0] = 9
    return replace(protocol, weights=weights)


@pytest.fixture(scope="module")
def divided():
    """The same without that image, as data come that are divided by it."""
    protocol = demo_protocol()
    return replace(
        protocol, mt_flip_angle=protocol.mt_flip_angle[1:], offset=protocol.offset[1:],
        normalised=True,
    )  # fmt: skip


def white_matter(model):
    return tissue_values(model.parameters, "WM", torch.zeros(1, dtype=torch.float64))


def test_whitened_samples_have_the_noise_of_one_image(averaged):
    model, plain = seen(averaged), ObservedR1(build_model("ramani", demo_protocol()))
    theta = white_matter(model)[None]
    signal, slopes = model.linearize(theta)
    raw, raw_slopes = plain.linearize(theta)
    torch.testing.assert_close(signal[:, 0], 3 * raw[:, 0])
    torch.testing.assert_close(signal[:, 1:], raw[:, 1:])
    torch.testing.assert_close(slopes[:, 0], 3 * raw_slopes[:, 0])
    basis = torch.eye(model.n_samples, dtype=torch.float64)[:, :2]
    torch.testing.assert_close(model(theta, basis), signal[:, :2])
    torch.testing.assert_close(model.linearize(theta, basis)[1], slopes[:, :2])


@pytest.mark.parametrize("kind", ["averaged", "divided"])
def test_the_gain_attains_the_bound_of_real_data(kind, request):
    model = seen(request.getfixturevalue(kind))
    theta = white_matter(model)
    signal, slopes = model.linearize(theta[None])
    free = model.parameters.columns("estimated")
    gain, covariance = efficient_gain(signal, slopes[..., free], amplitude_of(model))
    # What noise of the real channel alone makes of the estimate.
    told = (gain.real @ gain.real.mT).diagonal(dim1=-2, dim2=-1)[0]
    torch.testing.assert_close(told, covariance.diagonal(dim1=-2, dim2=-1)[0], rtol=1e-6, atol=0)
    bound = cramer_rao_bound(model, theta)[list(free)]
    torch.testing.assert_close(told, bound, rtol=1e-6, atol=0)
    blind = (gain @ signal[..., None]).real.abs().max()
    assert (blind < 1e-6) == (kind == "averaged")  # a known M0 is information


@pytest.mark.parametrize("kind", ["averaged", "divided"])
def test_the_second_order_bound_tends_to_that_of_cramer_and_rao(kind, request):
    model = seen(request.getfixturevalue(kind))
    theta = white_matter(model)
    least = cramer_rao_bound(model, theta)
    found = second_order_bounds(model, theta, [1e5, 50.0])
    free = list(model.parameters.columns("estimated"))
    torch.testing.assert_close(found[0, free] * 1e10, least[free], rtol=1e-4, atol=0)
    assert (found[1, free] * 2500 >= least[free] * (1 - 1e-9)).all()


def test_inputs_are_real_parts_of_norm_one_or_as_they_are(averaged, divided):
    for sequence in (averaged, divided):
        model = seen(sequence)
        spec = NetworkSpec(
            n_coefficients=model.n_samples, outputs=("m0s",), supplied=("R1",),
            scale=amplitude_of(model), width=8, blocks=1,
        )  # fmt: skip
        network = build_network(spec)
        data = torch.complex(torch.rand(5, model.n_samples) + 0.2, torch.rand(5, model.n_samples))
        known = {"R1": torch.ones(5)}
        inputs = network.prepare(data, known)
        assert inputs.shape == (5, model.n_samples + 1) == (5, spec.n_inputs)
        louder = network.prepare(3 * data, known)
        if sequence.normalised:
            torch.testing.assert_close(inputs[:, :-1], data.real)
        else:
            torch.testing.assert_close(inputs[:, :-1].norm(dim=-1), torch.ones(5))
            torch.testing.assert_close(louder, inputs)
        # What is in the other channel is noise.
        torch.testing.assert_close(network.prepare(data.real + 0j, known), inputs)


def test_a_voxel_without_signal_is_nan_not_an_exception():
    spec = NetworkSpec(n_coefficients=3, outputs=("m0s",), scale="real", width=8, blocks=1)
    inputs = build_network(spec).prepare(torch.zeros(2, 3, dtype=torch.complex64), {})
    assert inputs.isnan().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"scale": "imaginary"}, "scale"), ({"scale": "real", "odd": "w0"}, "no conjugate")],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(DataError, match=words):
        NetworkSpec(n_coefficients=3, outputs=("m0s", "w0"), **options)


def test_the_prior_of_spectra_keeps_what_no_map_tells(averaged):
    model = seen(averaged)
    rng = torch.Generator().manual_seed(1)
    theta = qmt_prior(model.parameters).sample(2000, rng=rng)
    check_parameters(theta, model.parameters)
    fixed = model.parameters.index(("R1s",))[0]
    assert theta[:, fixed].unique().tolist() == [1.0]
    for tissue in ("WM", "oedema"):
        assert tissue_set(model.parameters, tissue, 9, rng=rng)[:, fixed].unique().tolist() == [1]
    data = simulate_fingerprints(model, theta[:200], with_gain=True)
    assert float(data.coefficients.imag.abs().max()) == 0
    assert math.isfinite(float(data.gain.abs().max()))
