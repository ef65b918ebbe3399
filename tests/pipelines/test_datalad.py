"""Under DataLad: data are cloned, results annexed, and a rerun gives the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import jiang_like_train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(tmp_path):
    missing = [name for name in ("git", "git-annex", "datalad") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install git-annex datalad")
    command = tmp_path / "bin" / "bids_brnn"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/bash\nexport PYTHONPATH={ROOT}\nexec {sys.executable} -m bids_brnn "$@"\n'
    )
    command.chmod(0o755)
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = x\n\temail = x@example.org\n")
    environment = {
        **os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path),
    }  # fmt: skip

    def run(*words, cwd):
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_recorded_run_can_be_repeated_to_the_same_bytes(call, tmp_path):
    source, study = tmp_path / "source", tmp_path / "study"
    make_dataset(
        source, n_participants=1, kinds=("mrf",), shape=(8, 10, 1), mrf_train=jiang_like_train(60)
    )
    call("datalad", "create", "--force", source, cwd=tmp_path)
    call("datalad", "save", "-m", "data", cwd=source)
    call("datalad", "create", study, cwd=tmp_path)
    call("datalad", "clone", "-d", study, source, study / "inputs" / "data", cwd=study)
    image = next((study / "inputs" / "data").glob("sub-*/anat/*_MRF.nii.gz"))
    assert not image.exists()  # a link to content that is still elsewhere
    call(
        "datalad", "run", "-m", "maps", "-i", "inputs/data", "-o", "outputs/bids_brnn",
        "bids_brnn inputs/data outputs/bids_brnn participant --participant-label 01"
        f" -w {tmp_path}/w --modality mrf --sloppy --skip-bids-validation --nprocs 1",
        cwd=study,
    )  # fmt: skip
    out = study / "outputs" / "bids_brnn"
    maps = sorted(out.rglob("*map.nii.gz"))
    assert len(maps) > 3
    assert all(path.is_symlink() and path.exists() for path in maps)  # annexed, and here
    assert call("git", "status", "--porcelain", cwd=study) == ""
    record = call("git", "log", "-1", "--format=%B", cwd=study)
    text = record.partition("=== Do not change lines below ===")[2].partition("^^^")[0]
    assert json.loads(text)["exit"] == 0

    def keys():
        return {path.relative_to(out): str(path.readlink()) for path in maps}

    before = keys()
    shutil.rmtree(tmp_path / "w")
    call("datalad", "rerun", cwd=study)
    assert keys() == before  # names of annexed files are their digests
