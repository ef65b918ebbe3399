"""Networks that are made of one for any protocol: for whom, once, and what is said."""

from __future__ import annotations

import json
import logging
import subprocess
from dataclasses import replace

import pytest

from bids_brnn.app.any_spectrum import make_in_process, make_networks
from bids_brnn.bids import find_acquisitions
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.workflows.choice import plan_estimation
from bids_brnn.zoo.any_card import AnyCard, named_any_card
from bids_brnn.zoo.cache import derived_job
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import choose_network
from bids_brnn.zoo.places import SHIPPED
from tests.zoo.evaluations import judged


@pytest.fixture
def series(spectra):
    spectra.one_image()
    (found,) = find_acquisitions(spectra.root).acquisitions
    return replace(found, model="ramani")


@pytest.fixture
def make_config(spectra, tmp_path):
    def make(**changes):
        places = {"bids_dir": spectra.root, "output_dir": tmp_path / "out",
                  "work_dir": tmp_path / "work"}  # fmt: skip
        return RunConfig(**{**places, **changes})

    return make


class Fake:
    """A maker that writes the card and weights of a shipped network under the name of the job."""

    def __init__(self, **figures):
        self.figures, self.calls = figures, []

    def __call__(self, job, general, threads):
        self.calls.append(job.name)
        content = json.loads((SHIPPED / "spgr-demo.json").read_text())
        digest = {**content["sequence"], "digest": job.protocol.sequence.digest}
        content |= {
            "name": job.name, "model": job.protocol.model, "sequence": digest,
            "evaluation": judged(tissue_snr="80", **self.figures),
        }  # fmt: skip
        job.card.with_suffix(".safetensors").write_bytes(
            (SHIPPED / "spgr-demo.safetensors").read_bytes()
        )
        job.card.write_text(json.dumps(content))


def test_series_of_one_protocol_share_a_network_that_is_made_once(series, make_config, caplog):
    caplog.set_level(logging.INFO)
    maker = Fake()
    make_networks(make_config(), [series, series], maker)
    assert len(maker.calls) == 1
    assert 'made of "any-spectrum" in' in caplog.text
    assert "passes the quality rule" in caplog.text
    make_networks(make_config(), [series], maker)
    assert len(maker.calls) == 1


def test_one_that_the_rule_refuses_is_told_and_not_made_again(series, make_config, caplog):
    caplog.set_level(logging.INFO)
    maker = Fake(bias=3.0)
    for _ in range(2):
        make_networks(make_config(), [series], maker)
    assert len(maker.calls) == 1
    assert "left aside, its squared bias" in caplog.text
    plan = plan_estimation(make_config(), series, ("R1",))
    assert list(plan.recipes) == ["nlls"]
    assert any("is left aside: its squared bias" in note for note in plan.notes)


@pytest.mark.parametrize("weights", ["none", "spgr-demo"])
def test_who_wants_none_or_another_one_gets_none(series, make_config, weights):
    maker = Fake()
    make_networks(make_config(weights=weights), [series], maker)
    assert not maker.calls


@pytest.mark.parametrize("weights", ["auto", "any-spectrum"])
def test_the_methods_text_alone_makes_none_and_says_so(series, make_config, caplog, weights):
    maker = Fake()
    config = make_config(boilerplate_only=True, weights=weights)
    make_networks(config, [series, series], maker)
    assert not maker.calls
    assert caplog.text.count("the text does not tell of it") == 1
    assert not config.networks_dir.exists()
    make_networks(make_config(), [series], maker)
    caplog.clear()
    make_networks(config, [series], maker)  # it is there: the text tells of it
    assert "does not tell" not in caplog.text


def test_a_protocol_with_a_network_of_its_own_needs_none(series, make_config):
    from bids_brnn.sequences.z_designs import demo_protocol

    maker = Fake()
    own = replace(series, model="gbloch-zspectrum", sequence=demo_protocol())
    make_networks(make_config(), [own], maker)
    assert not maker.calls
    assert choose_network("auto", own).card.name == "spgr-demo"


def test_a_protocol_beyond_training_is_told_where_networks_are_chosen(series, make_config):
    slow = replace(series, sequence=replace(series.sequence, repetition_time=2.0))
    maker = Fake()
    make_networks(make_config(), [slow], maker)
    assert not maker.calls
    (note,) = choose_network("auto", slow).notes
    assert 'the network "any-spectrum" for any protocol is left aside: the repetition' in note
    with pytest.raises(DataError, match="cannot serve: the repetition time"):
        choose_network("any-spectrum", slow)


def test_what_cannot_be_made_is_a_warning_and_the_reference_serves(series, make_config, caplog):
    def fail(job, general, threads):
        raise ReadError("the disk is gone")

    make_networks(make_config(), [series], fail)
    assert "no network could be made" in caplog.text
    assert "the disk is gone" in caplog.text
    with pytest.raises(DataError, match="no network could be made of"):
        choose_network("any-spectrum", series)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"words": "a"}\n{"error": "no room", "code": 73}\n', "no room"),
        ('{"error": "no room", "code": 73}\nof a library\n', "no room"),
        ('{"wor', r"the process stopped \(-9\)"),
        ("", r"the process stopped \(-9\)"),
        ("[1]\n", r"the process stopped \(-9\)"),
    ],
)
def test_whatever_a_process_leaves_behind_is_one_sentence(
    series, tmp_path, monkeypatch, output, words
):
    path = named_any_card("any-spectrum")
    job = derived_job(tmp_path / "networks", series, AnyCard.from_file(path))
    job.work.mkdir(parents=True)
    ended = subprocess.CompletedProcess([], -9, output, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(BidsBrnnError, match=words):
        make_in_process(job, path, 1)


def test_a_card_of_such_a_network_that_is_broken_is_told(series, make_config):
    own = make_config().networks_dir
    own.mkdir(parents=True)
    (own / "mine.json").write_text(json.dumps({"kind": "any-spectrum", "format": 0}))
    notes = choose_network("auto", series, own).notes
    assert any("is left aside" in note and "mine.json" in note for note in notes)


def test_named_it_serves_whatever_the_rule_says(series, make_config):
    config = make_config(weights="any-spectrum")
    make_networks(config, [series], Fake(bias=3.0))
    choice = choose_network("any-spectrum", series, config.networks_dir)
    assert choice.path is not None
    assert "must not be trusted" in choice.warning


def test_it_is_for_z_spectra(series):
    other = replace(series, sequence=object())
    with pytest.raises(DataError, match="is for Z-spectra"):
        choose_network("any-spectrum", other)


def test_a_process_makes_and_judges_it(series, make_config, tmp_path, monkeypatch):
    path = named_any_card("any-spectrum")
    job = derived_job(tmp_path / "networks", series, AnyCard.from_file(path))
    make_in_process(job, path, 1)
    card = ModelCard.from_file(job.card)
    assert card.is_derived
    assert card.evaluation["held_out"]
    assert not card.shortcoming
    # Slope, coverage and bias of m0s as they are asked for (issue of networks for any protocol).
    row = card.evaluation["tissue_sets"]["WM"]["80"]["m0s"]
    assert 0.93 < row["slope"] < 1.07
    assert row["squared_bias_over_crb"] < 0.1
    assert 0.9 < row["coverage"] < 0.99
