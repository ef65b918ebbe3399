"""Networks that cannot serve a series are left aside with a note, or refused where named."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from bids_brnn.errors import BidsBrnnError, DataError, ReadError, UsageError
from bids_brnn.workflows.choice import plan_estimation
from bids_brnn.zoo.places import WEIGHTS_VARIABLE, fix_folders
from tests.zoo.evaluations import judged

from .conftest import RANK


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / "OUT"
    made.mkdir()
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(made))
    return made


def coefficients_of(series, rank=RANK, seed=1):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((series.sequence.n_samples, rank)))[0]
    return replace(series, representation="subspace", basis=basis)


def turned(basis, *, seed=2):
    rank = basis.shape[1]
    return basis @ np.linalg.qr(np.random.default_rng(seed).standard_normal((rank, rank)))[0]


@pytest.mark.parametrize("supplied", [(), ("B1",)])
@pytest.mark.parametrize("kind", ["qmt", "mrf"])
@pytest.mark.parametrize("real", [True, False])
def test_a_network_serves_frames_and_coefficients_of_its_train(
    make_config, acquisitions, save_network, folder, kind, supplied, real
):
    series = coefficients_of(acquisitions[kind])
    phase = 1 if real else np.exp(1j * np.linspace(0, 3, len(series.basis)))[:, None]
    basis = series.basis * phase
    save_network(folder, "own", series, basis=basis)
    rng = np.random.default_rng(3)
    coefficients = rng.standard_normal((6, RANK)) + 1j * rng.standard_normal((6, RANK))
    frames = coefficients @ basis.T
    other = turned(basis)
    found = {}
    for name, data, changes in (
        ("same basis", coefficients, {"basis": basis}),
        ("turned basis", frames @ other.conj(), {"basis": other}),
        ("frames", frames, {"representation": "time", "basis": None}),
    ):
        plan = plan_estimation(make_config(), replace(series, **changes), supplied)
        estimator = plan.recipes["brnn"].build()
        unheard = [name for name in supplied if name not in estimator.network.spec.supplied]
        assert len(plan.notes) == len(unheard)
        assert all("has no input for B1" in note for note in plan.notes)
        known = {name: torch.ones(6) for name in plan.recipes["brnn"].supplied}
        assert sorted([*known, *unheard]) == sorted(supplied)
        theta = estimator.estimate(torch.as_tensor(data, dtype=torch.complex64), known).theta
        found[name] = theta[:, estimator.parameters.columns("estimated")]
    for theta in found.values():  # float32 round-off of the projection
        torch.testing.assert_close(theta, found["same basis"], rtol=1e-3, atol=1e-7)


def rewrite(path, change):
    """Other weights beside a card that describes them."""
    weights = path.with_suffix(".safetensors")
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    card = json.loads(path.read_text())
    card["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    path.write_text(json.dumps(card))


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil(path):
    weights = path.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def nan(tensors):
    tensors["network.body.leave.bias"][0] = np.nan


def narrower(tensors):
    tensors["network.body.leave.weight"] = tensors["network.body.leave.weight"][:, 1:]


DAMAGE = {
    "no basis": (lambda p: rewrite(p, lambda t: t.pop("basis")), "holds no basis", DataError),
    "no sketch": (lambda p: rewrite(p, lambda t: t.pop("sketch")), "lacks the sketch", DataError),
    "not finite": (lambda p: rewrite(p, nan), "holds NaN or infinite values", DataError),
    "other shape": (lambda p: rewrite(p, narrower), "not have the shape", DataError),
    "absent": (lambda p: p.with_suffix(".safetensors").unlink(), "cannot read", ReadError),
    "other bytes": (spoil, "other SHA-256", ReadError),
    "no JSON": (lambda p: p.write_text("{"), "cannot read the model card", ReadError),
    "a list": (lambda p: p.write_text("[]"), "is not a model card", ReadError),
    "newer": (lambda p: edit(p, format=2), "has card format 2", ReadError),
    "texts for tables": (lambda p: edit(p, sequence="x"), "the card is 'x'; write", DataError),
    "no thresholds": (lambda p: edit(p, thresholds={}), "has no residual, inputs", DataError),
    "no width": (lambda p: edit(p, surrogate={"blocks": 1}), "has no width, conj", DataError),
    "odd counts": (
        lambda p: edit(p, surrogate={"width": "8", "blocks": 1, "conjugate": False}),
        "width of surrogate of the card is '8'; write one whole number from 1", DataError,
    ),
    "odd network": (
        lambda p: edit(p, network={"n_coefficients": 4, "outputs": ["R1"], "depth": 3}),
        "description of the network is wrong", DataError,
    ),
    "odd parameters": (lambda p: edit(p, parameters=[{}]), "the card has no item", DataError),
    "other parameters": (lambda p: edit(p, parameters=[]), "list of 1 to 64 entries", DataError),
    "other signal": (
        lambda p: edit(p, recipe={"model_options": {"slice_profile": [0.5, 1]}}),
        "trained with the options slice_profile of the signal model", DataError,
    ),
    "odd evaluation": (
        lambda p: edit(p, evaluation={"held_out": {"all": 1}}), "the card is 1; write", DataError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_serve_is_a_note_or_where_it_is_named_an_error(
    make_config, acquisitions, save_network, folder, case
):
    damage, words, kind = DAMAGE[case]
    series = acquisitions["mrf"]
    path = save_network(folder, "own", series)
    damage(path)
    plan = plan_estimation(make_config(), series, ())
    assert list(plan.recipes) == ["dict"]
    (note,) = plan.notes
    assert words in note
    assert "left aside" in note
    assert series.name in note
    for weights in (str(path), "own"):
        with pytest.raises(kind, match=words) as caught:
            plan_estimation(make_config(weights=weights), series, ())
        assert "\n" not in str(caught.value)
    with pytest.raises(BidsBrnnError, match=words):
        plan_estimation(make_config(weights=str(folder)), series, ())
    # A sound one in the same folder serves all the same.
    save_network(folder, "sound", series)
    for weights in ("auto", str(folder)):
        recipe = plan_estimation(make_config(weights=weights), series, ()).recipes["brnn"]
        assert recipe.weights.endswith("sound.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: coefficients_of(s, rank=RANK - 1), "trained with 4 coefficients, the basis"),
        (lambda s: coefficients_of(s, seed=9), "spans another subspace"),
    ],
)
def test_another_basis_is_told_before_anything_is_estimated(
    make_config, acquisitions, save_network, folder, change, words
):
    series = acquisitions["mrf"]
    save_network(folder, "own", series, basis=coefficients_of(series).basis)
    other = change(series)
    plan = plan_estimation(make_config(), other, ())
    assert list(plan.recipes) == ["dict"]
    assert words in plan.notes[0]
    with pytest.raises(DataError, match=words) as caught:
        plan_estimation(make_config(weights="own"), other, ())
    assert "train one for this series" in str(caught.value)


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ({}, "it was never evaluated"),
        (judged(bias=47), "its squared bias on held-out fingerprints is 47 Cramer-Rao bounds"),
        (judged(variance=2.5), "its variance on held-out fingerprints is 2.5"),
        (judged(bias=float("nan")), "its squared bias on held-out fingerprints is nan"),
        (judged(bias="small"), "its squared bias on held-out fingerprints is nan"),
        (judged(fingerprints=4), "it was evaluated on 4 fingerprints, 50 are needed"),
        (
            {"held_out": {"all": {}}, "fingerprints": 99},
            "it was evaluated with an unknown number of draws",
        ),
        ({"held_out": {"all": {}}, "fingerprints": 99, "draws": 99}, "fingerprints is nan"),
        (
            judged(slope=0.4),
            "its slope against the truth in WM at SNR 40 is 0.4 (R1; the limit is",
        ),
        (judged(coverage=0.7), "its share of 95 % intervals that hold the truth in WM at SNR 40"),
        (judged(tissue_snr="99"), "its evaluation lacks WM at an SNR of its training"),
    ],
)
def test_only_a_network_that_was_found_good_serves_by_itself(
    make_config, acquisitions, save_network, folder, evaluation, words
):
    series = acquisitions["mrf"]
    path = save_network(folder, "own", series, evaluation=evaluation, recipe={"pulses": "a.tsv"})
    plan = plan_estimation(make_config(), series, ())
    assert list(plan.recipes) == ["dict"]
    assert words in plan.notes[0]
    command = f"brnn evaluate {path} --config my.toml --update-card"
    is_judged = not words.startswith(("it was", "its evaluation lacks"))
    assert (command in plan.notes[0]) != is_judged, "what was judged is not to be judged again"
    assert ("train longer" in plan.notes[0]) == is_judged
    assert f"--weights {path}" in plan.notes[0]
    with pytest.raises(UsageError, match="left aside"):
        plan_estimation(make_config(reference="none"), series, ())
    for weights in ("own", str(folder)):
        forced = plan_estimation(make_config(weights=weights), series, ())
        assert list(forced.recipes) == ["brnn", "dict"]
        assert words in forced.warning
        assert "must not be trusted" in forced.warning
        assert words in forced.recipes["brnn"].training["Shortcoming"]
    # Behind one that was found good it is not even looked for.
    save_network(folder, "z-good", series, loss="mse")
    for weights in ("auto", str(folder)):
        plan = plan_estimation(make_config(weights=weights), series, ())
        assert plan.recipes["brnn"].weights.endswith("z-good.json")
        assert "Shortcoming" not in plan.recipes["brnn"].training
        assert plan.warning == ""


def test_a_network_with_one_poor_parameter_serves_and_its_map_is_marked(
    make_config, acquisitions, save_network, folder
):
    series = acquisitions["mrf"]
    path = save_network(folder, "own", series, evaluation=judged(slope=0.7))
    for weights in ("auto", "own", str(path)):
        plan = plan_estimation(make_config(weights=weights), series, ())
        assert "brnn" in plan.recipes
        words = "slope against the truth in WM at SNR 40 is 0.7 (the limit is 0.8)"
        assert plan.marks == {"R1": words}
        assert plan.notes == (
            f'{series.name}: the R1 map of the network "own" is to be read with care: {words}.',
        )
        assert plan.warning == ""


def test_of_two_networks_for_a_series_the_better_one_serves_whatever_its_name(
    make_config, acquisitions, save_network, folder, tmp_path, monkeypatch
):
    series = acquisitions["mrf"]
    save_network(folder, "a-quick", series, evaluation=judged(slope=0.7))  # marked
    save_network(folder, "b-quick", series, evaluation=judged(bias=0.2))
    save_network(folder, "c-standard", series, evaluation=judged(bias=0.1))
    for weights in ("auto", str(folder)):
        plan = plan_estimation(make_config(weights=weights), series, ())
        assert plan.recipes["brnn"].weights.endswith("c-standard.json")
    save_network(tmp_path / "first", "own", series, evaluation=judged(bias=0.3))
    monkeypatch.setenv(WEIGHTS_VARIABLE, f"{tmp_path / 'first'}{os.pathsep}{folder}")
    recipe = plan_estimation(make_config(), series, ()).recipes["brnn"]
    assert recipe.weights.endswith("own.json"), "folders are in the order that was given"


def test_a_folder_without_a_network_for_the_series_says_why(
    make_config, acquisitions, save_network, folder, tmp_path
):
    save_network(folder, "own", acquisitions["mrf"])
    with pytest.raises(DataError, match='can serve: the network "own" is for fisp signals'):
        plan_estimation(make_config(weights=str(folder)), acquisitions["qmt"], ())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no model card"):
        plan_estimation(make_config(weights=str(tmp_path / "empty")), acquisitions["qmt"], ())


def test_several_folders_are_searched_and_absent_ones_refused(
    make_config, acquisitions, save_network, folder, tmp_path, monkeypatch
):
    save_network(folder, "one", acquisitions["mrf"])
    save_network(tmp_path / "b", "two", acquisitions["qmt"], basis=acquisitions["qmt"].basis)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(WEIGHTS_VARIABLE, f"OUT{os.pathsep}{os.pathsep}~/b")
    fix_folders()
    assert os.environ[WEIGHTS_VARIABLE] == f"{folder}{os.pathsep}{tmp_path / 'b'}"
    monkeypatch.chdir("/")
    for kind, name in (("mrf", "one"), ("qmt", "two")):
        recipe = plan_estimation(make_config(), acquisitions[kind], ()).recipes["brnn"]
        assert recipe.weights.endswith(f"{name}.json")
    monkeypatch.setenv(WEIGHTS_VARIABLE, f"{folder}{os.pathsep}absent")
    with pytest.raises(ReadError, match="BIDS_BRNN_WEIGHTS names the folder of networks /absent"):
        fix_folders()


def test_networks_of_other_trains_and_models_are_named(
    make_config, acquisitions, save_network, folder
):
    series = acquisitions["mrf"]
    path = save_network(folder, "own", series)
    edit(path, model="bssfp")
    (note,) = plan_estimation(make_config(), series, ()).notes
    assert "is for bssfp signals, the signal model of the series is fisp" in note
    edit(path, model="fisp", sequence={"digest": "0123"})
    (note,) = plan_estimation(make_config(), series, ()).notes
    assert f"no network is for its pulse train ({series.sequence.digest})" in note
    assert "own (0123)" in note
    assert plan_estimation(make_config(), acquisitions["qmt"], ()).notes == ()
