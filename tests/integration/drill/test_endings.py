"""However and whenever a run ends: its code, no process, nothing half-written, and it goes on."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time

import pytest

WORKING = "voxels on cpu"
CODES = {"TERM": 143, "INT": 130, "USR1": 138}


def maps(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*map.nii.gz")
    }


@pytest.fixture
def ended(tmp_path, assert_whole):
    """Check what a run leaves that was asked to end."""

    def check(program, codes, within=15.0):
        sent = time.monotonic()
        code, _, said = program.finish()
        assert code in codes, said
        assert time.monotonic() - sent < within  # Slurm waits 30 s before it kills
        program.assert_nothing_left()
        out = tmp_path / "out"
        assert_whole(out)
        assert not list(out.rglob("crash-*")), said
        assert "Traceback" not in said
        assert "crashed" not in said
        if code != 0:
            # A page is the last file of its participant; there are two.
            pages = list(out.glob("sub-*.html"))
            assert len(pages) < 2
            for page in pages:
                assert list((out / page.stem).rglob("*map.nii.gz"))
        return code

    return check


@pytest.mark.parametrize("nprocs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_code_that_is_being_generated_is_no_obstacle(start, ended, nprocs):
    program = start("--nprocs", nprocs, "--modality", "qmt")
    program.wait_for("noise level")
    program.process.terminate()
    ended(program, [143])


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
@pytest.mark.parametrize("nprocs", [1, 2])
def test_signals_end_a_step_with_their_code(start, ended, number, group, nprocs):
    program = start("--nprocs", nprocs, "--modality", "qmt")
    program.wait_for(WORKING)
    (os.killpg if group else os.kill)(program.process.pid, getattr(signal, f"SIG{number}"))
    ended(program, [CODES[number]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_moment_does_not_matter(start, ended, tmp_path, seed):
    dice = random.Random(seed)
    program = start("--nprocs", dice.choice([1, 2]), "--level", "full", "--sloppy")
    time.sleep(0.3 + dice.uniform(0, 20))  # after the start of Python, whose own code is -15
    program.process.terminate()
    if ended(program, [0, 143]) == 143 and seed % 5 == 0:
        code, _, said = start("--nprocs", 1, "--level", "full", "--sloppy").finish()
        assert code == 0, said
        assert len(list((tmp_path / "out").glob("sub-*.html"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the one that waits", "the one that leads", "the fork server"])
@pytest.mark.parametrize("stopped", [False, True], ids=["", "workers stopped"])
def test_nothing_outlives_a_killed_parent(start, tmp_path, assert_whole, whom, stopped):
    program = start("--modality", "qmt")
    program.wait_for(WORKING)
    others, workers = program.others(), program.workers()
    assert workers
    if stopped:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
    leader = program.working()
    victim = {
        "the one that waits": program.process.pid,
        "the one that leads": leader,
        "the fork server": others[workers[0]],
    }[whom]
    os.kill(victim, signal.SIGKILL)
    if whom == "the fork server":
        code, _, said = program.finish()
        assert code == 1
        assert "Out of memory?" in said
    program.assert_nothing_left()
    assert_whole(tmp_path / "out", temporary=True)


@pytest.mark.slow
def test_stopped_workers_end_with_the_run(start, ended):
    program = start("--modality", "qmt")
    program.wait_for(WORKING)
    for pid in program.workers():
        os.kill(pid, signal.SIGSTOP)
    program.process.terminate()
    ended(program, [143])


@pytest.mark.slow
def test_a_killed_run_says_why_and_goes_on_to_the_same_bytes(start, tmp_path, assert_whole):
    """Also a requeue by hand: the second run has a log of its own and the first one stays."""
    program = start("--modality", "qmt")
    program.wait_for(WORKING)
    os.kill(program.working(), signal.SIGKILL)
    code, _, said = program.finish()
    assert code == 1
    assert "Out of memory?" in said
    program.assert_nothing_left()
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    before = log.read_text()
    assert start("--modality", "qmt").finish()[0] == 0
    assert log.read_text() == before
    assert len(list((tmp_path / "out" / "logs").glob("*.log"))) == 2
    assert_whole(tmp_path / "out")
    again = maps(tmp_path / "out")
    clean = tmp_path / "clean"
    assert start("--modality", "qmt", out=clean, work=tmp_path / "w2").finish()[0] == 0
    assert maps(clean) == again


@pytest.mark.slow
def test_the_second_of_two_copies_is_turned_away(start, tmp_path):
    first = start("--modality", "qmt")
    first.wait_for(WORKING)
    code, _, said = start("--modality", "qmt").finish()
    assert code == 75
    assert "Another run works on sub-01" in said
    assert first.finish()[0] == 0
    first_maps = maps(tmp_path / "out")
    assert start("--modality", "qmt").finish()[0] == 0
    assert maps(tmp_path / "out") == first_maps
