"""A participant of an output folder belongs to one run at a time, whatever its work folder."""

from __future__ import annotations

import fcntl
import multiprocessing
import os

import pytest

from bids_brnn.app.locks import output_locked
from bids_brnn.errors import TemporaryError


def _held(folder, participants, sessions=()):
    try:
        with output_locked(folder, participants, sessions):
            return False
    except TemporaryError:
        return True


def test_the_second_run_of_a_participant_is_turned_away_and_others_are_not(tmp_path):
    with output_locked(tmp_path, ["01", "02"]):
        with (
            pytest.raises(TemporaryError, match=r"sub-02 for .*; wait for it") as stop,
            output_locked(tmp_path, ["03", "02"]),
        ):
            pass
        assert stop.value.exit_code == 75
        assert not _held(tmp_path, ["03"])
        assert not _held(tmp_path / "other", ["01"])
    assert not _held(tmp_path, ["01", "02"])


def test_sessions_are_independent_but_all_of_them_are_not(tmp_path):
    with output_locked(tmp_path, ["01"], ["a"]):
        assert not _held(tmp_path, ["01"], ["b"])
        assert _held(tmp_path, ["01"], ["b", "a"])
        assert _held(tmp_path, ["01"])
    with output_locked(tmp_path, ["01"]):
        assert _held(tmp_path, ["01"], ["a"])


def test_nothing_is_left_in_the_output_folder(tmp_path):
    with output_locked(tmp_path, ["01"], ["a", "b"]):
        assert list((tmp_path / "logs").iterdir())
    assert not list((tmp_path / "logs").iterdir())


def test_the_lock_of_a_killed_run_is_free_and_its_file_used_again(tmp_path):
    def die():
        with output_locked(tmp_path, ["01"]):
            os.kill(os.getpid(), 9)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -9
    assert (tmp_path / "logs" / ".sub-01.lock").exists()
    assert not _held(tmp_path, ["01"])
    assert not list((tmp_path / "logs").iterdir())


def test_a_disk_that_cannot_lock_is_told_and_no_obstacle(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level("WARNING"), output_locked(tmp_path, ["01"]):
        pass
    assert "cannot be locked" in caplog.text


def test_many_runs_at_once_never_share_a_participant(tmp_path):
    """Each holder adds one to a counter that only a holder may touch."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def work():
        done = 0
        while done < 25:
            try:
                with output_locked(tmp_path, ["01"]):
                    counter.write_text(str(int(counter.read_text()) + 1))
                    done += 1
            except TemporaryError:
                continue

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert counter.read_text() == "100"
