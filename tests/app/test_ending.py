"""What is said when a signal ends the run, and that Python programs around it keep their own."""

from __future__ import annotations

import signal

import pytest

from bids_brnn.app.ending import ended_by
from bids_brnn.cli.run import main


def test_every_ending_has_a_sentence():
    assert ended_by(signal.SIGTERM).startswith("bids_brnn: terminated; finished steps are kept")
    assert "ended by SIGUSR1" in ended_by(signal.SIGUSR1)


def test_the_function_leaves_the_handlers_of_its_caller_alone():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(SystemExit):
        main(["--version"])
    assert {number: signal.getsignal(number) for number in before} == before
