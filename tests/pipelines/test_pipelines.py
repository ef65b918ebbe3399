"""What sites run: configurations load, scripts are short and parse, jobs call the command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bids_brnn.config.run_config import RunConfig

PIPELINES = Path(__file__).parents[2] / "pipelines"
KINDS = ("qmt", "mrf")


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_loads(kind, tmp_path):
    config = RunConfig.from_file(
        PIPELINES / kind / "config.toml",
        bids_dir=tmp_path / "ds",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    assert config.modality == kind
    assert config.reference == {"qmt": "nlls", "mrf": "dict"}[kind]


def test_run_is_one_short_function():
    text = (PIPELINES / "run.py").read_text()
    assert len(text.splitlines()) <= 40
    assert text.count("\ndef ") == 1


SCRIPTS = sorted([*PIPELINES.rglob("*.sbatch"), *PIPELINES.rglob("*.sh")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_job_scripts_parse(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        subprocess.run([shellcheck, str(path)], check=True)


def test_the_configuration_of_a_study_takes_every_kind_of_series(tmp_path):
    config = RunConfig.from_file(
        PIPELINES / "config.toml",
        bids_dir=tmp_path / "ds",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    assert config.modality == "auto"


@pytest.fixture
def sections():
    """The parts of the Apptainer definition by name; the header is that of no name."""
    parts = re.split(
        r"^%(\w+.*)$", (PIPELINES / "apptainer" / "bids_brnn.def").read_text(), flags=re.M
    )
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_the_container_recipe_names_files_that_exist(sections):
    for line in sections["files"].splitlines():
        if line.strip():
            assert (PIPELINES.parent / line.split()[0]).exists()


def test_both_container_recipes_say_the_same(sections):
    """Base, arguments and environment; scripts of the definition parse, its arguments exist."""
    known = {"", "arguments", "files", "post", "environment", "runscript", "apprun brnn", "test",
             "labels", "help"}  # fmt: skip
    assert set(sections) == known
    docker = (PIPELINES.parent / "Dockerfile").read_text()
    arguments = dict(line.strip().split("=", 1) for line in sections["arguments"].split())
    assert arguments == {
        name: value.strip('"') for name, value in re.findall(r"^ARG (\w+)=(\S*)$", docker, re.M)
    }
    used = {name for text in sections.values() for name in re.findall(r"{{ (\w+) }}", text)}
    assert used == set(arguments)
    environment = docker.partition("\nENV ")[2].partition("\nUSER")[0].replace("\\\n", " ")
    for pair in environment.replace("${PATH}", "$PATH").split():
        assert pair in sections["environment"].split()
    for name in ("post", "environment", "runscript", "apprun brnn", "test"):
        subprocess.run(["sh", "-n"], input=sections[name], text=True, check=True)


def test_seeds_of_a_training_array_differ_whatever_the_configuration_says(tmp_path):
    """Each task says its seed on the command line, and evaluates what it made."""
    command = tmp_path / "brnn"
    command.write_text(
        f'#!/bin/bash\necho "$@" >> {tmp_path}/called.txt\n'
        '[ "$1" = train ] || exit 0\ncd "$3"\n'
        "touch {net,net-msecrb}.{json,safetensors} net.checkpoint.safetensors\n"
    )
    command.chmod(0o755)
    for seed in ("0", "2"):
        subprocess.run(
            ["bash", PIPELINES / "train" / "train.sbatch"],
            env={
                "PATH": f"{tmp_path}:/usr/bin:/bin", "CONFIG": "my.toml", "OUT": str(tmp_path),
                "SLURM_ARRAY_TASK_ID": seed, "SLURM_CPUS_PER_TASK": "3",
            },
            check=True,
        )  # fmt: skip
    called = (tmp_path / "called.txt").read_text().splitlines()
    folder = tmp_path / "seed-2"
    assert f"train my.toml {tmp_path}/seed-0 --seed 0 --threads 3" in called
    assert f"train my.toml {folder} --seed 2 --threads 3" in called
    evaluated = [words for words in called if words.startswith(f"evaluate {folder}")]
    cards = {words.split()[1] for words in evaluated}
    assert cards == {f"{folder}/net.json", f"{folder}/net-msecrb.json"}
