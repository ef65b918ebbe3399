"""What sites run: configurations load, scripts are short and parse, jobs call the command."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("path", sorted(PIPELINES.rglob("*.sbatch")), ids=str)
def test_job_scripts_parse(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        subprocess.run([shellcheck, str(path)], check=True)


@pytest.fixture
def site(tmp_path):
    """A data set table, and a stand-in for the command that keeps what it was called with."""
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "participants.tsv").write_text(
        "participant_id\tage\nsub-01\t3\nsub-02\t4\n"
    )
    command = tmp_path / "bin" / "bids_brnn"
    command.parent.mkdir()
    command.write_text(
        "#!/bin/bash\n"
        'printf "%s\\n" "$@" > "$OUT/called.txt"\n'
        'if [ -n "${SLOW:-}" ]; then trap "echo stopped > $OUT/stopped.txt; exit 143" TERM\n'
        'touch "$OUT/started"; while :; do sleep 0.05; done; fi\n'
        "exit ${CODE:-0}\n"
    )
    command.chmod(0o755)
    (tmp_path / "out").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "BIDS": str(tmp_path / "ds"),
        "OUT": str(tmp_path / "out"),
        "TMPDIR": str(tmp_path),
        "SLURM_TMPDIR": str(tmp_path),
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_MEM_PER_NODE": "8192",
    }
    return tmp_path, environment


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_maps_its_participant_and_cleans_up(kind, site):
    folder, environment = site
    subprocess.run(
        ["bash", "participant.sbatch"], cwd=PIPELINES / kind, env=environment, check=True
    )
    called = (folder / "out" / "called.txt").read_text().splitlines()
    assert called[:5] == [
        str(folder / "ds"), str(folder / "out"), "participant", "--participant-label", "sub-02",
    ]  # fmt: skip
    options = dict(zip(called[5::2], called[6::2], strict=True))
    assert options["--nprocs"] == "3"
    assert options["--mem-mb"] == "7168"
    assert Path(options["--config-file"]) == PIPELINES / kind / "config.toml"
    assert not Path(options["-w"]).exists()


def test_the_exit_code_is_that_of_the_program(site):
    _, environment = site
    done = subprocess.run(
        ["bash", "participant.sbatch"], cwd=PIPELINES / "qmt", env={**environment, "CODE": "65"}
    )
    assert done.returncode == 65


def test_a_task_without_participant_is_refused(site):
    _, environment = site
    done = subprocess.run(
        ["bash", "participant.sbatch"],
        cwd=PIPELINES / "qmt",
        env={**environment, "SLURM_ARRAY_TASK_ID": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "participants.tsv has no row for task 3" in done.stderr


def test_a_cancelled_task_passes_the_signal_on(site):
    folder, environment = site
    job = subprocess.Popen(
        ["bash", "participant.sbatch"], cwd=PIPELINES / "qmt", env={**environment, "SLOW": "1"}
    )
    while not (folder / "out" / "started").exists():
        assert job.poll() is None
    job.terminate()
    assert job.wait(timeout=30) == 143
    assert (folder / "out" / "stopped.txt").read_text() == "stopped\n"
    assert not list(folder.glob("bids_brnn_*"))


def test_the_container_recipe_names_files_that_exist():
    lines = (PIPELINES / "apptainer" / "bids_brnn.def").read_text().split("%files")[1]
    for line in lines.split("%post")[0].split("\n"):
        if line.strip():
            assert (PIPELINES.parent / line.split()[0]).exists()
