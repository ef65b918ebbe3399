"""What another package brings in one place and registers with one call works everywhere.

The signal model, the estimator and the quality map of ``toy.py`` go through the toolbox, the
contract suites, a training and a participant, without an edit elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import bids_brnn.estimators.registry
import bids_brnn.maps
import bids_brnn.signals.registry
from bids_brnn.bids.tables import read_table
from bids_brnn.cli.run import main as app
from bids_brnn.cli.toolbox.main import main as toolbox
from bids_brnn.errors import DataError
from bids_brnn.signals import build_model

HERE = Path(__file__).parent
SHAPE = (7, 8, 2)
SIGMA = 0.01
RANK = 4
TRAINING = """
name = "toy"
model = "tworates"
pulses = "rfpulses.tsv"
basis = "basis.tsv"
fingerprints = 2000
held_out = 200
[network]
width = 32
blocks = 1
[errors]
steps = 40
width = 16

[surrogate]
width = 32
blocks = 1
steps = 300
[training]
snr_range = [50, 150]
averaging = 0.95
stages = [{ loss = { name = "mse-crb", mirrored = false }, steps = 400, batch = 256, warmup = 5 }]
"""


@pytest.fixture(scope="module")
def toy():
    """The toys, registered for this module only."""
    spec = importlib.util.spec_from_file_location("toy", HERE / "toy.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = module
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        for place, name in (
            (bids_brnn.signals.registry, "_MODELS"),
            (bids_brnn.estimators.registry, "_ESTIMATORS"),
            (bids_brnn.maps, "_MAPS"),
        ):
            patch.setattr(place, name, dict(getattr(place, name)))
        module.register()
        yield module
    del sys.modules["toy"]


@pytest.fixture(scope="module")
def project(toy, tmp_path_factory) -> Path:
    """A data set of one head of the toy series, its truth, and a trained network."""
    root = tmp_path_factory.mktemp("toy") / "data"
    anat = root / "sub-01" / "anat"
    anat.mkdir(parents=True)
    train = toy.echoes()
    table = train.to_table()
    rows = ["\t".join(table), *("\t".join(row) for row in zip(*table.values(), strict=True))]
    (root / "rfpulses.tsv").write_text("\n".join(rows) + "\n")
    description = {"Name": "Toys", "BIDSVersion": "1.11.1"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    sidecar = {
        "SignalRepresentation": "subspace",
        "BoundaryCondition": "thermal",
        "MagneticFieldStrength": 3,
        "NoiseStandardDeviation": SIGMA,
    }
    (root / "TOY.json").write_text(json.dumps(sidecar))
    rng = np.random.default_rng(5)
    theta = np.stack([rng.uniform(8, 20, SHAPE), rng.uniform(0.1, 0.3, SHAPE)], axis=-1)
    model = build_model("tworates", train)
    signal = model(torch.from_numpy(theta)).numpy()
    basis = np.linalg.svd(signal.reshape(-1, train.n_samples).real)[2][:RANK].T
    np.savetxt(
        root / "basis.tsv",
        basis,
        fmt="%.15g",
        delimiter="\t",
        comments="",
        header="\t".join(f"c{column}" for column in range(RANK)),
    )
    signal = signal @ basis
    noise = SIGMA * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    for part, values in (("real", (signal + noise).real), ("imag", (signal + noise).imag)):
        image = nib.Nifti1Image(values.astype(np.float32), np.diag([2, 2, 2, 1]))
        nib.save(image, anat / f"sub-01_part-{part}_TOY.nii.gz")
    np.save(root.parent / "truth.npy", theta)
    nib.save(
        nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([2, 2, 2, 1])),
        root.parent / "mask.nii.gz",
    )
    (root / "toy.toml").write_text(TRAINING)
    assert toolbox(["train", str(root / "toy.toml"), str(root.parent / "weights")]) == 0
    return root.parent


@pytest.fixture(scope="module")
def outputs(project) -> Path:
    """What ``participant`` and ``group`` make of it."""
    out = project / "out"
    words = [
        str(project / "data"), str(out), "participant", "-w", str(project / "work"),
        "--modality", "toy", "--weights", str(project / "weights" / "toy.json"),
        "--mask", str(project / "mask.nii.gz"), "--skip-bids-validation", "--nprocs", "1",
    ]  # fmt: skip
    assert app(words) == 0
    words[2] = "group"
    assert app(words) == 0
    return out


def test_simulate_and_crb_know_the_model(project, tmp_path, capsys):
    (tmp_path / "sets.tsv").write_text("R2\tmyelin\n12\t0.2\n")
    words = ["--model", "tworates", "--parameters", str(tmp_path / "sets.tsv")]
    pulses = ["--pulses", str(project / "data" / "rfpulses.tsv")]
    assert toolbox(["simulate", *words, *pulses, "--out", str(tmp_path / "out.npz")]) == 0
    assert np.load(tmp_path / "out.npz")["signal"].shape == (1, 24)
    capsys.readouterr()
    assert toolbox(["crb", *words]) == 0  # on its own train
    assert "myelin" in capsys.readouterr().out


def test_the_participant_gets_its_maps_from_network_and_reference(project, outputs):
    anat = outputs / "sub-01" / "anat"
    truth = np.load(project / "truth.npy")
    for desc in ("brnn", "guess"):
        head = f"sub-01_model-toy_param-{{}}_desc-{desc}_TOYmap.nii.gz"
        share = nib.load(anat / head.format("myelin")).get_fdata()
        rate = nib.load(anat / f"sub-01_desc-{desc}_R2map.nii.gz").get_fdata()
        # The bound is 2 % for R2 and 0.02 for the share; the points of a guess are coarse, and
        # the training is short.
        assert np.median(np.abs(rate / truth[..., 0] - 1)) < 0.1
        assert np.median(np.abs(share - truth[..., 1])) < 0.1
        sidecar = json.loads((anat / head.format("myelin").replace("nii.gz", "json")).read_text())
        assert sidecar["Model"]["URL"] == "https://example.org/toy"
    assert sidecar["EstimationAlgorithm"] == "guessing"
    luck = nib.load(anat / "sub-01_model-toy_param-luck_desc-guess_TOYmap.nii.gz").get_fdata()
    assert ((luck > 0.5) & (luck <= 1)).all()
    flags = json.loads((anat / "sub-01_model-toy_param-flags_desc-guess_TOYmap.json").read_text())
    assert flags["Flags"]["32"] == "the guess was out of luck"
    assert not (anat / "sub-01_model-toy_param-luck_desc-brnn_TOYmap.nii.gz").exists()


def test_region_and_group_tables_hold_the_map(outputs):
    (table,) = (outputs / "sub-01" / "anat").glob("*_desc-guess_scalarstats.tsv")
    assert {"R2", "myelin", "luck"} <= set(read_table(table)["param"])
    quality = read_table(outputs / "desc-series_quality.tsv")
    guess = quality[quality["estimator"] == "guess"]
    assert (guess["kind"] == "toy").all()
    assert 0.5 < float(guess["median_luck"].iloc[0]) <= 1
    words = json.loads((outputs / "desc-series_quality.json").read_text())
    assert words["median_luck"]["Description"] == "Median luck over the mask"
    described = (outputs / "descriptions.tsv").read_text()
    assert "desc-guessStd\tStandard deviation of the guess" in described
    assert "*_TOYmap.*" in (outputs / ".bidsignore").read_text()


def test_the_page_tells_of_all_three(outputs):
    page = (outputs / "sub-01.html").read_text()
    for words in ("Guess", "Median luck", "described by a toy", "were guessed", "Doe J. Toys."):
        assert words in page
    (citation,) = outputs.glob("sub-01/log/*/CITATION.bib")
    assert "@article{toy," in citation.read_text()


@pytest.mark.parametrize("suite", ["test_signal_models", "test_estimators"])
def test_the_contract_suites_run_over_it(suite):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "toy", "-p", "no:cacheprovider",
         str(HERE / f"{suite}.py"), "-k", "tworates or (guess and coefficients)"],
        capture_output=True, text=True, check=False, cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(
            [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1].strip("=, "))
    assert passed >= 15, done.stdout[-500:]


def test_a_name_that_is_taken_is_refused(toy):
    with pytest.raises(DataError, match=r'signal model "tworates" .* already'):
        toy.register()


def test_its_code_counts_for_the_work_folder(toy, monkeypatch, tmp_path):
    from bids_brnn.app.folders import code_digest

    with_toys = code_digest.__wrapped__()
    with monkeypatch.context() as patch:
        patch.setattr(bids_brnn.signals.registry, "_MODELS", {})
        patch.setattr(bids_brnn.estimators.registry, "_ESTIMATORS", {})
        patch.setattr(bids_brnn.maps, "_MAPS", {})
        assert code_digest.__wrapped__() != with_toys


def test_an_installed_package_registers_itself(tmp_path):
    (tmp_path / "shop.py").write_text("import toy\n\n\ndef open():\n    toy.register()\n")
    about = tmp_path / "shop-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bids_brnn.extensions]\nshop = shop:open\n")
    done = subprocess.run(
        [sys.executable, "-m", "bids_brnn", "--help"],
        capture_output=True, text=True, check=False, cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(HERE)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "{auto,none,nlls,dict,guess}" in done.stdout
    assert "{auto,qmt,mrf,toy}" in done.stdout
