"""Threads that wait must not take the processor from those that work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bids_brnn.system.threads import in_threads

_WORDS = "import os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
_APP = (
    "from pathlib import Path; from bids_brnn.cli.run import prepare_environment; "
    "from bids_brnn.config.run_config import RunConfig; "
    "prepare_environment(RunConfig(bids_dir=Path('/a'), output_dir=Path('/b'), "
    "work_dir=Path('/c'), analysis_level='group')); "
)
_TOOLBOX = (
    "from bids_brnn.cli.toolbox import main; main.command_of = lambda name: exit(show()); "
    "main.main(['models'])"
)


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
@pytest.mark.parametrize(
    "program", [_APP + _WORDS, f"def show():\n    {_WORDS}\n{_TOOLBOX}"], ids=["app", "toolbox"]
)
def test_they_sleep_before_their_library_is_loaded_unless_the_user_wants_them_awake(
    program, given, wanted
):
    """The library reads the variable once, when it is loaded."""
    environment = {name: text for name, text in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == [wanted, "False"], done.stderr


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_few_are_ahead_of_what_is_asked_for(threads):
    begun = []

    def work(item):
        begun.append(item)
        if item == 8:
            raise KeyError(item)
        return item**2

    results = in_threads(work, iter(range(100)), threads)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(begun) <= 5 + threads
    with pytest.raises(KeyError):
        list(results)
    assert len(begun) <= 9 + threads
