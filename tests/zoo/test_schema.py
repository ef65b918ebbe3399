"""Cards and weights of strangers: refused with a sentence before anything is built."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.learning.networks import build_network
from bids_brnn.learning.spec import NetworkSpec, network_shapes, surrogate_shapes
from bids_brnn.learning.surrogate import SurrogateNetwork
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.weights_file import read_weights

CARD = json.loads((SHIPPED / "mrf-jiang.json").read_text())


@pytest.fixture
def folder(tmp_path):
    for suffix in ("json", "safetensors"):
        shutil.copy(SHIPPED / f"mrf-jiang.{suffix}", tmp_path / f"a.{suffix}")
    return tmp_path


def places(value, path=()):
    """Paths of all entries of a nested value."""
    if path:
        yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from places(item, (*path, key))


def changed(path, value):
    content = copy.deepcopy(CARD)
    *outer, last = path
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return content


# Everything that is read; the rest is kept as it is.
READ = [
    path
    for path in places({key: CARD[key] for key in CARD if key not in (
        "prior", "training", "recipe", "evaluation", "subspace")})
    if not any(isinstance(key, int) and key > 0 for key in path)
]  # fmt: skip


@pytest.mark.parametrize(
    "value", [None, -5, 10**9, 10**400, 1.5, float("nan"), True, "x" * 30_000, "a\x1b[31m", [], {},
              [[1]], {"a": 1}], ids=str,
)  # fmt: skip
def test_any_entry_of_another_kind_is_a_sentence(tmp_path, value):
    path = tmp_path / "a.json"
    said = []
    for place in READ:
        path.write_text(json.dumps(changed(place, value)))
        try:
            card = ModelCard.from_file(path)
        except (DataError, ReadError) as error:
            said.append(str(error))
            continue
        # What was taken was of the right kind, and everything that is asked of a card works.
        assert card.shortcoming is not None
        assert card.preference >= 0
        assert card.last_loss
        assert card.evaluate_command(path)
    assert all(len(text) < 1000 and text.isprintable() for text in said)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("network", "blocks"), 10**9, "blocks of network of the card is 1000000000; write one"),
        (("surrogate", "width"), -5, "width of surrogate of the card is -5; write one whole"),
        (("surrogate", "width"), 10**9, "write one whole number from 1 to 8192"),
        (("surrogate", "logarithmic"), ["x"], "names of parameters above 0 .*, each once"),
        (("surrogate", "harmonics"), 3, "harmonics and conjugate of surrogate need"),
        (("network", "outputs"), ["R1", "R1"], "each once"),
        (("network", "outputs"), ["R1", "x"], "names of parameters"),
        (("snr_range",), [0, 1], "entry 1 of snr_range of the card is 0"),
        (("name",), "../a", "can be none of a file"),
        (("parameters", 0, "lower"), 30, "lower <= start <= upper"),
        (("training", "config", "stages"), [{"loss": 3}], "loss of entry 1 of stages"),
        (("training", "config", "stages"), {"a": 1}, "stages of config of training"),
        (("evaluation", "held_out"), [1], "held_out of evaluation of the card"),
        (("weights_sha256",), 3, "weights_sha256 of the card is 3; write a text"),
    ],
)
def test_what_is_wrong_is_named(folder, place, value, words):
    path = folder / "a.json"
    path.write_text(json.dumps(changed(place, value)))
    with pytest.raises(DataError, match=words):
        ModelCard.from_file(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name":' * 100_000, '{"name": "\\ud800"}'])
def test_deep_and_broken_json_is_no_card(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ReadError, match="cannot read the model card"):
        ModelCard.from_file(path)


def _with(folder: Path, change) -> tuple[Path, ModelCard]:
    """Weights that were changed, with a card that says that they are its own."""
    weights = folder / "a.safetensors"
    tensors = {name: values.copy() for name, values in load_file(weights).items()}
    change(tensors)
    save_file(tensors, weights)
    path = folder / "a.json"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    path.write_text(json.dumps({**CARD, "weights_sha256": digest}))
    return path, ModelCard.from_file(path)


def _set(name, make):
    return lambda tensors: tensors.update({name: make(tensors[name])})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("sketch", lambda values: values[..., 0]), "lacks the sketch"),
        (_set("sketch", lambda values: values[:1]), "lacks the sketch"),
        (_set("sketch", lambda values: values.astype(np.int64)), "lacks the sketch"),
        (_set("sketch", lambda values: values.astype(np.float16)), "lacks the sketch"),
        (_set("basis", lambda values: values[..., :1]), "a basis of another shape"),
        (_set("basis", lambda values: values.ravel()), "a basis of another shape"),
        (_set("network.input_scale", lambda values: values[:1]), "not have the shape"),
        (_set("surrogate.spread", lambda values: values[None]), "not have the shape"),
        (lambda tensors: tensors.pop("surrogate.level"), "not have the shape"),
        (lambda tensors: tensors.update({"x\x1b": np.zeros(1)}), "which its card does not"),
    ],
)
def test_weights_must_be_those_that_the_card_describes(folder, change, words):
    with pytest.raises(DataError, match=words):
        read_weights(*_with(folder, change))


def test_weights_are_read_no_further_than_any_network_needs(folder, monkeypatch):
    card = ModelCard.from_file(folder / "a.json")
    monkeypatch.setattr("bids_brnn.zoo.weights_file.MAX_WEIGHTS", 1000)
    with pytest.raises(ReadError, match="more than 1000 bytes"):
        read_weights(folder / "a.json", card)
    (folder / "a.safetensors").unlink()
    (folder / "a.safetensors").symlink_to("/dev/zero")
    with pytest.raises(ReadError, match="it is a device"):
        read_weights(folder / "a.json", card)


@pytest.mark.parametrize(
    "header",
    [
        2**62, b"{", b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 8], "data_offsets": '
        b"[0, 4]}}", b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}', b"[" * 10_000,
        b'{"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}',
    ],
)  # fmt: skip
def test_malformed_safetensors_are_refused(folder, header):
    length, body = (header, b"") if isinstance(header, int) else (len(header), header)
    content = length.to_bytes(8, "little") + body + b"\0\0\0\0"
    (folder / "a.safetensors").write_bytes(content)
    card = {**CARD, "weights_sha256": hashlib.sha256(content).hexdigest()}
    (folder / "a.json").write_text(json.dumps(card))
    with pytest.raises(BidsBrnnError, match=r"not a safetensors file|not have the shape"):
        read_weights(folder / "a.json", ModelCard.from_file(folder / "a.json"))


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(5, ("a", "b"), ("B1",), width=16, blocks=3),
        NetworkSpec(5, ("a", "w0"), width=16, blocks=2, odd="w0"),
        NetworkSpec(4, ("a", "b"), layout="nested", lower=(0.0, 0.0), upper=(1.0, 1.0)),
    ],
)
def test_the_shapes_that_are_checked_are_those_of_the_networks(spec):
    state = build_network(spec).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == network_shapes(spec)
    state = SurrogateNetwork(3, 5, 16, 2, turning=(0, 1.0, 4)).state_dict()
    shapes = surrogate_shapes(3, 5, 16, 2, 4)
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes
