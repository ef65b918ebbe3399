"""Several workers: no torch in the parent, and an end whatever happens to whom."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LIMIT = 240.0  # s; against hanging only

PROGRAM = (
    "import sys\n"
    "from bids_brnn.cli.run import main\n"
    "if __name__ == '__main__':\n"
    "    code = main(sys.argv[1:])\n"
    "    print('HEAVY', sorted({'torch', 'numba'} & set(sys.modules)))\n"
    "    sys.exit(code)\n"
)


class Program:
    """The command in a session of its own, with its stderr as it comes."""

    def __init__(self, *arguments):
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, words, count=1):
        end = time.monotonic() + LIMIT
        while sum(words in line for line in self.lines) < count:
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < end, "".join(self.lines)
            time.sleep(0.02)

    def finish(self):
        code = self.process.wait(timeout=LIMIT)
        self.reader.join(timeout=LIMIT)
        return code, self.process.stdout.read(), "".join(self.lines)

    def others(self):
        """Processes of the session besides the first, with their parents."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent, session = fields[0], int(fields[1]), int(fields[3])
            pid = int(stat.parent.name)
            if session == self.process.pid and pid != self.process.pid and state != "Z":
                found[pid] = parent
        return found

    def workers(self):
        """Those whose parent is itself a child of the first: what the fork server made."""
        others = self.others()
        return [pid for pid, parent in others.items() if parent in others]

    def close(self):
        for pid in [self.process.pid, *self.others()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(phantom, tmp_path):
    made = []

    def run(*options):
        program = Program(
            phantom, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 2,
            "--omp-nthreads", 1, "--skip-bids-validation", "--level", "minimal", *options,
        )  # fmt: skip
        made.append(program)
        return program

    yield run
    for program in made:
        program.close()


def assert_whole(folder):
    """No temporary file, and every image is complete and has its sidecar."""
    assert not [path for path in folder.rglob("*") if path.name.startswith(".tmp")]
    for path in folder.rglob("*.nii.gz"):
        gzip.decompress(path.read_bytes())
        assert path.with_name(re.sub(r"\.nii\.gz$", ".json", path.name)).exists()


def test_workers_do_the_work_and_the_parent_never_loads_torch(start, tmp_path, finished):
    code, printed, errors = start("--modality", "mrf").finish()
    assert code == 0, errors
    assert "HEAVY []" in printed
    # The same bytes as from one process with all companions but the mask: compare the B1 map.
    name = "sub-01/fmap/sub-01_acq-fisp_desc-resampled_TB1map.nii.gz"
    assert (tmp_path / "out" / name).read_bytes() == (finished[1] / name).read_bytes()


def test_a_killed_worker_ends_the_run_with_a_reason(start, tmp_path):
    program = start("--modality", "qmt")
    program.wait_for("voxels on cpu", count=2)
    for pid in program.workers():
        os.kill(pid, signal.SIGKILL)
    code, _, errors = program.finish()
    assert code == 1
    assert "Out of memory?" in errors
    # A step that ended before the kill has its maps; every other one says why it has none.
    crashed = set()
    for folder in sorted((tmp_path / "out").glob("sub-*/")):
        if list(folder.glob("log/*/crash-*.txt")):
            crashed.add(folder.name)
        else:
            assert list(folder.glob("anat/*_desc-nlls_QMTmap.nii.gz")), folder.name
    assert crashed
    assert_whole(tmp_path / "out")


def test_termination_leaves_no_process_and_no_half_file(start, tmp_path):
    program = start("--modality", "qmt")
    program.wait_for("voxels on cpu")
    program.process.terminate()
    sent = time.monotonic()
    code, _, errors = program.finish()
    assert code == 143, errors
    assert "terminated" in errors
    # Slurm kills what is left after 30 s.
    assert time.monotonic() - sent < 30
    end = time.monotonic() + 10
    while program.others() and time.monotonic() < end:
        time.sleep(0.1)
    assert program.others() == {}
    assert_whole(tmp_path / "out")


@pytest.mark.slow
def test_a_run_killed_with_all_its_workers_resumes_to_the_same_bytes(start, tmp_path):
    program = start("--modality", "qmt")
    program.wait_for("voxels on cpu")
    os.killpg(program.process.pid, signal.SIGKILL)
    program.finish()
    assert_whole(tmp_path / "out")
    assert start("--modality", "qmt").finish()[0] == 0
    names = [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*map.nii.gz")]
    first = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    clean = start("--modality", "qmt", "--clean-workdir")
    assert clean.finish()[0] == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == first
