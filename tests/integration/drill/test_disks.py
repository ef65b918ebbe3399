"""Full disks: the cause is named, nothing is half-written, and the run goes on where it was."""

from __future__ import annotations

import os
import shutil

import pytest

OPTIONS = ("--nprocs", 1, "--skip-bids-validation", "--modality", "mrf", "--sloppy")
FULL = 73


@pytest.fixture
def one(phantom, tmp_path):
    """One participant with fingerprinting."""
    folder = tmp_path / "ds"
    leave = shutil.ignore_patterns("sub-02", "*_QMT*", "derivatives")
    return shutil.copytree(phantom, folder, ignore=leave)


@pytest.fixture
def fill():
    def leave(disk, kilobytes):
        """Fill a disk but for some kilobytes; the file that does it."""
        filler = disk / "filler"
        free = shutil.disk_usage(disk).free - kilobytes * 1024
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free, 1))
        return filler

    return leave


# nibabel leaves the file open whose writing failed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("which", ["out", "work", "both"])
@pytest.mark.parametrize(
    "left", [60, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 4, 20, 150, 300))]
)
def test_a_full_disk_is_named_and_cured_by_space(
    one, app, small_disk, fill, tmp_path, capfd, assert_whole, which, left
):
    disk = small_disk(16)
    filler = fill(disk, left)
    out = (tmp_path if which == "work" else disk) / "out"
    work = (tmp_path if which == "out" else disk) / "work"
    code = app(one, out, "participant", "-w", work, *OPTIONS)
    said = capfd.readouterr().err
    assert code == FULL, said
    assert "No space left" in said
    assert "Traceback" not in said
    assert "Logging error" not in said
    if out.exists():
        assert_whole(out)
        assert not [path for path in out.rglob("*.json") if path.stat().st_size == 0]
    filler.unlink()
    assert app(one, out, "participant", "-w", work, *OPTIONS) == 0, capfd.readouterr().err
    assert_whole(out)
    assert list(out.rglob("*T1map.nii.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["out", "work", "both"])
def test_workers_name_a_full_disk_too(start, small_disk, fill, tmp_path, assert_whole, which):
    disk = small_disk(16)
    filler = fill(disk, 100)
    out = (tmp_path if which == "work" else disk) / "out"
    work = (tmp_path if which == "out" else disk) / "work"
    program = start("--sloppy", out=out, work=work)
    code, _, said = program.finish()
    assert code == FULL, said
    assert "No space left" in said
    assert "Traceback" not in said
    program.assert_nothing_left()
    filler.unlink()
    code, _, said = start("--sloppy", out=out, work=work).finish()
    assert code == 0, said
    assert_whole(out)
