"""From a folder with an unknown protocol to maps with a network of its own."""

from __future__ import annotations

import json

import pytest
import tomli_w

from bids_brnn.bids import find_acquisitions
from bids_brnn.cli.toolbox.main import main
from bids_brnn.experiments.presets import recipe_of
from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals.registry import model_entry
from bids_brnn.zoo.cache import job_for
from bids_brnn.zoo.card import ModelCard

GOOD = {
    "rank": 6, "fingerprints": 6000, "held_out": 300, "basis_fingerprints": 150,
    "network": {"width": 64, "blocks": 2, "normalisation": "norm"},
    "surrogate": {"width": 32, "blocks": 2, "steps": 300},
    "errors": {"width": 24, "blocks": 1, "steps": 300, "batch": 512},
    "training": {
        "snr_range": [10, 40], "precision": "float32", "averaging": 0.98,
        "stages": [
            {"loss": {"name": "efficient", "weight": 0.0, "mirrored": False}, "steps": 400,
             "batch": 1024, "warmup": 20, "learning_rate": 5e-3}
        ],
    },
}  # fmt: skip
"""A training of seconds that passes the quality rule for a train of 250 pulses."""


def shortened(networks, study, **changes):
    """Make the training of ``quick`` for a study one of seconds; its configuration is there."""
    (series,) = find_acquisitions(study).acquisitions
    recipe = recipe_of("quick", model_entry("fisp"))
    job = job_for(networks, series, "quick", recipe)
    path = job.write_configuration("float32")
    content = {
        "name": job.name,
        "model": "fisp",
        "protocol": f"{job.name}.json",
        **GOOD,
        **changes,
    }
    path.write_text(tomli_w.dumps(content))
    return job


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new protocol") / "raw"
    make_dataset(
        folder, n_participants=1, kinds=("mrf",), shape=(8, 9, 1), mrf_train=jiang_like_train(250)
    )
    return folder


def test_the_level_train_then_participants_use_its_network(study, app, tmp_path, capsys):
    out, options = tmp_path / "out", ["--skip-bids-validation", "--nprocs", 1]
    job = shortened(out / "code" / "networks", study)
    assert app(study, out, "train", "--train-missing", "quick", *options) == 0
    said = capsys.readouterr().err
    assert "no network is for its protocol; training begins" in said
    assert " left" in said  # time
    assert f"{job.name}: trained in" in said
    assert "protocols with a network: 1, without: 0" in said
    assert not list(out.rglob("*map.nii.gz"))
    assert app(study, out, "train", "--train-missing", "quick", *options) == 0  # nothing to do
    assert "training begins" not in capsys.readouterr().err
    options += ["-w", tmp_path / "work", "--reference", "none"]
    assert app(study, out, "participant", *options) == 0
    assert job.name not in capsys.readouterr().err
    card = ModelCard.from_file(job.card)
    about = json.loads(next(out.rglob("*desc-brnn_R1map.json")).read_text())
    assert about["WeightsSHA256"] == card.weights_sha256
    assert about["WeightsCard"] == job.card.name
    assert about["WeightsTraining"] == card.facts
    assert about["WeightsTraining"]["Fingerprints"] == GOOD["fingerprints"]
    page = (out / "sub-01.html").read_text()
    assert f"The network &#34;{job.name}&#34; was trained for the signal" in page
    assert "on 6000 simulated fingerprints" in page
    assert "signal-to-noise ratios from 10 to 40" in page
    # What wrote the card can be repeated, and judged in full.
    assert main(["evaluate", str(job.card), "--config", str(job.configuration), "--draws", "20",
                 "--fingerprints", "60", "--out", str(tmp_path / "evaluation")]) == 0  # fmt: skip


def test_a_participant_trains_and_goes_on_with_the_reference_where_the_network_is_unfit(
    study, app, tmp_path, capsys
):
    out, networks = tmp_path / "out", tmp_path / "networks"
    stage = {**GOOD["training"]["stages"][0], "steps": 5, "warmup": 2}
    job = shortened(networks, study, training={**GOOD["training"], "stages": [stage]})
    options = ["--train-missing", "quick", "--weights-dir", networks, "--skip-bids-validation"]
    options += ["--nprocs", 1, "--level", "minimal", "-w", tmp_path / "work"]
    assert app(study, out, "participant", *options) == 0
    said = capsys.readouterr().err
    assert f'the network "{job.name}", trained with the preset quick, is left aside: its' in said
    assert "Train longer with --train-missing and a larger preset" in said
    assert not list(out.rglob("*desc-brnn*"))
    assert list(out.rglob("*desc-dict_R1map.nii.gz"))
    notes = json.loads(next(out.rglob("*desc-brain_mask.json")).read_text())["NetworkNotes"]
    assert "is left aside: its" in notes[0]
    # The level for clusters says it by its exit code, and so does a run with nothing else to do.
    assert app(study, out, "train", *options[:5]) == 65
    assert app(study, out, "participant", "--reference", "none", *options) == 2
    assert app(study, out, "participant", "--weights", job.card, *options[2:]) == 0
    assert list(out.rglob("*desc-brnn_R1map.nii.gz"))
    assert "must not be trusted" in capsys.readouterr().err


def test_a_study_without_series_and_unknown_presets_have_their_codes(study, app, tmp_path, capsys):
    out = tmp_path / "out"
    assert app(study, out, "train", "--participant-label", "99", "--skip-bids-validation") == 18
    assert app(study, out, "train", "--train-missing=huge") == 2
    assert app("--train-missing", study, out, "train", "--participant-label", "99") == 18
    assert app(study, out, "participant", "--weights-dir", tmp_path / "absent") == 74
    assert "which does not exist" in capsys.readouterr().err
