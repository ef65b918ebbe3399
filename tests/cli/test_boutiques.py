"""The descriptor in the repository is that of the parser, and tools accept it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brnn.cli.boutiques import descriptor_text

FILE = Path(__file__).parents[2] / "boutiques.json"


@pytest.fixture(scope="module")
def bosh():
    found = shutil.which("bosh", path=str(Path(sys.executable).parent)) or shutil.which("bosh")
    if found is None:
        pytest.skip("bosh (package boutiques) is not installed")
    return found


def test_the_file_is_in_step_with_the_parser():
    assert FILE.read_text() == descriptor_text(), (
        "run: python -m bids_brnn.cli.boutiques " + FILE.name
    )


@pytest.mark.parametrize("options", [[], ["--bids"]])
def test_bosh_accepts_it(bosh, options):
    done = subprocess.run([bosh, "validate", *options, str(FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK" in done.stdout


def test_bosh_makes_the_command_a_person_would_type(bosh, tmp_path):
    values = {
        "bids_dir": "/data",
        "output_dir_name": "/out",
        "analysis_level": "participant",
        "participant_label": ["01", "02"],
        "nprocs": 4,
        "skip_bids_validation": True,
    }
    (tmp_path / "inv.json").write_text(json.dumps(values))
    done = subprocess.run(
        [bosh, "exec", "simulate", str(FILE), "-i", str(tmp_path / "inv.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    command = " ".join(done.stdout.split())
    assert (
        "mkdir -p /out; bids_brnn /data /out participant --participant-label 01 02 "
        "--skip-bids-validation --nprocs 4" in command
    )


def test_random_lines_are_lines_of_the_program(bosh, tmp_path, monkeypatch):
    """Of required inputs bosh makes up values; whatever they are, the command line is whole."""
    from bids_brnn.cli.parser import build_parser

    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = subprocess.run(
            [bosh, "exec", "simulate", str(FILE)], capture_output=True, text=True, check=True
        )
        line = done.stdout.strip().splitlines()[-1]
        made, _, command = line.partition("; ")
        words = shlex.split(command)
        Path(words[1]).mkdir(exist_ok=True)
        found = build_parser().parse_args(words[1:])
        assert made == f"mkdir -p {found.output_dir}"


@pytest.mark.parametrize("level", ["participant", "group"])
def test_a_launch_shows_the_message_and_the_code_of_the_program(bosh, tmp_path, level):
    """Both levels reach the program, and what it says reaches the user."""
    (tmp_path / "ds").mkdir()
    (tmp_path / "out").mkdir()
    command = tmp_path / "bids_brnn"
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m bids_brnn "$@"\n')
    command.chmod(0o755)
    values = {
        "bids_dir": "ds", "output_dir_name": "out", "participant_level_analysis_dir": "out",
        "analysis_level": level, "work_dir": "work",
    }  # fmt: skip
    (tmp_path / "inv.json").write_text(json.dumps(values))
    done = subprocess.run(
        [bosh, "exec", "launch", "--no-container", str(FILE), "inv.json"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == {"participant": 16, "group": 18}[level], said
    assert "bids_brnn: " in said
    assert "Traceback" not in said


def test_the_option_that_prints_it(capsys):
    from bids_brnn.cli.parser import build_parser

    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["--bids-exec-spec"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["name"] == "bids_brnn"
