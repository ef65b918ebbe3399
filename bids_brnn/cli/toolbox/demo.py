"""``brnn demo``: from nothing to maps whose truth is known, in one command."""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bids_brnn.cli.options import count
from bids_brnn.errors import EXIT_OK, UsageError
from bids_brnn.phantom import Agreement, compare_with_truth, make_dataset
from bids_brnn.phantom.dataset import KINDS
from bids_brnn.phantom.fields import RELAXOMETRY

MADE = ("fmriprep", RELAXOMETRY)
"""Folders below ``derivatives`` of a phantom that ``bids_brnn`` reads."""
_HIDDEN = ("R1", "R2", "T2f", "kf", "kr")  # follow from others, which are shown
_MEASURABLE = 100.0
"""A tissue in which the bound of some parameter exceeds this many percent is not compared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn demo``."""
    parser.epilog = (
        "DIR becomes a BIDS data set (qMT of two kinds and MR fingerprinting of invented heads,\n"
        "field maps, an fMRIPrep-like derivative, the truth); DIR/derivatives/bids_brnn holds\n"
        "the maps."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--participants", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--sessions", nargs="+", default=(), metavar="LABEL", help="default: no session level"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS,
        help="series: our own qMT trains, MR fingerprinting, conventional qMT (spgr); "
        "default: all",
    )  # fmt: skip
    parser.add_argument(
        "--matrix", nargs=3, type=int, default=(24, 30, 2), metavar=("X", "Y", "Z"),
        help="voxels of the series (default: 24 30 2)",
    )  # fmt: skip
    parser.add_argument(
        "--snr", type=float, default=60.0, help="|M0|/sigma of water, per channel (default: 60)"
    )
    parser.add_argument("--seed", type=count, default=2024)
    parser.add_argument(
        "--data-only", action="store_true", help="make the data set, do not run bids_brnn"
    )


def check_phantom(options: argparse.Namespace) -> None:
    """Refuse numbers and labels of which no data set can be made.

    Raises
    ------
    UsageError
        Naming the option.
    """
    if options.participants < 1:
        raise UsageError(f"--participants {options.participants}: one or more are needed")
    if not (options.snr > 0 and math.isfinite(options.snr)):
        raise UsageError(f"--snr {options.snr:g}: a finite number above 0 is needed")
    if min(options.matrix) < 1:
        raise UsageError("--matrix needs three numbers above 0")
    labels = list(options.sessions)
    if any(not re.fullmatch("[a-zA-Z0-9]+", label) for label in labels):
        raise UsageError("--sessions: labels of BIDS are letters and digits")
    if len(set(labels)) < len(labels):
        raise UsageError(f"--sessions {' '.join(labels)}: each label once")


def run(options: argparse.Namespace) -> int:
    """Make the data set, run both levels of the application, compare with the truth."""
    folder: Path = options.folder
    check_phantom(options)
    began = time.perf_counter()
    make_dataset(
        folder,
        n_participants=options.participants,
        sessions=tuple(options.sessions),
        kinds=tuple(options.kinds),
        shape=tuple(options.matrix),
        snr=options.snr,
        seed=options.seed,
    )
    _say(
        f"Made {folder}: {options.participants} participants, {_listed(options.kinds)}, "
        f"{'x'.join(map(str, options.matrix))} voxels, SNR {options.snr:g} "
        f"({time.perf_counter() - began:.0f} s)"
    )
    if options.data_only:
        return EXIT_OK
    outputs = folder / "derivatives" / "bids_brnn"
    with tempfile.TemporaryDirectory(prefix="brnn_demo_") as work:
        code = run_application(folder, outputs, Path(work))
    if code != EXIT_OK:
        return code
    _say(f"Maps, tables and reports: {outputs}")
    _say(table(compare_with_truth(folder, outputs)))
    return EXIT_OK


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def application_commands(folder: Path, outputs: Path, work: Path) -> dict[str, list[str]]:
    """Arguments of ``bids_brnn`` for a phantom, by analysis level."""
    made = [folder / "derivatives" / name for name in MADE]
    extra = {
        "participant": [
            "--derivatives",
            *(f"{path.name}={path}" for path in made if path.is_dir()),
            "--work-dir",
            str(work),
        ],
        "group": ["--work-dir", str(work)],
    }
    return {level: [str(folder), str(outputs), level, *words] for level, words in extra.items()}


def run_application(folder: Path, outputs: Path, work: Path) -> int:
    """The very commands a user would type, through the same entry point."""
    for level, words in application_commands(folder, outputs, work).items():
        _say("$ bids_brnn " + " ".join(words))
        began = time.perf_counter()
        # -P: a folder in the current directory must not shadow the installed package.
        command = [sys.executable, "-P", "-m", "bids_brnn", *words]
        code = subprocess.run(command, check=False, env=dict(os.environ)).returncode
        if code != EXIT_OK:
            sys.stderr.write(f"bids_brnn {level} ended with exit code {code}\n")
            return code
        _say(f"  ({time.perf_counter() - began:.0f} s)")
    return EXIT_OK


def table(rows: Sequence[Agreement]) -> str:
    """Estimates against the truth, one line per parameter and tissue, for one screen."""
    lines = [
        "",
        "Maps against the truth, all participants. bound: smallest std of an unbiased estimate;",
        "spread/bound: half the 16-84 % range of error/bound, 1 for the best unbiased estimator;",
        "far: voxels whose error exceeds 5 bounds.",
        f"{'series':10}{'param':6}{'tissue':7}{'by':6}{'voxels':>6}{'truth':>11}{'estimate':>11}"
        f"{'bias %':>8}{'bound %':>8}{'spread/bound':>13}{'far %':>7}",
    ]
    blind = {(row.series, row.tissue) for row in rows if row.bound > _MEASURABLE}
    for row in rows:
        is_empty = row.n + row.n_invalid == 0
        if row.parameter in _HIDDEN or (row.series, row.tissue) in blind or is_empty:
            continue
        lines.append(
            f"{row.series:10}{row.parameter:6}{row.tissue:7}{row.estimator:6}{row.n:6d}"
            f"{row.truth:11.4g}{row.estimate:11.4g}{row.bias:8.2f}{row.bound:8.2f}"
            f"{row.spread_to_bound:13.2f}{100 * row.outliers:7.2f}"
        )
    for series, tissue in sorted(blind):
        lines.append(
            f"{series} in {tissue} is left out: some parameter has a bound of more than "
            f"{_MEASURABLE:g} % there."
        )
    invalid = sum(row.n_invalid for row in rows)
    if invalid:
        lines.append(f"{invalid} estimates are not finite.")
    return "\n".join(lines)
