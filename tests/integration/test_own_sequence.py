"""docs/own_sequence.md as a new user follows it: every command that is printed, as printed."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tomli_w

from bids_brnn.bids import find_acquisitions
from bids_brnn.cli.toolbox.main import main
from bids_brnn.experiments.presets import recipe_of
from bids_brnn.experiments.templates import SPECTRUM, kinds
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import model_entry
from bids_brnn.zoo.cache import job_for
from bids_brnn.zoo.places import WEIGHTS_VARIABLE

SHORT = """
fingerprints = 3000
held_out = 200
network = { width = 48, blocks = 2, normalisation = "norm" }
surrogate = { width = 32, blocks = 2, steps = 200 }
errors = { width = 24, blocks = 1, steps = 200, batch = 512 }
[training]
precision = "float32"
averaging = 0.98
[[training.stages]]
loss = { name = "efficient", weight = 0.0, mirrored = false }
steps = 60
batch = 512
warmup = 10
learning_rate = 5e-3
"""
"""Of a training that takes seconds: commands are tried here, not networks."""
SMALL = ["--matrix", "8", "9", "1"]


@pytest.fixture
def called(app, monkeypatch):
    """Runs a line of the shell with a small matrix; the exit code."""

    def run(line):
        program, *words = shlex.split(line)
        if program == "cd":
            monkeypatch.chdir(words[0])
            return 0
        if program == "brnn":
            return main([*words, *(SMALL if words[0] == "simulate-dataset" else [])])
        assert program == "bids_brnn"
        return app(*words, "--skip-bids-validation", "-w", Path.cwd() / "work", "--nprocs", 1)

    return run


def printed(capsys):
    """Lines below ``next:`` of what was printed last."""
    return [line.strip() for line in capsys.readouterr().out.rpartition("next:\n")[2].splitlines()]


def own_angle(table):
    """Make the example of a Z-spectrum another protocol."""
    table.write_text(table.read_text().replace("\n700\t", "\n600\t"))


def make_shorter(study, networks):
    """The training of ``quick`` becomes one of seconds: its configuration is there."""
    folder = Path(study)
    names = ("fmriprep", "relaxometry")
    derived = {name: folder / "derivatives" / name for name in names}
    derived = {name: path for name, path in derived.items() if path.is_dir()}
    (series,) = find_acquisitions(folder, derivatives=derived).acquisitions
    job = job_for(Path(networks), series, "quick", recipe_of("quick", model_entry(series.model)))
    path = job.write_configuration("float32")
    content = {"name": job.name, "model": series.model, "protocol": f"{job.name}.json"}
    rank = {} if isinstance(series.sequence, ZSpectrum) else {"rank": 5}
    path.write_text(tomli_w.dumps({**content, **rank, **tomllib.loads(SHORT)}))
    return job


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds())
def test_every_command_of_a_template_runs_as_printed(kind, called, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["new-sequence", "own", "--kind", kind]) == 0
    with (tmp_path / "own" / "own.toml").open("a") as file:
        file.write(SHORT)
    lines = printed(capsys)
    if kind == SPECTRUM:  # for the example there is a network
        own_angle(Path("own", "acq-own_zspectrum.tsv"))
    assert [line.split()[0] for line in lines].count("bids_brnn") == 3
    for line in lines:
        if "--train-missing" in line:
            job = make_shorter("PHANTOM", "MAPS/code/networks")
        assert called(line) == 0, line
        if line.startswith("brnn train"):
            for further in printed(capsys):
                assert further.startswith("export") or called(further) == 0, further
        if line.startswith("brnn simulate-dataset"):
            (further,) = printed(capsys)  # the same maps in another folder
            assert called(further.replace("--work-dir work", "")) == 0, further
        if "--train-missing" in line:
            assert job.card.is_file()
    assert list(Path("MAPS").rglob("*desc-brnn_*.nii.gz"))  # of the network that was named


def test_maps_of_an_own_spectrum_are_its_truth(called, tmp_path, monkeypatch, capsys):
    """Made by one signal model and mapped with it, although another one is the usual one."""
    monkeypatch.chdir(tmp_path)
    assert main(["new-sequence", "own", "--kind", "zspectrum"]) == 0
    table = Path("own", "acq-own_zspectrum.tsv")
    own_angle(table)
    line = f"brnn simulate-dataset study --protocol {table} --model ramani --snr 200"
    assert called(line) == 0
    (maps,) = printed(capsys)
    assert called(maps.replace("--work-dir work", "--weights none --level minimal")) == 0
    anat = Path("study", "derivatives", "bids_brnn", "sub-01", "anat")
    found = nibabel.load(next(anat.glob("*_param-m0s_desc-nlls_*.nii.gz"))).get_fdata()
    truth = Path("study", "derivatives", "truth", "sub-01", "anat")
    exact = nibabel.load(next(truth.glob("*_param-m0s_desc-truth_*.nii.gz"))).get_fdata()
    inside = np.isfinite(found) & (found > 0) & (exact > 0.05)
    assert inside.sum() > 10
    # A standard deviation of a few percent at this SNR; the median over tens of voxels.
    assert abs(np.median(found[inside] / exact[inside]) - 1) < 0.05
