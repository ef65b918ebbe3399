"""What changes no signal keeps the network; what changes it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.match import load_network
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.sameness import same_train

FISP, QMT = SHIPPED / "mrf-jiang.json", SHIPPED / "qmt-demo.json"


def is_same(path, sequence):
    card = ModelCard.from_file(path)
    assert sequence.digest != card.sequence["digest"]  # else nothing is compared
    return same_train(path, card, sequence)


def changed(sequence, **arrays):
    return replace(sequence, **{name: np.array(values) for name, values in arrays.items()})


def test_a_nominal_pulse_duration_that_the_model_ignores_is_the_same_train():
    train = jiang_like_train()
    durations = np.where(train.flip_angle > 0, 1e-4, 0.0)
    assert is_same(FISP, changed(train, rf_duration=durations))


def test_rounding_of_a_table_is_the_same_train():
    train = jiang_like_train()
    degrees = np.round(np.degrees(train.flip_angle), 2)
    assert is_same(FISP, changed(train, flip_angle=np.radians(degrees)))
    table = hybrid_state_train().to_table()
    table["flip_angle"] = [f"{float(cell):.2f}" for cell in table["flip_angle"]]
    table["duration"] = [f"{float(cell):.7f}" for cell in table["duration"]]
    assert is_same(QMT, PulseSequence.from_table(table, start="antiperiodic"))


def test_the_interval_after_the_last_sample_is_the_same_train():
    train = jiang_like_train()
    longer = np.array(train.repetition_time)
    longer[0, -1] += 2e-3
    assert is_same(FISP, changed(train, repetition_time=longer))


@pytest.mark.parametrize(
    "change",
    [
        lambda train: {"flip_angle": np.where(train.inversion, np.pi, train.flip_angle * 1.01)},
        lambda train: {"repetition_time": train.repetition_time * 1.0009},
        lambda train: {"flip_angle": train.flip_angle[:, [0, *range(2, 1001), 1]]},
        lambda train: {"echo_time": train.echo_time + 2e-4},
    ],
)  # fmt: skip
def test_what_changes_the_signal_is_another_train(change):
    train = jiang_like_train()
    assert not is_same(FISP, changed(train, **change(train)))


def test_another_duration_of_pulses_that_saturate_is_another_train():
    train = hybrid_state_train()
    assert not is_same(QMT, changed(train, rf_duration=train.rf_duration * 1.02))


def test_a_card_without_anchors_knows_its_own_table_only():
    train = jiang_like_train()
    card = ModelCard.from_file(FISP)
    about = {key: value for key, value in card.sequence.items() if key != "anchors"}
    older = replace(card, sequence=about)
    assert same_train(FISP, older, train)
    assert not same_train(
        FISP, older, changed(train, rf_duration=np.full_like(train.rf_phase, 1e-4))
    )


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0, 2.0], [1.0]]])
def test_anchors_that_make_no_sense_are_another_train(rows):
    card = ModelCard.from_file(FISP)
    anchors = {**card.sequence["anchors"], "theta": rows}
    strange = replace(card, sequence={**card.sequence, "anchors": anchors}, weights_sha256="x")
    train = jiang_like_train()
    assert not same_train(
        FISP, strange, changed(train, rf_duration=np.full_like(train.rf_phase, 1e-4))
    )


def test_the_toolbox_finds_the_network_of_a_train_that_plays_alike():
    train = jiang_like_train()
    alike = changed(train, rf_duration=np.where(train.flip_angle > 0, 1e-4, 0.0))
    model = build_model("fisp", alike)
    signal = model(torch.tensor([[1.0, 12.0, 1.0]], dtype=torch.float64)).to(torch.complex64)
    found = load_network(model, "fisp").estimate(signal, {"B1": torch.ones(1)}, sigma=1e-3)
    assert float(found.theta[0, 0]) == pytest.approx(1.0, rel=0.02)
