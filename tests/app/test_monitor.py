"""CPU time and memory of a run include its children, and survive a failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bids_brnn.app.monitor import COLUMNS, monitored
from bids_brnn.bids.tables import read_numbers

BUSY = """
import time
block = bytearray(64_000_000)
while time.process_time() < 0.8:
    pass
"""


def test_children_count_in_time_and_memory(tmp_path):
    with monitored(tmp_path / "resources.tsv", interval=0.1):
        subprocess.run([sys.executable, "-c", BUSY], check=True)
    table = dict(zip(COLUMNS, read_numbers(tmp_path / "resources.tsv").T, strict=True))
    # The last sample of the child is at most one interval (of wall time) before its end.
    assert table["cpu_time_s"][-1] > 0.5
    assert table["rss_mb"].max() > table["rss_mb"][0] + 60
    assert table["n_processes"].max() >= 2
    assert (table["cpu_time_s"][1:] >= table["cpu_time_s"][:-1]).all()


def test_a_failure_leaves_the_table(tmp_path):
    with pytest.raises(ZeroDivisionError), monitored(tmp_path / "resources.tsv"):
        1 / 0  # noqa: B018
    assert read_numbers(tmp_path / "resources.tsv").shape[0] >= 2


def test_without_a_table_nothing_is_written(tmp_path):
    with monitored(None):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_a_signal_ends_leaves_its_table(tmp_path):
    table = tmp_path / "resources.tsv"
    code = (
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from bids_brnn.app.monitor import monitored\n"
        "from bids_brnn.cli.supervisor import supervised\n"
        "def work():\n"
        f"    with monitored(Path({str(table)!r})):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(600)\n"
        "raise SystemExit(supervised(work))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 143
    assert table.read_text().startswith("\t".join(COLUMNS))
