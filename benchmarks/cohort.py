"""A study of many participants in two sessions, from nothing to the group page, checked.

    python benchmarks/cohort.py DIR                     20 participants, about 5 min of one CPU
    python benchmarks/cohort.py DIR --participants 2    the same, small

Makes phantom data in DIR/ds, runs both levels of ``bids_brnn`` into DIR/out, and checks that

- data and output pass the BIDS validator with 0 errors,
- every participant and session has the same files,
- every participant and session is in every group table,
- a second run of everything writes the same bytes and estimates nothing again.

Ends with 1 and the reasons where one of them does not hold.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bids_brnn.phantom import make_dataset
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train

SESSIONS = ("01", "02")
_ESTIMATED = re.compile(r"done in .* voxels/s\)$", re.M)


def main() -> int:
    options = parse()
    dataset, out, work = (options.folder / name for name in ("ds", "out", "work"))
    began = time.perf_counter()
    make_dataset(
        dataset,
        n_participants=options.participants,
        sessions=SESSIONS,
        shape=tuple(options.matrix),
        mrf_train=jiang_like_train(100),
        qmt_train=hybrid_state_train(n_pulses=40),
        qmt_rank=8,
    )
    print(f"data: {options.participants} participants, {time.perf_counter() - began:.0f} s")
    fmriprep = f"fmriprep={dataset / 'derivatives' / 'fmriprep'}"
    participant = [dataset, out, "participant", "-w", work, "-d", fmriprep, *options.further]
    group = [dataset, out, "group", "-w", work]
    first, fits = run(participant)
    first += run(group)[0]
    before = content(out)
    problems = [*validated(dataset), *validated(out), *unequal(out), *missing(out, options)]
    second, again = run(participant)
    second += run(group)[0]
    after = content(out)
    changed = sorted(name for name in before | after if before.get(name) != after.get(name))
    problems += [f"the second run changed {name}" for name in changed]
    print(f"first run {first:.0f} s with {fits} estimates, second run {second:.0f} s with {again}")
    if fits == 0 or again > 0:
        problems.append(f"the first run made {fits} estimates, the second run {again}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("all checks passed" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--matrix", nargs=3, type=int, default=(8, 10, 1))
    parser.epilog = "Further options are handed on to bids_brnn participant."
    options, options.further = parser.parse_known_args()
    options.folder = options.folder.absolute()
    return options


def run(words: list[object]) -> tuple[float, int]:
    """One call of the command; seconds it took, and how many series it said to have estimated."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "bids_brnn", *map(str, words)]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{done.stderr}\nexit code {done.returncode}: {' '.join(command)}")
    print(f"{words[2]}: {seconds:.0f} s")
    return seconds, len(_ESTIMATED.findall(done.stderr))


def results(out: Path) -> list[Path]:
    """Files that are no logs."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return [path for path in files if not {"log", "logs"} & {*path.relative_to(out).parts}]


def content(out: Path) -> dict[str, str]:
    """SHA-256 by name; the page of a participant without the record of the run."""
    found = {}
    for path in results(out):
        data = path.read_bytes()
        if path.suffix == ".html":
            data = re.sub(rb"<pre>.*?</pre>", b"", data, flags=re.S)
        found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def validated(folder: Path) -> list[str]:
    """Errors of the BIDS validator."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("bids-validator-deno", path=beside) or "bids-validator-deno"
    done = subprocess.run(
        [program, str(folder), "--json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    print(f"{folder.name}: {len(errors)} errors of the BIDS validator")
    return [f"{item['code']} in {item.get('location')}" for item in errors]


def unequal(out: Path) -> list[str]:
    """Files that one participant or session has and another has not."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path in results(out):
        found = re.match(
            r"sub-([0-9A-Za-z]+)(?:/ses-([0-9A-Za-z]+))?/", str(path.relative_to(out))
        )
        if found is None:
            continue
        subject, session = found.groups()
        name = str(path.relative_to(out)).replace(f"sub-{subject}", "sub-*")
        name = re.sub(r"ses-[0-9A-Za-z]+", "ses-*", name)
        inner = re.search(r"ses-([0-9A-Za-z]+)", path.name)
        owners[name].add(f"{subject} {session or (inner.group(1) if inner else '')}")
    everyone = set().union(*owners.values())
    print(f"{len(owners)} files for each of {len(everyone)} participants and sessions")
    return [
        f"{name} is missing for {', '.join(sorted(everyone - some))}"
        for name, some in owners.items()
        if some != everyone
    ]


def missing(out: Path, options: argparse.Namespace) -> list[str]:
    """Participants and sessions that are not in a group table."""
    names = [f"sub-{number + 1:02d}" for number in range(options.participants)]
    wanted = {(name, f"ses-{session}") for name in names for session in SESSIONS}
    tables = sorted(out.glob("seg-*_scalarstats.tsv"))
    found = [] if tables else ["there is no group table"]
    for path in tables:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            there = {(row["participant_id"], row["session_id"]) for row in rows}
        found += [f"{path.name} lacks {' '.join(pair)}" for pair in sorted(wanted - there)]
    print(f"{len(tables)} group tables with {len(wanted)} participants and sessions")
    return found


if __name__ == "__main__":
    sys.exit(main())
