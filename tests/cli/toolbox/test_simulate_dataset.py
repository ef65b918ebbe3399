"""``brnn simulate-dataset``: phantoms of one's own protocols that the application reads."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.bids.output.protocol_files import write_pulses, write_spectrum
from bids_brnn.cli.toolbox.main import main
from bids_brnn.errors import EXIT_USAGE
from bids_brnn.sequences.designs import balanced_train, hybrid_state_train, jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol, qmrlab_like

SMALL = ["--matrix", "7", "8", "1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A data set with a series of each kind."""
    folder = tmp_path_factory.mktemp("own")
    write_pulses(folder, "acq-a", jiang_like_train(40))
    (folder / "acq-a_MRF.json").write_text(
        json.dumps({"SignalRepresentation": "time", "DephasingPerRepetition": 6.2831853072})
    )
    write_pulses(folder, "acq-b", hybrid_state_train(n_pulses=20))
    write_spectrum(folder, "acq-c", demo_protocol())
    words = [
        "simulate-dataset", str(folder / "ds"), "--sidecar", str(folder / "acq-a_MRF.json"),
        "--pulses", str(folder / "acq-b_rfpulses.tsv"), "--model", "gbloch", "--design-basis", "9",
        "--protocol", str(folder / "acq-c_zspectrum.tsv"), "--field-maps", "B1", "R1", *SMALL,
    ]  # fmt: skip
    assert main(words) == 0
    return folder / "ds"


def test_the_application_finds_every_series(study):
    derivatives = {name: study / "derivatives" / name for name in ("fmriprep", "relaxometry")}
    found = find_acquisitions(study, derivatives=derivatives)
    assert not found.problems
    models = sorted(one.model for one in found.acquisitions)
    assert models == ["fisp", "gbloch", "gbloch-zspectrum"]


def test_two_series_whose_maps_would_have_one_name_are_refused(tmp_path, capsys):
    write_pulses(tmp_path, "acq-own", jiang_like_train(20))
    (tmp_path / "acq-own_MRF.json").write_text(
        json.dumps({"SignalRepresentation": "time", "DephasingPerRepetition": 6.2831853072})
    )
    write_spectrum(tmp_path, "acq-own", demo_protocol())
    words = ["simulate-dataset", str(tmp_path / "ds"), *SMALL]
    words += ["--sidecar", str(tmp_path / "acq-own_MRF.json")]
    words += ["--protocol", str(tmp_path / "acq-own_zspectrum.tsv")]
    assert main(words) == EXIT_USAGE
    assert "two series would be called acq-own, and so would" in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()


def test_truth_and_maps_are_there(study):
    names = {path.name for path in (study / "derivatives" / "truth").rglob("*.nii.gz")}
    assert "sub-01_acq-a_desc-truth_T1map.nii.gz" in names
    assert "sub-01_acq-b_model-genbloch_param-m0s_desc-truthStd_QMTmap.nii.gz" in names
    assert "sub-01_acq-c_model-genblochz_param-m0s_desc-truth_QMTmap.nii.gz" in names
    fields = {path.name for path in study.glob("sub-01/fmap/*.nii.gz")}
    assert fields == {f"sub-01_acq-{label}_TB1map.nii.gz" for label in "abc"}


def test_the_validator_finds_no_error(study):
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    command = str(Path(sys.executable).with_name("bids-validator-deno"))
    shown = subprocess.run([command, "--format", "json", study], capture_output=True, text=True)
    issues = json.loads(shown.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue.get("severity") == "error"] == []


def test_off_resonance_stays_within_the_band(tmp_path):
    train = balanced_train(20, repetition_time=14e-3, inversion_time=20e-3)
    write_pulses(tmp_path, "acq-x", train)
    words = ["--pulses", str(tmp_path / "acq-x_rfpulses.tsv"), "--model", "bssfp"]
    folder = tmp_path / "ds"
    assert main(["simulate-dataset", str(folder), *words, "--field-maps", "B0", *SMALL]) == 0
    (field,) = folder.glob("sub-01/fmap/*_fieldmap.nii.gz")
    # Half of the band of +-1 / (2 TR), with the slope of the field outside of the head.
    assert np.abs(nib.load(field).get_fdata()).max() < 0.5 / 14e-3


def test_images_divided_by_that_without_pulse_are_near_one(tmp_path):
    write_spectrum(tmp_path, "acq-n", dataclasses.replace(qmrlab_like(), normalised=True))
    folder = tmp_path / "ds"
    words = ["--protocol", str(tmp_path / "acq-n_zspectrum.tsv"), *SMALL]
    assert main(["simulate-dataset", str(folder), *words, "--model", "ramani"]) == 0
    (image,) = folder.glob("sub-01/anat/*_QMT.nii.gz")
    brain = nib.load(image).get_fdata()[3, 4, 0]
    assert (brain > 0.1).all()
    assert (brain < 1.2).all()
    assert json.loads((folder / "acq-n_QMT.json").read_text())["NoiseStandardDeviation"] < 0.1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--pulses", "t.tsv"],
        ["--protocol", "z.tsv", "--field-maps", "B1"],
        ["--protocol", "z.tsv", "--field-maps", "none", "R1"],
        ["--protocol", "z.tsv", "--label", "a-b"],
        ["--protocol", "z.tsv", "--rank", "3"],
        ["--protocol", "z.tsv", "--matrix", "0", "1", "1"],
        ["--protocol", "z.tsv", "--snr", "nan"],
        ["--protocol", "z.tsv", "--participants", "0"],
        ["--protocol", "z.tsv", "--sessions", "a", "a"],
        ["--protocol", "z.tsv", "--sessions", "a b"],
        ["--pulses", "t.tsv", "--model", "fisp", "--field-maps", "B0"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_spectrum(tmp_path, "x", demo_protocol()).rename(tmp_path / "z.tsv")
    (tmp_path / "x_zspectrum.json").rename(tmp_path / "z.json")
    write_pulses(tmp_path, "x", jiang_like_train(10)).rename(tmp_path / "t.tsv")
    assert main(["simulate-dataset", "ds", *words]) == EXIT_USAGE
    assert "brnn simulate-dataset: " in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()


def test_a_protocol_that_tells_nothing_makes_no_data_set(tmp_path, capsys):
    table = tmp_path / "acq-z_zspectrum.tsv"
    table.write_text("mt_flip_angle\toffset\n0\t0\n500\t2000\n")
    table.with_suffix(".json").write_text(
        '{"MTPulseShape": "HARD", "MTPulseDuration": 0.01, "FlipAngle": 6, '
        '"RepetitionTimeExcitation": 0.03}'
    )
    words = ["--model", "ramani", "--protocol", str(table)]
    assert main(["simulate-dataset", str(tmp_path / "out"), *words]) == 65
    assert "the data cannot tell m0s, R2f, Rx, T2s" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "mrf-jiang", "--draws", "0"],
        ["evaluate", "mrf-jiang", "--fingerprints", "-1"],
        ["evaluate", "mrf-jiang", "--threads", "0"],
        ["simulate-dataset", "out", "--seed", "-1"],
        ["import-pulseq", "a.seq", "out", "--model", "fisp", "--trains", "0"],
    ],
)
def test_numbers_that_cannot_be_are_usage_errors(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
