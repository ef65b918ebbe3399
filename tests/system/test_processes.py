"""Programs that are started end with the process that started them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_brnn.system.processes import run_tool


def test_a_tool_is_run_to_its_end():
    done = run_tool(["sh", "-c", "echo out; echo err >&2; exit 3"], seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_tool(["sleep", "600"], seconds=0.1)
    with pytest.raises(FileNotFoundError):
        run_tool(["/no/such/program"], seconds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this death")
def test_a_tool_ends_with_a_killed_process(tmp_path):
    file = tmp_path / "pid"
    tool = ["sh", "-c", f"echo $$ > {file}.new; mv {file}.new {file}; exec sleep 600"]
    code = f"from bids_brnn.system.processes import run_tool; run_tool({tool!r}, seconds=600)"
    program = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.02)
    status = Path(f"/proc/{int(file.read_text())}/status")
    program.kill()
    program.wait()
    end = time.monotonic() + 10
    while status.exists() and "Z (zombie)" not in status.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert not status.exists() or "Z (zombie)" in status.read_text()
