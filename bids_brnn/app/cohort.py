"""Who of a study is finished, who is not and why, from what the tasks of a cluster left.

Each task writes two lines into its log, ``bids_brnn-task start ...`` and, unless it is killed,
``bids_brnn-task end ...`` (``pipelines/slurm/participant.sbatch``). Between them stands what the
program and the cluster said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_brnn.bids.input.folders import list_labels
from bids_brnn.errors import (
    EXIT_NO_SERIES,
    EXIT_NODE_CRASHED,
    EXIT_OK,
    NothingSelectedError,
    printable,
)
from bids_brnn.system.reading import read_bounded

_LINE = re.compile(r"bids_brnn-task (start|end)((?: \w+=\S*)+)\s*")
_MOST = 64 * 2**20  # bytes of a log; one with more is no log of a task
_MOST_DIGITS = 12  # of megabytes and exit codes
OUT_OF_MEMORY = (
    # what this program says: a killed worker or run, memory that was refused, an image too large
    "killed by the system. Out of memory?",
    "The memory does not suffice.",
    "GB of memory, more than",
    # what Slurm says, with control groups and without
    "oom-kill",
    "oom_kill",
    "OUT_OF_MEMORY",
    "exceeded memory limit",
)
"""Parts of messages that tell that a task had too little memory."""
_WITH_SIGNAL = {
    130: "interrupted",
    138: "ended before its time limit",
    143: "ended before its time",
}


@dataclass(frozen=True)
class Attempt:
    """One try to map one participant."""

    participant: str
    started: str
    """UTC, as in ISO 8601, so that texts sort as times."""
    job: str
    memory_mb: int
    """Granted by the cluster; 0: it did not tell."""
    code: int | None
    """Exit code; None: the task was killed, or still runs."""
    short_of_memory: bool
    log: Path

    @property
    def settled(self) -> bool:
        """Whether another try would change nothing: maps are there, or nothing to make them of."""
        return self.code in (EXIT_OK, EXIT_NO_SERIES)

    @property
    def reason(self) -> str:
        """Why it did not end well, in words."""
        if self.short_of_memory:
            return (
                f"too little memory ({self.memory_mb} MB)" if self.memory_mb else "out of memory"
            )
        if self.code is None:
            return "killed, or still running"
        return _WITH_SIGNAL.get(self.code, f"exit code {self.code}")


@dataclass(frozen=True)
class Cohort:
    """The participants of a study, and the last attempt at each."""

    labels: tuple[str, ...]
    last: Mapping[str, Attempt]
    notes: tuple[str, ...] = ()
    """Of logs that cannot be read."""

    @property
    def without_series(self) -> tuple[str, ...]:
        """Those with nothing to map."""
        return tuple(name for name in self.labels if self._code(name) == EXIT_NO_SERIES)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Those whose maps are still to be made."""
        return tuple(
            name for name in self.labels if not (name in self.last and self.last[name].settled)
        )

    def reason(self, label: str) -> str:
        """Why one is not finished."""
        return self.last[label].reason if label in self.last else "did not start"

    def memory_mb(self, label: str) -> int:
        """What the next attempt needs at least: twice the memory where that was the reason.

        0 where nothing is known.
        """
        if label not in self.last:
            return 0
        attempt = self.last[label]
        return attempt.memory_mb * (2 if attempt.short_of_memory else 1)

    @property
    def exit_code(self) -> int:
        """0 where everybody is settled; the code that all others share, or 1."""
        codes = {self._code(name) for name in self.unfinished}
        if not codes:
            return EXIT_OK
        only = codes.pop()
        return EXIT_NODE_CRASHED if codes or only is None else only

    def _code(self, label: str) -> int | None:
        return self.last[label].code if label in self.last else None


