"""``brnn new-sequence``: templates that every reader takes as they are."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from bids_brnn.bids.input.declared import ABOUT, KEYS
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_NOT_WRITABLE, EXIT_USAGE
from bids_brnn.experiments.keys import NAMES
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.experiments.sidecars import read_sidecar
from bids_brnn.experiments.templates import SPECTRUM, kinds, template_train
from bids_brnn.sequences.columns import COLUMNS
from bids_brnn.sequences.z_spectrum import COLUMNS as Z_COLUMNS
from bids_brnn.sequences.z_spectrum import CONSTANTS
from bids_brnn.sequences.z_words import MEANINGS
from bids_brnn.signals import model_entry


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != SPECTRUM])
def test_templates_of_a_train_pass_every_reader(kind, tmp_path):
    folder = tmp_path / "own"
    assert main(["new-sequence", str(folder), "--kind", kind]) == 0
    entry = model_entry(kind)
    (sidecar,) = folder.glob(f"acq-own_{entry.kind.suffix}.json")
    found = read_sidecar(sidecar)
    assert found.entry is entry
    assert found.sequence.digest == template_train(entry).digest
    assert found.representation == "time"
    assert json.loads(sidecar.read_text())["Comments"].keys() <= ABOUT.keys()
    experiment = read_experiment(folder / "own.toml")
    assert experiment.sequence.digest == found.sequence.digest


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != SPECTRUM])
def test_remarks_of_rows_are_true(kind, tmp_path):
    assert main(["new-sequence", str(tmp_path / "own"), "--kind", kind]) == 0
    table = pd.read_csv(tmp_path / "own" / "acq-own_rfpulses.tsv", sep="\t", dtype=str)
    frames = (table["readout"] == "1").cumsum()
    remarks = table["comment"].fillna("").str
    for index in np.flatnonzero(remarks.contains("sample")):
        row, words = table.iloc[index], table["comment"][index]
        if row["readout"] == "1":
            assert words.endswith(f"is row {frames[index]} of the basis, frame {frames[index]}")
        else:
            assert "nothing is sampled" in words
        assert words.startswith("an inversion") == (row["pulse_type"] == "inversion")
    assert remarks.contains("sample").sum() >= 2
    begins = np.flatnonzero(remarks.contains("begins"))
    assert (table["onset"][begins].astype(float) == 0).all()


def test_a_rank_brings_a_basis(tmp_path):
    folder = tmp_path / "own"
    assert main(["new-sequence", str(folder), "--kind", "fisp", "--rank", "4"]) == 0
    found = read_sidecar(folder / "acq-own_MRF.json")
    assert found.representation == "subspace"
    assert read_experiment(folder / "own.toml").subspace.rank == 4


def test_the_template_of_a_z_spectrum_is_read(tmp_path):
    assert main(["new-sequence", str(tmp_path / "own"), "--kind", "zspectrum"]) == 0
    protocol = read_z_protocol(tmp_path / "own" / "acq-own_zspectrum.tsv")
    assert protocol.n_samples == 12
    experiment = read_experiment(tmp_path / "own" / "own.toml")
    assert experiment.sequence.digest == protocol.digest
    assert experiment.spec.scale == "real"


def test_every_key_of_a_training_stands_in_the_template(tmp_path):
    assert main(["new-sequence", str(tmp_path / "own"), "--kind", "mrf"]) == 0
    text = (tmp_path / "own" / "own.toml").read_text()
    for name in NAMES - {"model_options", "pulses", "zspectrum", "protocol", "train"}:
        assert re.search(rf"\b{name}\b", text), name


def test_everything_that_is_read_is_explained():
    assert set(KEYS) == set(ABOUT)
    assert set(MEANINGS) == {*Z_COLUMNS, *CONSTANTS}
    assert all(column.meaning for column in COLUMNS.values())


def test_what_cannot_be_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["new-sequence", str(tmp_path), "--kind", "fisp"]) == EXIT_NOT_WRITABLE
    words = ["new-sequence", str(tmp_path / "new"), "--kind"]
    assert main([*words, "fisp", "--label", "a_b"]) == EXIT_USAGE
    assert main([*words, "zspectrum", "--rank", "3"]) == EXIT_USAGE
    assert not (tmp_path / "new").exists()
