"""What changes no signal keeps the network; what changes it does not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.information.averaged import Whitened
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.magnitude import MagnitudeSignal
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.match import NoMatchingModelError, load_network
from bids_brnn.zoo.places import SHIPPED
from bids_brnn.zoo.sameness import anchors_of, check_options, same_train
from bids_brnn.zoo.weights_file import complex_array, read_weights

FISP, QMT, SPECTRUM = (SHIPPED / f"{name}.json" for name in ("mrf-jiang", "qmt-demo", "spgr-demo"))


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


@pytest.mark.parametrize(("path", "train"), [(FISP, jiang_like_train), (QMT, hybrid_state_train)])
def test_pulses_that_are_all_turned_by_one_angle_are_the_same_train(path, train):
    train = train()
    assert is_same(path, changed(train, rf_phase=train.rf_phase + np.radians(77)))
    quadratic = np.radians(25 * np.arange(train.n_pulses) ** 2)
    assert not is_same(path, changed(train, rf_phase=train.rf_phase + quadratic))


def test_what_comes_after_the_last_sample_of_a_train_that_is_not_steady_may_last_any_time():
    train = jiang_like_train()
    table = {name: list(cells) for name, cells in train.to_table().items()}
    assert is_same(FISP, PulseSequence.from_table(
        table, start=train.start, last_repetition_time=3.0, needs_duration=False
    ))  # fmt: skip
    row = {"train": "1", "flip_angle": "40", "duration": "0", "phase": "0", "readout": "0",
           "pulse_type": "excitation", "gradient": "dephasing", "echo_time": "n/a",
           "onset": str(float(table["onset"][-1]) + 0.02)}  # fmt: skip
    unread = {name: [*cells, row[name]] for name, cells in table.items()}
    assert is_same(FISP, PulseSequence.from_table(unread, start=train.start, needs_duration=False))


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


def test_an_inversion_more_is_another_train():
    train = jiang_like_train()
    table = {name: list(cells) for name, cells in train.to_table().items()}
    middle = {"train": "1", "onset": str(float(table["onset"][500]) + 8e-3), "phase": "0",
              "flip_angle": "180", "duration": "0", "pulse_type": "inversion", "readout": "0",
              "gradient": "spoiler", "echo_time": "n/a"}  # fmt: skip
    for name, cells in table.items():
        cells.insert(501, middle[name])
    more = PulseSequence.from_table(table, start=train.start, needs_duration=False)
    assert more.n_samples == train.n_samples
    assert not is_same(FISP, more)


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


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0, 2.0], [1.0]], [[1.0, 12.0, 1.0]]])
def test_anchors_that_make_no_sense_are_another_train(rows):
    card = ModelCard.from_file(FISP)
    train = jiang_like_train()
    alike = changed(train, rf_duration=np.full_like(train.rf_phase, 1e-4))
    assert same_train(FISP, card, alike)
    anchors = {**card.sequence["anchors"], "theta": rows}
    strange = replace(card, sequence={**card.sequence, "anchors": anchors})
    assert not same_train(FISP, strange, alike)


@pytest.mark.parametrize(("path", "n"), [(QMT, 2400), (SPECTRUM, 12)])
def test_a_train_that_the_model_of_a_network_cannot_play_is_another_one(path, n):
    assert not is_same(path, jiang_like_train(n))


def test_weights_that_are_there_later_are_looked_at_again(tmp_path):
    train = jiang_like_train()
    alike = changed(train, rf_duration=np.where(train.flip_angle > 0, 2e-4, 0.0))
    path = Path(shutil.copy(FISP, tmp_path))
    assert not is_same(path, alike)
    shutil.copy(FISP.with_suffix(".safetensors"), tmp_path)
    assert is_same(path, alike)


@pytest.fixture
def knows():
    """Whether a network for images of a demonstration protocol is for other ones too.

    Its weights are those of a shipped one, of the same number of images; its signal model is one
    that is computed in no time.
    """
    protocol = demo_protocol()
    card = ModelCard.from_file(SPECTRUM)
    theta = torch.tensor(card.sequence["anchors"]["theta"], dtype=torch.float64)
    anchors = anchors_of(theta, spectra_of(protocol, theta))
    card = replace(card, model="ramani", sequence={**card.sequence, "anchors": anchors})

    def ask(**changes):
        other = replace(protocol, **changes)
        assert other.digest != card.sequence["digest"]
        return same_train(SPECTRUM, card, other)

    ask.protocol = protocol
    return ask


def spectra_of(protocol, theta):
    return Whitened(ObservedR1(build_model("ramani", protocol)))(theta).to(torch.complex64)


def test_rounding_of_a_protocol_of_spectra_is_the_same_protocol(knows):
    protocol = knows.protocol
    assert knows(repetition_time=float(np.float32(protocol.repetition_time)))
    # Ramani's continuous wave knows no excitation.
    assert knows(flip_angle=protocol.flip_angle * 1.1)
    assert knows(pulse=replace(protocol.pulse, duration=float(np.float32(0.012))))
    assert knows(weights=np.ones(protocol.n_samples))
    # The offset of an image without MT pulse is that of nothing.
    assert knows(offset=np.where(protocol.mt_flip_angle > 0, protocol.offset, 1000.0))


@pytest.mark.parametrize(
    "change",
    [
        lambda protocol: {"mt_flip_angle": protocol.mt_flip_angle * 1.01},
        lambda protocol: {"offset": protocol.offset * 1.02},
        lambda protocol: {"offset": -protocol.offset},  # B0 shifts them the other way
        lambda protocol: {"repetition_time": protocol.repetition_time * 1.0009},
        lambda protocol: {"normalised": True},
        lambda protocol: {"weights": np.r_[4.0, np.ones(protocol.n_samples - 1)]},
        lambda protocol: {"pulse": replace(protocol.pulse, shape="FERMI")},
    ],
)
def test_what_changes_the_spectrum_or_its_noise_is_another_protocol(knows, change):
    assert not knows(**change(knows.protocol))


def test_the_shipped_networks_know_the_signal_that_they_are_for():
    for path in (FISP, QMT, SPECTRUM):
        assert "anchors" in ModelCard.from_file(path).sequence
    protocol = demo_protocol()
    table, constants = protocol.to_table()
    rounded = {**constants, "RepetitionTimeExcitation": float(np.float32(0.032))}
    texts = {name: [str(cell) for cell in cells] for name, cells in table.items()}
    assert is_same(SPECTRUM, ZSpectrum.from_table(texts, rounded))


def test_the_toolbox_finds_the_network_of_a_train_that_plays_alike():
    train = jiang_like_train()
    alike = changed(train, rf_duration=np.where(train.flip_angle > 0, 1e-4, 0.0))
    model = build_model("fisp", alike)
    signal = model(torch.tensor([[1.0, 12.0, 1.0]], dtype=torch.float64)).to(torch.complex64)
    found = load_network(model, "fisp").estimate(signal, {"B1": torch.ones(1)}, sigma=1e-3)
    assert float(found.theta[0, 0]) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    "options", [{"slice_profile": np.array([0.6, 1.0])}, {"inversion_efficiency": 0.9}]
)
def test_options_that_change_the_signal_leave_the_network_to_others(options):
    model = build_model("fisp", jiang_like_train(), **options)
    for weights in ("auto", "mrf-jiang"):
        with pytest.raises(NoMatchingModelError, match=f"the options {next(iter(options))}"):
            load_network(model, weights=weights)


def test_options_that_change_nothing_keep_the_network():
    assert load_network(build_model("fisp", jiang_like_train(), inversion_efficiency=1.0))
    assert load_network(build_model("fisp", jiang_like_train(), method="torch"))


def test_a_network_that_learnt_another_signal_of_the_same_table_is_for_that_one():
    train = jiang_like_train()
    card = ModelCard.from_file(FISP)
    worse = build_model("fisp", train, inversion_efficiency=0.9)
    theta = torch.tensor(card.sequence["anchors"]["theta"], dtype=torch.float64)
    basis = torch.from_numpy(complex_array(read_weights(FISP, card)["basis"]))
    signal = worse(theta) @ basis.to(torch.complex128).conj()
    anchors = anchors_of(theta, signal)
    options = {"model_options": {"inversion_efficiency": 0.9}}
    learnt = replace(card, recipe=options, sequence={**card.sequence, "anchors": anchors})
    with pytest.raises(DataError, match="trained with the options inversion_efficiency"):
        check_options(FISP, learnt, train)
    check_options(FISP, learnt, train, worse)
    # What is said and changes nothing is no other signal.
    check_options(FISP, replace(card, recipe={"model_options": {"n_states": "all"}}), train)


def test_a_model_of_other_data_has_no_network():
    train = jiang_like_train()
    with pytest.raises(NoMatchingModelError, match="magnitudes are real"):
        load_network(MagnitudeSignal(build_model("fisp", train)))
    with pytest.raises(NoMatchingModelError, match="the signal model has m0s, R1f"):
        load_network(build_model("gbloch-zspectrum", demo_protocol()))


@pytest.mark.parametrize("word", ["loss", "precision", "spread"])
def test_words_that_are_unknown_are_not_left_aside(word):
    model = build_model("fisp", jiang_like_train())
    with pytest.raises(DataError, match=f'{word} "mse-crv" is unknown; use .*'):
        load_network(model, **{word: "mse-crv"})


def test_no_noise_tells_no_errors():
    model = build_model("fisp", jiang_like_train())
    data = model(torch.tensor([[1.0, 12.0, 1.0]], dtype=torch.float64)).to(torch.complex64)
    network = load_network(model)
    assert network.covariance(data, sigma=0.02).diagonal(dim1=-2, dim2=-1).min() > 0
    for sigma in (0.0, torch.tensor([torch.nan, 1.0])):
        with pytest.raises(DataError, match="give a sigma above 0 for every voxel"):
            network.covariance(data.expand(2, -1), sigma=sigma)