def read_cohort(
    bids_dir: Path,
    logs: Path | None = None,
    output_dir: Path | None = None,
    participants: Sequence[str] = (),
) -> Cohort:
    """Participants of a data set, and what became of them.

    Parameters
    ----------
    bids_dir
        The data set: its folders ``sub-<label>`` count, not the rows of ``participants.tsv``.
    logs
        Folder with the logs of tasks, ``*.out``; None: nothing is known of any.
    output_dir
        The derivative: whoever has no folder there any more is not finished. None: not looked at.
    participants
        Labels of those that count; empty: all.

    Raises
    ------
    NothingSelectedError
        If the data set has no participant, or not one that was asked for.
    """
    known = list_labels(bids_dir, "sub-")
    absent = sorted(set(participants) - set(known))
    if absent or not known:
        who = ", ".join(f"sub-{name}" for name in absent) or "no folder sub-<label>"
        raise NothingSelectedError(
            f"{bids_dir} has {who}; is it the root of a BIDS data set?"
            if not known
            else f"{who}: not in {bids_dir}, which has {len(known)} participants."
        )
    wanted = set(participants)
    labels = tuple(name for name in known if not wanted or name in wanted)
    notes: list[str] = []
    last = last_attempts(logs, notes) if logs is not None else {}
    if output_dir is not None and last:
        there = set(list_labels(output_dir, "sub-"))
        last = {
            name: attempt
            for name, attempt in last.items()
            if attempt.code != EXIT_OK or name in there
        }
    return Cohort(labels, last, tuple(notes))


def last_attempts(logs: Path, notes: list[str] | None = None) -> dict[str, Attempt]:
    """The last attempt at each participant that the logs of a folder tell of.

    ``notes`` grows by one for each file that cannot be read.
    """
    found: dict[str, Attempt] = {}
    for path in sorted(logs.glob("*.out")):
        try:
            text = read_bounded(path, _MOST).decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            if notes is not None:
                reason = getattr(error, "strerror", None) or error
                notes.append(f"{printable(str(path))} is left aside: {reason}.")
            continue
        for attempt in attempts(text, path):
            before = found.get(attempt.participant)
            if before is None or before.started <= attempt.started:
                found[attempt.participant] = attempt
    return found


def attempts(text: str, log: Path) -> Iterator[Attempt]:
    """The attempts that one log tells of, in their order."""
    values: dict[str, str] | None = None
    short = False
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            short = short or any(words in line for words in OUT_OF_MEMORY)
            continue
        said = dict(part.split("=", 1) for part in found[2].split())
        if found[1] == "start":
            if values is not None:
                yield _attempt(values, None, short, log)
            values, short = said, False
        elif values is not None and said.get("participant") == values.get("participant"):
            yield _attempt(values, _number(said.get("code", "")), short, log)
            values = None
    if values is not None:
        yield _attempt(values, None, short, log)


def _attempt(values: Mapping[str, str], code: int | None, short: bool, log: Path) -> Attempt:
    return Attempt(
        participant=values.get("participant", ""),
        started=values.get("time", ""),
        job=values.get("job", ""),
        memory_mb=_number(values.get("memory", "")) or 0,
        code=code,
        # A run may get over what one of its messages says.
        short_of_memory=short and code not in (EXIT_OK, EXIT_NO_SERIES),
        log=log,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def plan(cohort: Cohort) -> Iterator[str]:
    """Lines of a table: who is to be run again, and the least memory for it in MB."""
    for name in cohort.unfinished:
        yield f"{name}\t{cohort.memory_mb(name)}"


def summary(cohort: Cohort) -> Iterator[str]:
    """What became of everybody, in lines for people; one for each participant that is missing."""
    yield from cohort.notes
    missing = cohort.unfinished
    alone = cohort.without_series
    done = len(cohort.labels) - len(missing) - len(alone)
    yield f"{done} of {len(cohort.labels)} participants are finished, {len(missing)} are not."
    if alone:
        yield f"Without a series to map: {_named(alone)}."
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name in missing:
        by_reason[cohort.reason(name)].append(name)
    for reason, names in sorted(by_reason.items()):
        yield f"Missing, {reason}: {_named(names)}."
        logs = [cohort.last[name].log for name in names if name in cohort.last]
        if logs:
            yield f"  see {logs[0]}" + (f" and {len(logs) - 1} more" if len(logs) > 1 else "")


def _named(labels: Iterable[str]) -> str:
    return ", ".join(f"sub-{label}" for label in labels)
