"""Jobs of an array: one participant each, one output folder, all at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.patience import codes_of


@pytest.mark.slow
def test_participants_in_parallel_give_what_one_run_gives(phantom, finished, tmp_path, validate):
    out = tmp_path / "bids_brnn"
    fmriprep = f"fmriprep={phantom / 'derivatives' / 'fmriprep'}"
    jobs = [
        subprocess.Popen(
            [
                sys.executable, "-m", "bids_brnn", phantom, out, "participant",
                "--participant-label", label, "-w", tmp_path / f"work-{label}", "-d", fmriprep,
                "--nprocs", "1", "--skip-bids-validation",
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for label in ("01", "02")
    ]  # fmt: skip
    assert codes_of(jobs) == [0, 0]
    assert validate(out) == []
    together = finished[1]
    maps = sorted(path.relative_to(out) for path in out.rglob("*map.nii.gz"))
    assert maps == sorted(path.relative_to(together) for path in together.rglob("*map.nii.gz"))
    for path in maps:
        assert (out / path).read_bytes() == (together / path).read_bytes(), path
    names = ("dataset_description.json", ".bidsignore", "README.md", "descriptions.tsv")
    for name in names:
        if name != "dataset_description.json":  # its links are relative to the output
            assert (out / name).read_bytes() == (together / name).read_bytes()
    assert not [path for path in out.rglob(".*") if path.name != ".bidsignore"]
