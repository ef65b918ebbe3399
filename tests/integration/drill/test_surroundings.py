"""What lies around a run changes nothing: disks, names, clocks, languages, masks of rights."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import time

import pytest

QUICK = ("--nprocs", 1, "--skip-bids-validation", "--modality", "mrf", "--sloppy")


def first_only(items):
    """The first in every run of the tests, the others in slow ones."""
    return [items[0], *(pytest.param(item, marks=pytest.mark.slow) for item in items[1:])]


@pytest.fixture(scope="module")
def one(phantom, tmp_path_factory):
    """One participant with fingerprinting."""
    leave = shutil.ignore_patterns("sub-02", "*_QMT*", "derivatives")
    return shutil.copytree(phantom, tmp_path_factory.mktemp("one") / "ds", ignore=leave)


def digests(out):
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*.nii.gz")
    }


@pytest.fixture(scope="module")
def usual(one, app, tmp_path_factory):
    """Images of a run in usual surroundings, with their digests."""
    base = tmp_path_factory.mktemp("usual")
    assert app(one, base / "out", "participant", "-w", base / "work", *QUICK) == 0
    return digests(base / "out")


def test_the_input_may_be_read_only(one, app, usual, tmp_path):
    data = tmp_path / "ds"
    data.mkdir()
    for words in (["mount", "--bind", str(one), str(data)],
                  ["mount", "-o", "remount,bind,ro", str(data)]):  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (data / "x").touch()
        assert app(data, tmp_path / "out", "participant", "-w", tmp_path / "work", *QUICK) == 0
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
    assert digests(tmp_path / "out") == usual


@pytest.mark.parametrize("mask", first_only([0o077, 0o002]))
def test_outputs_follow_the_mask_of_rights(one, app, tmp_path, mask):
    before = os.umask(mask)
    try:
        assert app(one, tmp_path / "out", "participant", "-w", tmp_path / "work", *QUICK) == 0
    finally:
        os.umask(before)
    for path in (tmp_path / "out").rglob("*"):
        most = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == most & ~mask, path


NAMES = ["grün 日本", "quo'te\"s", "a" * 200, "$(touch x);`id`"]


@pytest.mark.parametrize("name", first_only(NAMES))
def test_folders_may_have_any_name(one, app, usual, tmp_path, name):
    data = tmp_path / name / "ds"
    shutil.copytree(one, data)
    out = tmp_path / name / "out"
    assert app(data, out, "participant", "-w", tmp_path / name / "work", *QUICK) == 0
    assert digests(out) == usual


@pytest.mark.slow
@pytest.mark.parametrize(
    "surroundings",
    [{"TZ": "Asia/Kolkata"}, {"LANG": "C", "LC_ALL": "C"}, {"LC_ALL": "de_DE.UTF-8"},
     {"PYTHONHASHSEED": "7"}],
)  # fmt: skip
def test_language_and_time_zone_change_nothing(start, one, usual, tmp_path, surroundings):
    program = start(*QUICK, "--level", "full", data=one, environment=surroundings)
    code, _, said = program.finish()
    assert code == 0, said
    assert digests(tmp_path / "out") == usual
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    assert log.name.startswith(time.strftime("%Y%m", time.gmtime()))


def test_a_clock_that_jumps_hides_no_change(one, app, usual, tmp_path):
    data = tmp_path / "ds"
    shutil.copytree(one, data)
    (image,) = data.glob("sub-01/anat/*part-mag_MRF.nii.gz")
    future = time.time() + 10**8
    os.utime(image, (future, future))
    words = (data, tmp_path / "out", "participant", "-w", tmp_path / "work", *QUICK)
    assert app(*words) == 0
    assert digests(tmp_path / "out") == usual
    (phase,) = data.glob("sub-01/anat/*part-phase_MRF.nii.gz")
    (b1,) = data.glob("sub-01/fmap/*TB1map.nii.gz")
    b1.unlink()
    for path in (image, phase):
        os.utime(path, (0, 0))  # older than everything that was made of it
    assert app(*words) == 0
    assert digests(tmp_path / "out") != usual
