"""docs/training.md as a new user follows it: a network for one's own train, on time frames."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.cli.toolbox.main import main
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import WEIGHTS_VARIABLE

PROJECT = Path(__file__).parents[2]
CONFIG = """
model = "fisp"
sidecar = "study/acq-fisp_MRF.json"
rank = 6
prior = "prior.toml"
basis_fingerprints = 150
fingerprints = 6000
held_out = 300
[network]
width = 64
blocks = 2
normalisation = "norm"
[errors]
steps = 300
width = 24
blocks = 1
batch = 512

[surrogate]
width = 32
blocks = 2
steps = 300
[training]
snr_range = [10, 40]
report_every = 1000
precision = "float32"
averaging = 0.98
[[training.stages]]
loss = { name = "efficient", weight = 0.0, mirrored = false }
steps = STEPS
batch = 1024
warmup = 20
learning_rate = 5e-3
"""
PRIOR = """
[[class]]
name = "all"
[class.parameters]
R1 = { uniform = [0.3, 2.0] }
R2 = { uniform = [3, 25] }
B1 = { uniform = [0.8, 1.2] }
"""


@contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A study, two configurations, and the network of each, trained from within the folder."""
    folder = tmp_path_factory.mktemp("own project")  # a space, as in many a path
    make_dataset(
        folder / "study", n_participants=1, kinds=("mrf",), shape=(8, 9, 1),
        mrf_train=jiang_like_train(250),
    )  # fmt: skip
    (folder / "prior.toml").write_text(PRIOR)
    for name, steps in (("my", 400), ("hasty", 3)):
        (folder / f"{name}.toml").write_text(CONFIG.replace("STEPS", str(steps)))
        with inside(folder):
            assert main(["train", f"{name}.toml", f"{name} out", "--threads", "1"]) == 0
    return folder


def mapped(app, project, name, *options):
    """Exit code of the command called from the folder of the project with relative paths."""
    words = ["study", f"{name}/out", "participant", "-w", f"{name}/work", "--nprocs", 1]
    with inside(project):
        return app(*words, "--skip-bids-validation", "--level", "minimal", *options)


def sidecar(project, name, ending):
    anat = project / name / "out" / "sub-01" / "anat"
    return json.loads((anat / f"sub-01_acq-fisp_{ending}.json").read_text())


def test_every_command_that_training_prints_runs_as_printed(project, capsys, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with inside(project):
        assert main(["train", "my.toml", "my out", "--threads", "1"]) == 0  # nothing again
        lines = capsys.readouterr().out.partition("next:\n")[2].splitlines()
        commands = [shlex.split(line) for line in lines]
        assert [words[:2] for words in commands[:2]] == [["brnn", "evaluate"], ["brnn", "models"]]
        for words in commands:
            if words[0] == "export":
                name, _, value = words[1].partition("=")
                monkeypatch.setenv(name, value)
            else:
                assert words[0] == "brnn"
                assert main(words[1:]) == 0
        assert os.environ[WEIGHTS_VARIABLE] == str(project / "my out")
        assert main(["models", "my"]) == 0
        card = ModelCard.from_file(project / "my out" / "my.json")
        assert "tissues" in card.evaluation  # all numbers now, and a training keeps them
        assert main(["train", "my.toml", "my out", "--threads", "1"]) == 0
        assert ModelCard.from_file(project / "my out" / "my.json") == card


def test_the_commands_of_the_documentation_run_as_printed(project, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    text = (PROJECT / "docs" / "training.md").read_text()
    lines = text.partition("```bash\nbrnn train")[2].partition("```")[0]
    with inside(project):
        shutil.copytree("my out", "OUT")  # the training goes on from there
        for line in f"brnn train{lines}".splitlines():
            words = shlex.split(line, comments=True)
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
            else:
                assert main(words[1:]) == 0
        code = text.partition("```python\n")[2].partition("```")[0]
        experiment = read_experiment(Path("my.toml"))
        theta = experiment.prior.sample(4, rng=torch.Generator().manual_seed(0))
        known = {"subspace": experiment.subspace, "sigma": 0.1}
        known["coefficients"] = experiment.compressed(theta).to(torch.complex64)
        exec(code, known)
        assert known["result"].theta.shape == theta.shape


def test_the_folder_in_the_environment_serves_from_a_relative_path(project, app, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, f"hasty out{os.pathsep}my out")
    assert mapped(app, project, "auto") == 0
    about = sidecar(project, "auto", "desc-brnn_R1map")
    assert about["WeightsName"] == "my"
    assert "WeightsWarning" not in about
    (note,) = sidecar(project, "auto", "desc-brain_mask")["NetworkNotes"]
    assert 'the network "hasty" is left aside: its squared bias' in note
    anat = project / "auto" / "out" / "sub-01" / "anat"
    rates = nibabel.load(anat / "sub-01_acq-fisp_desc-brnn_R1map.nii.gz").get_fdata()
    # A tiny network at SNR 60: the maps are of tissue, not noise.
    assert 0.3 < np.median(rates[rates > 0]) < 2.0  # nearly half of the voxels are background


@pytest.mark.parametrize("reference", ["my out/my.json", "my out/my.safetensors", "my out"])
def test_a_network_can_be_named_by_a_relative_path(project, app, monkeypatch, reference):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    assert mapped(app, project, "named", "--weights", reference, "--boilerplate-only") == 0


def test_a_network_that_was_not_found_good_is_used_where_it_is_named_and_warned_of(
    project, app, capsys
):
    options = ["--weights", "hasty out/hasty.json", "--level", "full", "--reference", "none"]
    assert mapped(app, project, "forced", *options) == 0
    assert "its maps must not be trusted" in capsys.readouterr().err
    about = sidecar(project, "forced", "desc-brnn_R1map")
    assert about["WeightsName"] == "hasty"
    assert "its maps must not be trusted" in about["WeightsWarning"]
    page = (project / "forced" / "out" / "sub-01.html").read_text()
    assert "its maps must not be trusted" in page


def test_refusals_come_before_anything_is_estimated(project, app, monkeypatch, capsys):
    assert mapped(app, project, "refused", "--weights", "mrf-jiang") == 65
    assert "was trained for another pulse train" in capsys.readouterr().err
    assert mapped(app, project, "refused", "--weights", "my out/absent.json") == 74
    assert f'no trained model "{project / "my out" / "absent.json"}"' in capsys.readouterr().err
    monkeypatch.setenv(WEIGHTS_VARIABLE, "nowhere")
    assert mapped(app, project, "refused") == 74
    assert f"{WEIGHTS_VARIABLE} names the folder of networks" in capsys.readouterr().err
    assert mapped(app, project, "refused", "--weights", "none", "--boilerplate-only") == 0
    assert not list((project / "refused").rglob("*map.nii.gz"))
