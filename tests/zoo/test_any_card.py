"""Networks for any protocol of Z-spectra on disk: what is read, refused, found, and derived."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import DataError, ReadError
from bids_brnn.experiments.any_spectrum import describe_any, read_plan
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.scoring_network import ScoringNetwork, scoring_spec
from bids_brnn.sequences.z_designs import demo_protocol, wand_like
from bids_brnn.tensor_files import read_tensors, write_tensors
from bids_brnn.zoo.any_card import AnyCard, any_cards, any_problems, named_any_card
from bids_brnn.zoo.any_store import load_any, save_any
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import SHIPPED, read_cards

PLAN = {
    "name": "all",
    "protocols": {"ramani": 40},
    "network": {"width": 8, "blocks": 1},
    "training": {
        "snr_range": [30, 300],
        "stages": [{"loss": {"name": "efficient", "weight": 0.0, "mirrored": False}, "steps": 5}],
    },
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The card of an untrained network."""
    folder = tmp_path_factory.mktemp("any")
    plan = read_plan(PLAN, folder / "all.toml")
    torch.manual_seed(0)
    network = ScoringNetwork(scoring_spec(1, is_divided=False, width=8, blocks=1))
    errors = ErrorNetwork(network.n_features, 4, 8, 1)
    card = describe_any(plan, SimpleNamespace(seconds=1.0), errors)
    return save_any(folder, card, network, errors)


@pytest.fixture
def general(written, tmp_path):
    """A copy that a test may change."""
    for path in (written, written.with_suffix(".safetensors")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / written.name


def test_what_is_written_is_read(general):
    stored = load_any(general)
    assert stored.card == AnyCard.from_file(general)
    assert stored.card.training["fingerprints"] == 40 * 300
    assert set(stored.tensors) == set(stored.card.shapes())


def test_it_is_found_by_path_and_folder_and_is_no_card_of_a_protocol(general):
    for reference in (general, general.with_suffix(".safetensors"), general.parent):
        assert named_any_card(str(reference)) == general
    assert [path for path, _ in any_cards([general.parent])] == [general]
    assert read_cards([general.parent]) == ([], [])
    with pytest.raises(ReadError, match="is the card of a network for any protocol"):
        ModelCard.from_file(general)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 9}, "does not have the shape that its card describes"),
        ({"weights_sha256": "0"}, "other SHA-256"),
        ({"width": "wide"}, "width of the card is 'wide'"),
        ({"format": 9}, "has card format 9"),
        ({"reach": {"number of images": [5]}}, "number of images of reach of the card"),
        ({"name": "../out"}, 'the name "../out" can be none of a file'),
    ],
)
def test_what_does_not_fit_is_refused(general, change, words):
    general.write_text(json.dumps({**json.loads(general.read_text()), **change}))
    with pytest.raises((ReadError, DataError), match=words):
        load_any(general)


def test_a_folder_is_that_of_the_general_network_whatever_was_made_of_it_there(general):
    folder = str(general.parent)
    content = json.loads((SHIPPED / "spgr-demo.json").read_text())
    path = general.parent / "one.json"
    content["network"]["supplied"] = ["B1", "R1", "w0"]
    made = {"network": {**content["network"], "layout": "scoring"}}
    path.write_text(json.dumps({**content, "name": "one", **made}))
    assert named_any_card(folder) == general
    path.write_text(json.dumps({**content, "name": "one"}))
    assert named_any_card(folder) is None


def test_a_card_that_cannot_be_read_is_told(general):
    assert any_problems([general.parent]) == []
    general.write_text(json.dumps({**json.loads(general.read_text()), "format": 9}))
    (text,) = any_problems([general.parent])
    assert "has card format 9" in text
    assert any_cards([general.parent]) == []


def test_the_home_of_nobody_is_no_network():
    assert named_any_card("~nobody-of-this-name/networks") is None


def test_a_plan_of_which_the_name_is_a_path_is_refused(tmp_path):
    with pytest.raises(DataError, match="it cannot be a path"):
        read_plan({**PLAN, "name": "../out"}, tmp_path / "all.toml")


def test_weights_with_one_array_more_are_refused(general):
    weights = general.with_suffix(".safetensors")
    write_tensors(weights, {**read_tensors(weights), "more": torch.zeros(1)}, {})
    content = json.loads(general.read_text())
    content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    general.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"describes \(more\)"):
        load_any(general)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({}, None, ""),
        ({}, 2.9, ""),
        ({}, 0.5, "it knows tissue at 1.5 to 7 T, and not at 0.5 T"),
        ({"repetition_time": 0.5}, 3.0, r"the repetition time \(s\) of the protocol is 0.5"),
        ({"mt_flip_angle": demo_protocol().mt_flip_angle * 4}, 3.0, "root mean square field"),
        ({"offset": demo_protocol().offset / 20}, 3.0, r"the lowest offset \(Hz\)"),
    ],
)
def test_a_protocol_beyond_all_of_training_is_told_before_anything_is_simulated(
    written, changes, field, words
):
    found = AnyCard.from_file(written).shortcoming(replace(demo_protocol(), **changes), field)
    assert re.search(words, found) if words else not found


def test_four_images_are_too_few(written):
    few = replace(
        demo_protocol(),
        mt_flip_angle=demo_protocol().mt_flip_angle[[0, 2, 7, 9]],
        offset=demo_protocol().offset[[0, 2, 7, 9]],
    )
    assert "the number of images of the protocol is 4" in AnyCard.from_file(written).shortcoming(
        few, 3.0
    )


def test_a_network_is_named_by_all_that_it_is_made_of(written):
    card = AnyCard.from_file(written)
    names = [
        card.derived_name("ramani", demo_protocol(), 3.0),
        card.derived_name("yarnykh", demo_protocol(), 3.0),
        card.derived_name("ramani", wand_like(), 3.0),
        card.derived_name("ramani", demo_protocol(), 7.0),
        replace(card, weights_sha256="other").derived_name("ramani", demo_protocol(), 3.0),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == card.derived_name("ramani", demo_protocol(), 3.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocols": {"fisp": 3}}, r"\[protocols\] needs numbers by model"),
        ({"protocols": {}}, r"\[protocols\] needs numbers by model"),
        ({"protocols": {"ramani": 0}}, "ramani of protocols"),
        ({"network": {"width": -1}}, "width of network"),
        ({"training": {"stages": [{"loss": {"name": "mse"}, "steps": 5}]}}, "must be efficient"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read_plan({**PLAN, **change}, tmp_path / "all.toml")


def test_the_list_of_models_tells_of_one_that_is_broken(general, monkeypatch, capsys):
    monkeypatch.setenv("BIDS_BRNN_WEIGHTS", str(general.parent))
    general.write_text(json.dumps({**json.loads(general.read_text()), "format": 9}))
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert "has card format 9" in said.err
    assert "any-spectrum  " in said.out
