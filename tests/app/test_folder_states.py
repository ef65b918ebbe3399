"""Runs that start, write, end and are killed, in any order, leave the folders right."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import sampled_from

from bids_brnn.app.folders import clear_leftovers, locked
from bids_brnn.app.locks import output_locked
from bids_brnn.errors import TemporaryError
from bids_brnn.files import WRITER_VARIABLE, replacing

WHO = sampled_from(["01", "02"])
WHOLE = b"whole"


class Folders(RuleBasedStateMachine):
    """Runs of two participants on one output folder; what is right is told by sets."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.out, self.base = self.root / "out", self.root / "work"
        self.base.mkdir()
        self.running = {}
        self.partial = {}  # temporary files of runs that are at work, by participant
        self.orphans = {"01": set(), "02": set()}  # those of killed runs
        self.finished = set()
        self.count = 0

    def teardown(self):
        for stack, _ in self.running.values():
            stack.close()
        shutil.rmtree(self.root)

    @rule(who=WHO)
    def start(self, who):
        """A second run of one participant is turned away; a first one tidies up."""
        writer = f"{self.count:06x}"
        self.count += 1
        stack = ExitStack()
        try:
            stack.enter_context(output_locked(self.out, [who]))
            with _writer(writer):
                killed = stack.enter_context(locked(self.base, [who]))
        except TemporaryError:
            stack.close()
            assert who in self.running
            return
        assert who not in self.running
        self.running[who] = (stack, writer)
        self.partial[who] = set()
        clear_leftovers(self.out, self.base, killed)
        assert not any(path.exists() for path in self.orphans[who])
        self.orphans[who] = set()

    @rule(who=WHO)
    def write(self, who):
        """A file is there as a whole or not at all."""
        if who in self.running:
            path = self.out / f"sub-{who}" / "a.txt"
            with _writer(self.running[who][1]), replacing(path) as temporary:
                temporary.write_bytes(WHOLE)
            self.finished.add(path)

    @rule(who=WHO)
    def begin_to_write(self, who):
        """What a run that is killed later is in the middle of."""
        if who in self.running:
            writer = self.running[who][1]
            name = f".tmp-{writer}{len(self.partial[who]):06x}-b.txt"
            path = self.out / f"sub-{who}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(WHOLE[:2])
            self.partial[who].add(path)

    @rule(who=WHO)
    def end(self, who):
        """A run that ends by itself has finished its files."""
        if who in self.running:
            for path in self.partial.pop(who):
                path.unlink()
            self.running.pop(who)[0].close()

    @rule(who=WHO)
    def kill(self, who):
        """The locks are free; their files and what was being written stay as they are."""
        if who in self.running:
            files = [self.base / f"sub-{who}.lock", self.out / "logs" / f".sub-{who}.lock"]
            content = [file.read_bytes() for file in files]
            self.running.pop(who)[0].close()
            for file, was in zip(files, content, strict=True):
                file.write_bytes(was)
            self.orphans[who] |= self.partial.pop(who)

    @invariant()
    def whole(self):
        assert all(path.read_bytes() == WHOLE for path in self.finished)
        assert all(path.exists() for files in self.partial.values() for path in files)


@contextmanager
def _writer(name):
    """Be the process that writes under this name, as its environment tells it."""
    with patch.dict(os.environ, {WRITER_VARIABLE: name}):
        yield


def test_runs_in_any_order_leave_the_folders_right():
    chosen = settings(max_examples=25, stateful_step_count=20)
    run_state_machine_as_test(Folders, settings=chosen)
