"""What is stored comes back; what does not fit or was damaged is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.errors import DataError, ReadError
from bids_brnn.parameters import QMT
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.one_pool.fisp import EpgFisp
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo import match, store
from bids_brnn.zoo.card import ModelCard, parameters_from, parameters_to
from bids_brnn.zoo.places import SHIPPED, WEIGHTS_VARIABLE
from bids_brnn.zoo.recognition import rotation_from, sketch
from tests.zoo.evaluations import judged

MOST_SQUARED_BIAS, MOST_VARIANCE = 1.0, 2.0  # at which a network is refused


@pytest.fixture
def copy(small, tmp_path, monkeypatch):
    """A writable copy of the models, found by name."""
    folder = tmp_path / "copy"
    shutil.copytree(small.folder, folder)
    for path in folder.glob("*.json"):  # as if both had been found good
        path.write_text(
            ModelCard.from_file(path).with_evaluation(judged(tissue_snr="80")).to_json()
        )
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    return folder


def _voxels(model, n=50, seed=0):
    rng = torch.Generator().manual_seed(seed)
    theta = torch.rand(n, 3, generator=rng) * torch.tensor([1.0, 10.0, 0.2])
    theta = (theta + torch.tensor([0.7, 8.0, 0.9])).double()
    return theta, model(theta).to(torch.complex64)


def _narrowed(subspace):
    return Subspace(subspace.basis[:, :4])


def _same_span(subspace, seed=0):
    rng = torch.Generator().manual_seed(seed)
    square = torch.randn(subspace.rank, subspace.rank, generator=rng, dtype=torch.float64)
    return Subspace(subspace.basis.double() @ torch.linalg.qr(square)[0])


def test_a_training_leaves_two_models_with_cards(small):
    names = {card.name for _, card in store.list_cards([small.folder])}
    assert names == {"small", "small-msecrb"}
    card = small.stored.card
    assert card.loss == "bias-reduced"
    assert card.sequence["digest"] == small.experiment.sequence.digest
    assert card.training["draws"] == 120 * 256 * 4
    assert card.training["config"]["stages"][0]["loss"]["name"] == "bias-reduced"
    assert card.facts["NoiseRealisations"] == 250 * 512 + 120 * 256 * 4  # what it went on from
    assert card.prior["classes"][0]["parameters"]["R1"]["values"] == [0.5, 2]
    assert small.stored.surrogate.parameters == small.experiment.parameters
    assert 0 < card.surrogate["relative_error_median"] < 0.1


def test_fingerprints_of_parts_that_were_trained_more_are_counted(small):
    more = replace(small.stored.card, training={"fingerprints": 3000, "further": 500})
    assert more.facts["Fingerprints"] == 3500
    shipped = ModelCard.from_file(SHIPPED / "qmt-demo.json")  # its recipe tells
    assert shipped.facts["Fingerprints"] == 300_000 + 15_000 + 75_000


def test_figures_that_are_no_numbers_are_left_out_of_sidecars():
    row = {"slope": float("nan"), "slope_error": 0.0}
    figures = {
        "held_out": {"all": {"squared_bias_over_crb": float("nan")}},
        "tissue_sets": {"WM": {"80.0": {"R1": row, "R2": {"slope": 0.9}}}},
    }
    card = ModelCard.from_file(SHIPPED / "qmt-demo.json")
    found = replace(card, evaluation=figures, recipe={"preset": [float("inf")]}).facts
    json_bytes(found)
    assert found["SquaredBiasOverBound"] == found["VarianceOverBound"] == "n/a"
    assert found["Sensitivity"] == {"SNR": 80.0, "Slopes": {"WM": {"R1": "n/a", "R2": 0.9}}}


def test_an_interrupted_training_goes_on_from_its_files(small, tmp_path, monkeypatch):
    from bids_brnn.experiments import fingerprints, make

    folder = tmp_path / "again"
    shutil.copytree(small.folder, folder)
    for path in folder.glob("small*.json"):
        path.unlink()

    def fail(*_, **__):
        raise AssertionError("simulated or imitated again")

    monkeypatch.setattr(fingerprints, "simulate_fingerprints", fail)
    monkeypatch.setattr(make, "train_surrogate", fail)
    cards = make.make_models(small.experiment, folder)
    assert [path.name for path in cards] == ["small.json", "small-msecrb.json"]
    assert ModelCard.from_file(cards[0]).weights_sha256 == small.stored.card.weights_sha256


def test_the_estimator_works_in_the_basis_of_training_in_a_rotated_one_and_on_frames(
    small, compressed
):
    theta, voxels = _voxels(compressed)
    supplied = {"B1": theta[:, 2].float()}
    plain = small.stored.estimator(subspace=compressed.subspace).estimate(
        voxels, supplied, sigma=0.01
    )
    rotated = _same_span(compressed.subspace)
    other = CompressedSignal(small.experiment.model, rotated)(theta).to(torch.complex64)
    turned = small.stored.estimator(subspace=rotated).estimate(other, supplied, sigma=0.01)
    frames = small.experiment.model(theta).to(torch.complex64)
    whole = small.stored.estimator().estimate(frames, supplied, sigma=0.01)
    assert (plain.theta[:, 0] - theta[:, 0]).abs().median() < 0.1
    for result in (turned, whole):  # float32 round-off, amplified by the network
        torch.testing.assert_close(result.theta, plain.theta, rtol=2e-3, atol=0)
        # the last coefficients vary little and are amplified most, so their round-off shows
        torch.testing.assert_close(result.std, plain.std, rtol=5e-2, atol=0)
    torch.testing.assert_close(turned.m0, plain.m0, rtol=1e-3, atol=0)


def test_another_span_is_refused_with_the_part_outside(small, compressed):
    basis = compressed.subspace.basis.double().clone()
    rng = torch.Generator().manual_seed(1)
    basis[:, -1] = torch.randn(basis.shape[0], generator=rng, dtype=torch.float64)
    other = Subspace(torch.linalg.qr(basis)[0])
    with pytest.raises(DataError, match="spans another subspace"):
        small.stored.estimator(subspace=other)
    with pytest.raises(DataError, match="trained with 5 coefficients, the basis has 4"):
        small.stored.estimator(subspace=_narrowed(compressed.subspace))


def test_the_sketch_finds_the_rotation(compressed):
    known, rotated = compressed.subspace, _same_span(compressed.subspace)
    _, voxels = _voxels(compressed)
    rotation = rotation_from(rotated, sketch(known), "it")
    other = voxels.to(torch.complex128) @ (rotated.basis.mH @ known.basis.double()).conj().mT.to(
        torch.complex128
    )
    torch.testing.assert_close(other @ rotation, voxels.to(torch.complex128), rtol=1e-4, atol=1e-5)


def test_the_fitting_model_is_found_and_prefers_bias_reduced(small, compressed, copy):
    estimator = match.load_network(compressed, "fisp")
    expected = small.stored.network.state_dict()
    torch.testing.assert_close(estimator.network.state_dict(), expected, rtol=0, atol=0)
    other = match.load_network(compressed, "fisp", loss="mse-crb")
    assert not torch.equal(other.network.body.leave.weight, expected["body.leave.weight"])
    named = match.load_network(compressed, "fisp", weights="small-msecrb")
    torch.testing.assert_close(named.network.state_dict(), other.network.state_dict())


def test_from_python_that_network_serves_which_the_app_takes(small, compressed, copy, monkeypatch):
    card = small.stored.card.with_evaluation(judged(tissue_snr="80"))
    tried = []
    made = replace(card, name="a", network={**card.network, "layout": "scoring"})
    marked = replace(card, name="b", evaluation=judged(slope=0.7, tissue_snr="80"))
    quick = replace(card, name="c", evaluation=judged(bias=0.2, tissue_snr="80"))
    standard = replace(card, name="d", evaluation=judged(bias=0.1, tissue_snr="80"))
    cards = [(copy / f"{card.name}.json", card) for card in (made, marked, quick, standard)]
    monkeypatch.setattr(match, "list_cards", lambda: cards)

    def refuse(path):
        tried.append(path.stem)
        raise ReadError("not now")

    monkeypatch.setattr(match, "load_model", refuse)
    with pytest.raises(match.NoMatchingModelError, match="not now"):
        match.load_network(compressed, "fisp")
    assert tried == ["d", "c", "b", "a"]


def test_no_model_is_guessed_and_the_command_that_trains_one_is_named(small, copy, compressed):
    frames = EpgFisp(jiang_like_train(151))
    basis = Subspace(torch.linalg.qr(torch.randn(151, 5, dtype=torch.float64))[0])
    for weights in ("auto", "small", copy / "small.json"):
        with pytest.raises(match.NoMatchingModelError, match="brnn train my") as caught:
            match.load_network(CompressedSignal(frames, basis), "fisp", weights=weights)
        assert "\n" not in str(caught.value)
    with pytest.raises(match.NoMatchingModelError, match="rank = 4"):
        narrow = CompressedSignal(small.experiment.model, _narrowed(compressed.subspace))
        match.load_network(narrow, "fisp")
    with pytest.raises(match.NoMatchingModelError, match="for fisp signals, the data are gbloch"):
        match.load_network(compressed, "gbloch", weights="small")


def _damage(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    card = path.with_suffix(".json")
    content = json.loads(card.read_text())
    import hashlib

    content["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(content))


def test_weights_that_are_not_those_of_the_card_are_refused(copy):
    weights = copy / "small.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(ReadError, match="other SHA-256"):
        store.load_model("small")
    weights.unlink()
    with pytest.raises(ReadError, match="cannot read"):
        store.load_model("small")


def test_truncated_weights_are_refused(copy):
    weights = copy / "small.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    content = json.loads((copy / "small.json").read_text())
    import hashlib

    content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (copy / "small.json").write_text(json.dumps(content))
    with pytest.raises(ReadError, match="not a safetensors file"):
        store.load_model("small")


def test_values_that_are_not_finite_are_refused(copy):
    def change(tensors):
        tensors["network.body.leave.bias"][0] = torch.nan

    _damage(copy / "small.safetensors", change)
    with pytest.raises(DataError, match="NaN or infinite values"):
        store.load_model("small")


@pytest.mark.parametrize("key", ["network.body.enter.weight", "surrogate.body.leave.weight"])
def test_another_shape_is_refused(copy, key):
    def change(tensors):
        tensors[key] = tensors[key][:-1].clone()

    _damage(copy / "small.safetensors", change)
    with pytest.raises(DataError, match="the shape that its card describes"):
        store.load_model("small")


def test_a_missing_sketch_is_refused(copy):
    _damage(copy / "small.safetensors", lambda tensors: tensors.pop("sketch"))
    with pytest.raises(DataError, match="lacks the sketch"):
        store.load_model("small")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot read the model card"),
        ("[]", "not a model card"),
        ('{"name": "a", "weights_sha256": "b", "format": 99}', "card format 99"),
        ('{"name": "a", "weights_sha256": "b", "format": 1}', "the card has no description"),
    ],
)
def test_other_json_is_not_a_card(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises((ReadError, DataError), match=words):
        ModelCard.from_file(path)


def test_unknown_names_and_folders_are_refused(copy, monkeypatch, tmp_path):
    with pytest.raises(ReadError, match='no trained model "large"; list them with: brnn models'):
        store.load_model("large")
    with pytest.raises(ReadError, match="holds 2 model cards"):
        store.load_model(copy)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(ReadError, match="does not exist"):
        store.list_cards()


def test_frames_need_a_basis(small):
    from dataclasses import replace

    with pytest.raises(DataError, match="give the basis"):
        replace(small.stored, basis=None).estimator()


def test_parameter_tables_survive_json():
    rows = json.loads(json.dumps(parameters_to(QMT)))
    assert parameters_from(rows) == QMT
    with pytest.raises(DataError, match="incomplete"):
        parameters_from([{"lower": 0}])


_SHIPPED = [(path, card) for path, card in store.list_cards([SHIPPED])]
_UNMET = {
    "qmt-invivo": "squared bias of R2f 0.254 bounds, limit 0.25: nearly all of it of fluid",
    "qmt-demo": "variance of R2f 1.16 bounds, limit 1.11 (of fluid 1.4 to 1.5)",
    "qmt-demo-msecrb": "squared bias of R2f 0.41 bounds, limit 0.25, by its loss",
}
"""Networks that miss a limit below; strict, so that one that comes to meet it is noticed. Fluid is
a tenth of the held-out fingerprints (R2f below 2/s); all others of qmt-invivo have a squared bias
of 0.005, of qmt-demo a variance of 1.09 to 1.10 bounds (SNR 20 and 50, 60 draws)."""


@pytest.mark.parametrize(("path", "card"), _SHIPPED, ids=[card.name for _, card in _SHIPPED])
def test_shipped_models_load(path, card):
    assert store.load_model(path).card.name == path.stem
    assert not card.shortcoming
    assert set(card.evaluation["tissue_sets"]) == {"WM", "GM", "lesion", "oedema"}
    assert card.licence
    assert card.citation


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(
            card,
            id=card.name,
            marks=[pytest.mark.xfail(reason=_UNMET[card.name], strict=True)]
            if card.name in _UNMET
            else [],
        )
        for _, card in _SHIPPED
    ],
)
def test_shipped_models_state_what_they_reach_with_room_to_the_limits(card):
    for row in card.evaluation["held_out"].values():
        assert row["squared_bias_over_crb"] < MOST_SQUARED_BIAS / 4
        assert row["variance_over_crb"] < MOST_VARIANCE / 1.8
    assert card.evaluation["draws"] >= 1000
