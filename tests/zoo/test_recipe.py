"""A recipe survives its file bit by bit, and is refused when it was tampered with."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError, ReadError, SequenceError
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.zoo.recipe import EstimatorRecipe


@pytest.fixture(scope="module")
def recipe():
    train = jiang_like_train(30)
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((30, 4)))[0].astype(np.float32)
    return EstimatorRecipe(
        "dict", "fisp", train, basis, estimator_options={"refine": 0}, supplied=("B1",)
    )


def test_the_file_gives_the_same_recipe_back(recipe, tmp_path):
    again = EstimatorRecipe.from_file(recipe.to_file(tmp_path / "r.json"))
    for name in ("flip_angle", "repetition_time", "echo_time", "inversion", "gradient"):
        np.testing.assert_array_equal(
            getattr(again.sequence, name), getattr(recipe.sequence, name)
        )
    np.testing.assert_array_equal(again.basis, recipe.basis)
    assert again.digest == recipe.digest
    assert (again.supplied, again.estimator_options) == (("B1",), {"refine": 0})
    assert again.n_values == 4


def test_equal_recipes_are_equal_bytes(recipe, tmp_path):
    first = recipe.to_file(tmp_path / "a" / "r.json").read_bytes()
    again = EstimatorRecipe.from_file(tmp_path / "a" / "r.json")
    assert again.to_file(tmp_path / "b" / "r.json").read_bytes() == first
    assert (tmp_path / "a" / "r.npz").read_bytes() == (tmp_path / "b" / "r.npz").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": "nlls"},
        {"model": "bssfp"},
        {"basis": None},
        {"supplied": ()},
        {"estimator_options": {"refine": 1}},
        {"weights_sha256": "0"},
    ],
)
def test_every_part_changes_digest_and_file(recipe, tmp_path, changes):
    other = EstimatorRecipe(**{**vars(recipe), **changes})
    assert other.digest != recipe.digest
    assert other.to_file(tmp_path / "o.json").read_bytes().replace(b"o.npz", b"r.npz") != (
        recipe.to_file(tmp_path / "r.json").read_bytes()
    )


def test_arrays_of_another_recipe_are_refused(recipe, tmp_path):
    recipe.to_file(tmp_path / "r.json")
    EstimatorRecipe("dict", "fisp", jiang_like_train(31)).to_file(tmp_path / "s.json")
    (tmp_path / "s.npz").replace(tmp_path / "r.npz")
    with pytest.raises(ReadError, match="does not belong to"):
        EstimatorRecipe.from_file(tmp_path / "r.json")


def test_pickled_arrays_are_never_loaded(recipe, tmp_path):
    path = recipe.to_file(tmp_path / "r.json")
    marker = tmp_path / "executed"

    class Attack:
        def __reduce__(self):
            return (marker.touch, ())

    np.savez(tmp_path / "r.npz", flip_angle=np.array([Attack()], dtype=object), allow_pickle=True)
    marker.unlink(missing_ok=True)
    with pytest.raises(ReadError):
        EstimatorRecipe.from_file(path)
    assert not marker.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json"])
def test_a_broken_file_is_a_read_error(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ReadError, match=r"r\.json"):
        EstimatorRecipe.from_file(tmp_path / "r.json")


def test_another_format_is_refused(recipe, tmp_path):
    path = recipe.to_file(tmp_path / "r.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ReadError, match="recipe format 99"):
        EstimatorRecipe.from_file(path)


def test_an_unknown_estimator_is_refused(recipe):
    with pytest.raises(DataError, match='no estimator "best"; there are'):
        EstimatorRecipe("best", "fisp", recipe.sequence).build()


def test_what_is_built_estimates_what_the_recipe_says(recipe):
    options = {"atoms": None, "refine": 1}
    made = EstimatorRecipe("dict", "fisp", recipe.sequence, estimator_options=options).build()
    assert (made.name, made.refine) == ("dict", 1)
    theta = torch.tensor([[0.8, 12.0, 1.0]], dtype=torch.float64)
    estimate = made.estimate(made.model(theta).to(torch.complex64))
    # One Gauss-Newton step from the nearest of the default atoms, 4 % apart.
    torch.testing.assert_close(estimate.theta[:, :2].double(), theta[:, :2], rtol=0.02, atol=0)


def test_a_dictionary_is_kept_for_the_next_participant(recipe, tmp_path):
    recipe = EstimatorRecipe("dict", "fisp", recipe.sequence)
    theta = torch.tensor([[0.8, 12.0, 1.0]], dtype=torch.float64)
    data = recipe.build_model()(theta).to(torch.complex64)
    first = recipe.build(tmp_path / "dictionaries").estimate(data)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "dictionaries").iterdir()}
    assert files
    again = recipe.build(tmp_path / "dictionaries").estimate(data)
    assert torch.equal(first.theta, again.theta)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_supplied_parameter_is_not_estimated(recipe):
    model = EstimatorRecipe("nlls", "fisp", recipe.sequence, supplied=("R2",)).build_model()
    assert isinstance(model, SuppliedModel)
    assert model.parameters["R2"].role == "supplied"
    assert model.parameters["R1"].role == "estimated"
    theta = model.parameters.start(torch.zeros(1, dtype=torch.float64))[None]
    signal, derivatives = model.linearize(theta)
    assert signal.shape == (1, 30)
    assert derivatives.shape == (1, 30, 3)
    torch.testing.assert_close(signal, model(theta))


def test_writing_a_recipe_loads_no_torch():
    code = (
        "import sys, tempfile, pathlib\n"
        "from bids_brnn.zoo.recipe import EstimatorRecipe\n"
        "from bids_brnn.sequences.designs import jiang_like_train\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "path = EstimatorRecipe('dict', 'fisp', jiang_like_train(30)).to_file(folder / 'r.json')\n"
        "EstimatorRecipe.from_file(path)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_recipe_of_a_network_follows_from_its_card(small, tmp_path):
    card, train = small.stored.card, small.experiment.sequence
    path = small.folder / f"{card.name}.json"
    for weights in (path, path.with_suffix(".safetensors")):
        recipe = EstimatorRecipe.of_network(weights, train, supplied=("B1",))
        assert (recipe.estimator, recipe.model, recipe.weights) == ("brnn", "fisp", str(path))
        assert recipe.weights_sha256 == card.weights_sha256
        assert recipe.loss["name"] == "bias-reduced"
    again = EstimatorRecipe.from_file(recipe.to_file(tmp_path / "r.json"))
    assert again.loss == recipe.loss
    assert again.build().name == "brnn"


def test_what_a_recipe_of_a_network_lacks_is_said(small):
    card, train = small.stored.card, small.experiment.sequence
    path = str(small.folder / f"{card.name}.json")
    with pytest.raises(DataError, match='"small" was trained for another pulse train'):
        EstimatorRecipe.of_network(path, jiang_like_train(30))
    with pytest.raises(DataError, match="names no weights; make it with"):
        EstimatorRecipe("brnn", "fisp", train).build()
    with pytest.raises(DataError, match="holds no weights_sha256"):
        EstimatorRecipe("brnn", "fisp", train, weights=path).build()
    with pytest.raises(ReadError, match="not the network that the recipe was made for"):
        EstimatorRecipe("brnn", "fisp", train, weights=path, weights_sha256="0").build()


def test_a_train_without_signal_is_refused_before_estimation():
    train = jiang_like_train(30)
    turns = np.where(train.inversion, train.flip_angle, 2 * np.pi)
    silent = replace(train, flip_angle=turns, name="x.tsv")
    for estimator in ("dict", "nlls"):
        with pytest.raises(SequenceError, match=r"train 1 of x.tsv is zero at every sample"):
            EstimatorRecipe(estimator, "fisp", silent).build()


class TestZSpectra:
    @pytest.fixture
    def spectrum(self):
        protocol = replace(usual_protocol(), weights=np.r_[2.0, np.ones(12)])
        return EstimatorRecipe(
            "nlls", "ramani", protocol, supplied=("R1", "B1", "w0"), spreads=("R1",),
            magnitude=True, model_options={"R1s": "equal"},
        )  # fmt: skip

    def test_the_file_gives_the_same_recipe_back(self, spectrum, tmp_path):
        again = EstimatorRecipe.from_file(spectrum.to_file(tmp_path / "r.json"))
        assert again.digest == spectrum.digest
        assert again.sequence.digest == spectrum.sequence.digest
        assert again.sequence.name == "usual"
        assert (again.supplied, again.spreads) == (spectrum.supplied, ("R1",))
        assert (again.n_values, again.amplitude) == (13, "real")
        first = (tmp_path / "r.json").read_bytes()
        assert again.to_file(tmp_path / "b" / "r.json").read_bytes() == first

    def test_every_part_changes_the_digest(self, spectrum):
        protocol = spectrum.sequence
        others = [
            replace(spectrum, sequence=replace(protocol, **changes))
            for changes in (
                {"weights": None}, {"normalised": True}, {"mt_delay": 0.003},
                {"pulse": replace(protocol.pulse, bandwidth=300.0)},
                {"offset": protocol.offset + 1},
            )
        ]  # fmt: skip
        others += [replace(spectrum, spreads=()), replace(spectrum, model="yarnykh")]
        assert len({spectrum.digest, *(other.digest for other in others)}) == len(others) + 1

    def test_the_model_has_the_observed_rate_and_the_options(self, spectrum):
        model = spectrum.build_model(check=True)
        assert "R1" in model.parameters.names
        assert not model.parameters.maps_of("R1")  # R1s = R1f: nothing to derive
        gaussian = replace(spectrum, model_options={"lineshape": "gaussian"}).build_model()
        theta = model.parameters.start(torch.zeros(1, dtype=torch.float64))[None]
        assert (gaussian(theta) - model(theta)).abs().max() > 1e-3

    def test_estimators_without_real_scale_are_refused(self, spectrum):
        with pytest.raises(DataError, match="dict does not serve Z-spectra; use nlls"):
            replace(spectrum, estimator="dict").build()

    def test_a_network_of_pulse_trains_is_refused(self, spectrum):
        with pytest.raises(DataError, match="was trained for another pulse train"):
            EstimatorRecipe.of_network("qmt-demo", spectrum.sequence)
