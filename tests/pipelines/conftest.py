"""A Slurm and a study of four participants, for tests of what sites run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location(
    "slurm_site", Path(__file__).with_name("slurm_site.py")
)
slurm_site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(slurm_site)

# The commands as they lie on the PATH of a site; files in the folder FAULTS make things go wrong.
_COMMAND = f"""#!/bin/bash
export PYTHONPATH={ROOT} OMP_NUM_THREADS=1
label=none previous=
for word in "$@"; do
    [ "$previous" != --participant-label ] || label=$word
    previous=$word
done
if [ "$1" = --help ] && [ -e "$FAULTS/old" ]; then echo usage; exit 0; fi
if [ "${{3:-}}" = train ]; then touch "$2/trained"; exit "$(cat "$FAULTS/train")"; fi
if [ -e "$FAULTS/hungry-$label" ] && [ "$SLURM_MEM_PER_NODE" -lt 2500 ]; then
    {sys.executable} -c 'import time; kept = b"x" * int(2.5e9); time.sleep(120)'
fi
slow="$FAULTS/slow-$label"
if [ MODULE = bids_brnn ] && [ -e "$slow" ]; then sleep "$(cat "$slow")" & wait; fi
exec {sys.executable} -m MODULE "$@"
"""


class Study:
    """A data set, and a site that maps it."""

    def __init__(self, folder: Path, slurm, data: Path):
        self.folder, self.slurm, self.data = folder, slurm, data
        self.out, self.work, self.faults = folder / "out", folder / "work", folder / "faults"
        commands = folder / "bin"
        for made in (self.faults, commands):
            made.mkdir()
        for name, module in {
            "bids_brnn": "bids_brnn",
            "brnn": "bids_brnn.cli.toolbox.main",
        }.items():
            (commands / name).write_text(_COMMAND.replace("MODULE", module))
            (commands / name).chmod(0o755)
        self.environment = {**slurm.environment, "FAULTS": str(self.faults)}
        self.environment["PATH"] = f"{commands}:{self.environment['PATH']}"

    def fault(self, name: str, text: str = "") -> Path:
        (self.faults / name).write_text(text)
        return self.faults / name

    def submit(self, *options, program=("--modality", "mrf", "--sloppy"), check=True, **how):
        """Numbers of the jobs; or what the script ended with, where ``check`` is off."""
        places = {"work": self.work, "data": self.data, "out": self.out, **how}
        done = subprocess.run(
            [
                ROOT / "pipelines" / "submit.sh", "--cpus", "1", "--mem", "1500", "--limit", "2",
                "-d", f"fmriprep={places['data']}/derivatives/fmriprep", "--no-derivatives",
                "-w", places["work"], *options, places["data"], places["out"], "--", *program,
            ],
            env=self.environment, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def log(self, job: str) -> str:
        return (self.out / "logs" / "slurm" / f"{job}.out").read_text()

    def group(self, jobs) -> tuple[str, str]:
        """Exit code and log of the last of some jobs, when it has ended."""
        code = self.slurm.wait(jobs[-1])["ExitCode"].partition(":")[0]
        return code, self.log(f"group_{jobs[-1]}")

    def without_slurm(self) -> Path:
        """The same study by the commands that a person would type; the output folder."""
        out = self.folder / "plain"  # as deep as the other: links in it are relative
        mask = re.compile("SLURM_|BIDS_BRNN_")
        environment = {key: text for key, text in os.environ.items() if not mask.match(key)}
        for level, options in {
            "participant": ["-d", f"fmriprep={self.data}/derivatives/fmriprep"],
            "group": [],
        }.items():
            subprocess.run(
                [
                    sys.executable, "-m", "bids_brnn", self.data, out, level,
                    "-w", self.folder / "w",
                    "--skip-bids-validation", "--nprocs", "1", "--modality", "mrf", "--sloppy",
                    *options,
                ],
                check=True, capture_output=True, env={**environment, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        return out


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if reason := slurm_site.why_not():
        pytest.skip(f"no Slurm of its own: {reason}")
    site = slurm_site.Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def four(tmp_path_factory):
    """Four participants with a small MRF series each."""
    folder = tmp_path_factory.mktemp("four") / "my study"
    make_dataset(
        folder, n_participants=4, kinds=("mrf",), shape=(8, 10, 1), mrf_train=jiang_like_train(60)
    )
    # What a spreadsheet makes of it: nothing here may be counted.
    (folder / "participants.tsv").write_bytes(
        b"participant_id\tage\r\n# comment\r\nsub-01\t3\r\n\r\nsub-02"
    )
    return folder


@pytest.fixture
def study(tmp_path, slurm, four):
    return Study(tmp_path, slurm, four)
