"""Several workers: no torch in the parent, and an end whatever happens to whom."""

from __future__ import annotations

import os
import signal
import time

import pytest


def test_workers_do_the_work_and_the_parent_never_loads_torch(start, tmp_path, finished):
    code, printed, errors = start("--modality", "mrf").finish()
    assert code == 0, errors
    assert printed.count("HEAVY []") == 2  # the process that waits, and the one that leads
    # The same bytes as from one process with all companions but the mask: compare the B1 map.
    name = "sub-01/fmap/sub-01_acq-fisp_desc-resampled_TB1map.nii.gz"
    assert (tmp_path / "out" / name).read_bytes() == (finished[1] / name).read_bytes()


def test_a_killed_worker_ends_the_run_with_a_reason(start, tmp_path, assert_whole):
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


def test_termination_leaves_no_process_and_no_half_file(start, tmp_path, assert_whole):
    program = start("--modality", "qmt")
    program.wait_for("voxels on cpu")
    program.process.terminate()
    sent = time.monotonic()
    code, _, errors = program.finish()
    assert code == 143, errors
    assert "terminated" in errors
    # Slurm kills what is left after 30 s.
    assert time.monotonic() - sent < 30
    program.assert_nothing_left()
    assert_whole(tmp_path / "out")


@pytest.mark.slow
def test_a_run_killed_with_all_its_workers_resumes_to_the_same_bytes(
    start, tmp_path, assert_whole
):
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
