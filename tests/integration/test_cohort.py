"""A small cohort in two sessions, by the script that checks large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cohort.py"


@pytest.mark.slow
def test_two_participants_in_two_sessions(tmp_path, validate):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "--participants", "2", "--sloppy"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    assert "for each of 4 participants and sessions" in done.stdout
