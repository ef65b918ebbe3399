"""The command as a program of its own, with processes that can be looked at, and faults for it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

LIMIT = 900.0  # s; against hanging only, on a machine that thirty programs share

PROGRAM = (
    "import atexit, sys\n"
    "from bids_brnn.cli.run import main\n"
    "def tell():\n"
    "    print('HEAVY', sorted({'torch', 'numba'} & set(sys.modules)))\n"
    "if __name__ == '__main__':\n"
    "    atexit.register(tell)  # of both processes: the one that works does not return\n"
    "    sys.exit(main())\n"
)


class Program:
    """The command in a session of its own, with its stderr as it comes."""

    def __init__(self, *arguments, wrapper=(), environment=None, cwd=None):
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            cwd=cwd,
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

    def working(self):
        """The process that works, or leads the workers: the child of the one that waits."""
        return next(pid for pid, parent in self.others().items() if parent == self.process.pid)

    def workers(self):
        """What the fork server made: its parent's parent is the working process."""
        others, leader = self.others(), self.working()
        return [pid for pid, parent in others.items() if others.get(parent) == leader]

    def assert_nothing_left(self, within=10.0):
        end = time.monotonic() + within
        while self.others() and time.monotonic() < end:
            time.sleep(0.05)
        assert self.others() == {}

    def close(self):
        for pid in [self.process.pid, *self.others()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.reader.join(timeout=LIMIT)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(phantom, tmp_path):
    """Start the command on both participants, with two workers unless options say otherwise."""
    made = []

    def run(*options, data=phantom, out=tmp_path / "out", work=tmp_path / "work", **how):
        program = Program(
            data, out, "participant", "-w", work, "--nprocs", 2, "--omp-nthreads", 1,
            "--skip-bids-validation", "--level", "minimal", *options, **how,
        )  # fmt: skip
        made.append(program)
        return program

    yield run
    for program in made:
        program.close()


@pytest.fixture
def copied(phantom, tmp_path):
    """The phantom to damage."""
    return Path(shutil.copytree(phantom, tmp_path / "ds"))


_BECOME = """
set -e
hidden=$1 python=$2 kept=$3 uid=$4
shift 4
if [ -n "$hidden" ]; then  # Python lies in a folder that others may not enter
    mount --bind "$python" "$kept"
    mount -t tmpfs -o mode=755 tmpfs "$hidden"
    mkdir -p "$python"
    mount --bind "$kept" "$python"
fi
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
"""
STRANGER = 12345
"""A user that this system does not know."""


@pytest.fixture
def stranger():
    """Words before a command that make it that of an unknown user, and a folder of that user."""
    if os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("becoming a user that is unknown here needs root, setpriv and unshare")
    folder = Path(tempfile.mkdtemp(prefix="stranger-"))
    python = Path(sys.base_prefix).resolve()
    hidden = [part for part in (python, *python.parents) if not part.stat().st_mode & 0o001]
    kept = folder / ".python"
    kept.mkdir()
    os.chown(folder, STRANGER, STRANGER)
    where = [str(hidden[-1]) if hidden else "", str(python), str(kept), str(STRANGER)]
    words = ["unshare", "--mount", "sh", "-c", _BECOME, "sh", *where]
    probe = [*words, sys.executable, "-c", "import bids_brnn"]
    done = subprocess.run(probe, capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        shutil.rmtree(folder)
        pytest.skip(f"an unknown user cannot run this Python: {done.stderr.strip()[-200:]}")
    yield words, folder
    shutil.rmtree(folder)


@pytest.fixture
def owned(stranger, phantom):
    """The phantom as a data set of that user, to damage."""
    data = stranger[1] / "ds"
    shutil.copytree(phantom, data)
    for path in (data, *data.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    return data


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of some megabytes at a folder; one that cannot be, is a skip."""
    mounted = []

    def mount(megabytes, name="disk"):
        folder = tmp_path / name
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def assert_whole():
    """No temporary file, and every image is complete and has its sidecar."""

    def check(folder, *, temporary=False):
        left = [path for path in folder.rglob("*") if path.name.startswith(".tmp")]
        assert temporary or not left
        for path in set(folder.rglob("*.nii.gz")) - set(left):
            gzip.decompress(path.read_bytes())
            assert path.with_name(re.sub(r"\.nii\.gz$", ".json", path.name)).exists()

    return check
