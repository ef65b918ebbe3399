"""Estimators as the program builds them, of data on a device that is not the CPU."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.csf import CsfEstimator, fluid_mixture
from bids_brnn.estimators.network import devices, fluid
from bids_brnn.estimators.network.devices import on_device, precision_on
from bids_brnn.estimators.network.series import noise_of_network
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.interfaces import voxels as reading
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.priors import tissue_set
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.tensor_files import read_tensors
from bids_brnn.zoo.match import load_network
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.recipe import EstimatorRecipe
from tests.elsewhere import DEVICES, there, watched

SNR = 60.0
N = 300


def _fingerprints():
    model = build_model("fisp", jiang_like_train())
    basis = read_tensors(SHIPPED / "mrf-jiang.safetensors")["basis"][..., 0]
    return CompressedSignal(model, Subspace(basis.clone())), "fisp", ("B1",)


def _spectra():
    model = ObservedR1(build_model("gbloch-zspectrum", demo_protocol()))
    return model, "gbloch-zspectrum", ("R1", "w0", "B1")


def _noisy(model, theta):
    """Data in single precision at |M0| = 1000; real where the model is."""
    signal = 1000 * model(theta)
    rng = torch.Generator().manual_seed(4)
    noise = torch.randn(*signal.shape, 2, generator=rng, dtype=torch.float64)
    if not signal.is_complex() or not signal.imag.any():
        noise[..., 1] = 0
    return (signal + 1000 / SNR * torch.view_as_complex(noise)).to(torch.complex64)


def _series(make, n=N):
    """Network, data ``(n, R)``, what is supplied of each voxel, and the noise."""
    model, kind, names = make()
    theta = tissue_set(model.parameters, "WM", n, rng=torch.Generator().manual_seed(3))
    data = _noisy(model, theta)
    data[7] = 0
    known = {name: theta[:, model.parameters.index((name,))[0]].float() for name in names}
    network = load_network(model, kind, precision="float32")  # two devices round bf16 otherwise
    if kind == "fisp":  # a thousand pulses, one operation after another, take minutes
        network = replace(network, exact=network.model)
    return network, data, known, torch.full((n,), 1000 / SNR)


@pytest.fixture(scope="module", params=[_fingerprints, _spectra], ids=["mrf", "spectra"])
def series(request):
    return _series(request.param)


@pytest.mark.parametrize("moved", DEVICES)
def test_maps_of_a_network_and_their_noise_are_those_of_the_cpu(series, moved, tmp_path):
    network, data, known, sigma = series
    unsure = {"B1": torch.full((len(data),), 0.02)}
    place = torch.stack([torch.arange(len(data)) % 20, torch.arange(len(data)) // 20], 1)

    def found(on, checkpoint=None):
        supplied = {name: on(values) for name, values in known.items()}
        noise = noise_of_network(network, on(data), supplied, on(place))
        maps = network.estimate(
            on(data), supplied, sigma=on(sigma), test_noise=None if noise is None else noise.sigma,
            spread={name: on(values) for name, values in unsure.items()}, checkpoint=checkpoint,
        )  # fmt: skip
        return maps, noise

    here, level = found(lambda values: values)
    maps, noise = found(moved, Checkpoint(tmp_path / "part.safetensors", interval=0.0))
    assert (noise is None) == (level is None)
    if noise is not None:
        # A median regression of residuals in single precision
        torch.testing.assert_close(noise.sigma.cpu(), level.sigma, rtol=1e-3, atol=0)
    parts = {name: getattr(maps, name) for name in ("theta", "m0", "residual", "std")}
    for name, values in (parts | dict(maps.quality)).items():
        assert values.device == moved(data).device
        expected = getattr(here, name, None)
        expected = here.quality[name] if expected is None else expected
        # Small differences of numbers in single precision.
        torch.testing.assert_close(values.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("moved", DEVICES)
def test_minima_of_a_balanced_train_are_looked_for_where_the_data_are(moved, monkeypatch):
    monkeypatch.setattr(fluid, "_ATOMS", 32)
    monkeypatch.setattr(fluid, "_FEW", 32)  # where they lie is asked, not how many
    basis = read_tensors(SHIPPED / "qmt-demo.safetensors")["basis"][..., 0]
    model = CompressedSignal(build_model("gbloch", hybrid_state_train()), Subspace(basis.clone()))
    network = load_network(model, "gbloch", weights="qmt-demo", precision="float32")
    network = replace(network, exact=network.model)  # other valleys, tissue and fluid are asked
    theta = torch.cat(
        [
            tissue_set(model.parameters, "WM", 8, rng=torch.Generator().manual_seed(3)),
            fluid.fluid_points(model.parameters, 8),
        ]
    )
    data = _noisy(model, theta)
    here = network.estimate(data, sigma=1000 / SNR).quality
    found = network.estimate(moved(data), sigma=1000 / SNR).quality
    assert bool((here["distance"] > 1).any())
    for name in ("distance", "edge"):
        assert found[name].device == moved(data).device
        # Small differences of numbers in single precision.
        torch.testing.assert_close(found[name].cpu(), here[name], rtol=1e-3, atol=1e-4)


def test_what_lies_on_a_device_beside_data_and_maps_does_not_grow_with_the_voxels():
    network, data, known, sigma = _series(_fingerprints, 4000)
    network = replace(network, block_size=500)

    def largest(n):
        supplied = {name: there(values[:n]) for name, values in known.items()}
        given = there(data[:n]), there(sigma[:n])
        with watched() as watch:
            network.estimate(given[0], supplied, sigma=given[1])
        return watch.largest

    of_a_block = largest(500)
    maps = 4000 * len(network.parameters)
    assert largest(4000) <= max(of_a_block, 2 * maps, 2 * data.numel())
    assert of_a_block > 500 * 100  # layers of the network: else nothing was seen


def _recipe(estimator):
    """Recipe, data and maps of a step."""
    if estimator == "nlls":
        recipe = EstimatorRecipe(
            "nlls", "ramani", demo_protocol(), supplied=("R1", "w0", "B1"), magnitude=True
        )
        model = recipe.build_model()
        theta = tissue_set(model.parameters, "WM", 60, rng=torch.Generator().manual_seed(5))
        columns = model.parameters.index(recipe.supplied)
        known = {
            name: theta[:, column].float()
            for name, column in zip(recipe.supplied, columns, strict=True)
        }
        return recipe, _noisy(model, theta), known
    train = jiang_like_train(8)
    options = {"n_atoms": 200, "refine": 0}
    recipe = EstimatorRecipe("dict", "fisp", train, estimator_options=options, supplied=("B1",))
    model = build_model("fisp", train)
    theta = tissue_set(model.parameters, "GM", 60, rng=torch.Generator().manual_seed(5))
    known = {"B1": theta[:, 2].float()}
    return recipe, _noisy(model, theta), known


@pytest.mark.parametrize("estimator", ["nlls", "dict"])
def test_the_step_of_a_run_writes_the_same_maps(tmp_path, monkeypatch, estimator):
    recipe, data, known = _recipe(estimator)

    def image(name, values):
        path = tmp_path / f"{name}.nii"
        nibabel.Nifti1Image(values.reshape(5, 6, 2, *values.shape[1:]), np.eye(4)).to_filename(
            path
        )
        return str(path)

    inputs = {
        "coefficients": image("data", data.numpy()),
        "mask": image("mask", np.ones(60, np.uint8)),
        "recipe": str(recipe.to_file(tmp_path / "recipe.json")),
        "supplied": [image(name, values.numpy()) for name, values in known.items()],
        "supplied_names": list(known),
        "suffix": "QMTmap",
        "noise_std": 1000 / SNR,
        "check_noise": True,
    }

    def maps(name):
        folder = tmp_path / name
        folder.mkdir()
        EstimateMaps(**inputs).run(cwd=str(folder))
        rows = json.loads((folder / "maps.json").read_text())
        return {
            row["file"]: np.asarray(nibabel.load(folder / row["file"]).dataobj) for row in rows
        }

    here = maps("here")
    monkeypatch.setattr(
        reading, "to_device", lambda values, device, threads: there(torch.from_numpy(values))
    )
    elsewhere = maps("elsewhere")
    assert elsewhere.keys() == here.keys()
    for file, values in elsewhere.items():
        close = np.isclose(values, here[file], rtol=1e-2, atol=1e-4, equal_nan=True)
        assert close.mean() > 0.9, file  # two atoms may swap


def _fits(kind):
    """Builds a fit for a device; data, what is supplied, noise."""
    if kind == "fluid beside a network":
        network, data, known, sigma = _series(_fingerprints, 60)

        def build(device):
            return CsfEstimator(network, fluid_mixture(on_device(network.model, device), "MRFmap"))

        return build, data, known, sigma
    short = build_model("fisp", jiang_like_train(8))
    theta = tissue_set(short.parameters, "WM", 60, rng=torch.Generator().manual_seed(2))
    model = CompressedSignal(short, Subspace.from_model(short, theta, 4))
    torch.manual_seed(0)
    wrong = SurrogateModel(SurrogateNetwork(3, 4, 8, 1).requires_grad_(False), short.parameters)
    fit = NllsEstimator(model, draft=wrong if kind == "a draft" else None)
    if kind == "fluid":
        fit = CsfEstimator(fit, fluid_mixture(model, "MRFmap"))
    return lambda _: fit, _noisy(model, theta), {"B1": theta[:, 2]}, torch.full((60,), 1000 / SNR)


@pytest.mark.parametrize("moved", DEVICES)
@pytest.mark.parametrize("kind", ["a draft", "fluid", "fluid beside a network"])
def test_fits_with_help_are_those_of_the_cpu(moved, kind):
    build, data, known, sigma = _fits(kind)
    here = build(data.device).estimate(data, known, sigma=sigma)
    given = moved(data)
    found = build(given.device).estimate(
        given, {name: moved(values) for name, values in known.items()}, sigma=moved(sigma)
    )
    maps = (found.theta, found.m0, found.residual, found.std, *found.quality.values())
    assert {values.device for values in maps} == {given.device}
    # Fits end within 1 % of the noise of the minimum.
    close = torch.isclose(found.theta.cpu(), here.theta, rtol=1e-2, atol=0, equal_nan=True)
    assert close.all(-1).double().mean() > 0.9


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_used_where_there_is_arithmetic_for_it(monkeypatch, fast):
    monkeypatch.setattr(devices, "has_bf16", lambda: fast)
    network, data, known, sigma = _series(_fingerprints, 64)
    network = replace(network, precision="bf16", exact=None)
    wide = replace(network, precision="float32")
    found, expected = (
        one.estimate(data, known, sigma=sigma).theta.nan_to_num() for one in (network, wide)
    )
    assert torch.equal(found, expected) is not fast
    assert precision_on(torch.device("cpu"), "float32") == "float32"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bf16")])
def test_devices_before_ampere_have_none(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert precision_on(torch.device("cuda"), "bf16") == expected
