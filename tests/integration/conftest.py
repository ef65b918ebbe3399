"""A small phantom, and one run of the command on it that many tests look at."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tree_digest():
    """Names, sizes and content of every file below a folder, as one hash."""

    def digest(folder):
        state = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            state.update(str(path.relative_to(folder)).encode())
            if path.is_file():
                state.update(path.read_bytes())
        return state.hexdigest()

    return digest


@pytest.fixture(scope="session")
def files_of():
    def listed(folder):
        return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]

    return listed


@pytest.fixture(scope="session")
def app():
    """Run the command in this process: ``app(*arguments)`` gives the exit code."""
    from bids_brnn.cli.run import main

    def run(*arguments):
        try:
            return main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            return stop.code

    return run


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    from bids_brnn.phantom import make_dataset
    from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train

    return make_dataset(
        tmp_path_factory.mktemp("phantom") / "ds",
        n_participants=2,
        shape=(8, 10, 1),
        mrf_train=jiang_like_train(100),
        qmt_train=hybrid_state_train(n_pulses=40),
        qmt_rank=8,
    )


@pytest.fixture(scope="session")
def finished(phantom, app, tree_digest, tmp_path_factory):
    """Both levels for both participants: (data set, output, work, digest of the input before)."""
    before = tree_digest(phantom)
    base = tmp_path_factory.mktemp("finished")
    out, work = base / "bids_brnn", base / "work"
    fmriprep = f"fmriprep={phantom / 'derivatives' / 'fmriprep'}"
    options = ["-w", work, "-d", fmriprep, "--nprocs", 1]
    assert app(phantom, out, "participant", *options) == 0
    assert app(phantom, out, "group", "-w", work) == 0
    return phantom, out, work, before, ["participant", *options]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> tuple[Path, str]:
    """A demo of one participant, small, and what it printed; run as a user would."""
    folder = tmp_path_factory.mktemp("demo") / "ds"
    words = ["demo", str(folder), "--participants", "1", "--matrix", "16", "20", "1"]
    shown = subprocess.run(
        [sys.executable, "-m", "bids_brnn.cli.toolbox.main", *words],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return folder, shown.stdout


@pytest.fixture(scope="session")
def validate():
    program = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    program = program or shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")

    def run(folder):
        import json

        done = subprocess.run(
            [program, str(folder), "--json"], capture_output=True, text=True, timeout=300
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        return [issue for issue in issues if issue["severity"] == "error"]

    return run
