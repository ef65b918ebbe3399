"""``brnn new-sequence``: templates for a protocol of one's own."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from bids_brnn.errors import EXIT_OK, UsageError
from bids_brnn.experiments.template_page import commands
from bids_brnn.experiments.templates import (
    SPECTRUM,
    kinds,
    template_train,
    write_train,
    write_z_template,
)
from bids_brnn.files import expanded
from bids_brnn.phantom.own import design
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals.registry import ModelEntry, model_entry, models_of, series_kinds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn new-sequence``."""
    parser.epilog = (
        "The files are valid as they are: every command reads them. Their comments say what each\n"
        "column and key is for; README.md beside them has the commands from there to maps."
    )
    parser.add_argument("folder", type=expanded, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--kind",
        required=True,
        choices=(*series_kinds(), *kinds()),
        help="the signal model of a pulse train (qmt, mrf: the usual one of these), or zspectrum",
    )
    add_label(parser)
    parser.add_argument(
        "--rank",
        type=int,
        metavar="R",
        help="with a basis of R columns made for the train: series of coefficients in place of "
        "time frames",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """The option that names the files."""
    parser.add_argument(
        "--label", default="own", metavar="LABEL", help="acq- of the files (default: own)"
    )


def check_label(label: str) -> None:
    """Refuse what no label of BIDS may be.

    Raises
    ------
    UsageError
        Naming it.
    """
    if not re.fullmatch("[a-zA-Z0-9]+", label):
        raise UsageError(f"--label {label}: labels of BIDS are letters and digits")


def run(options: argparse.Namespace) -> int:
    """Write the templates, say what they are and what comes next."""
    check_label(options.label)
    if options.rank is not None and options.kind == SPECTRUM:
        raise UsageError("--rank: a Z-spectrum has no subspace")
    if options.kind == SPECTRUM:
        say(write_z_template(options.folder, options.label, demo_protocol()), options, None)
        return EXIT_OK
    named = options.kind in series_kinds()
    entry = models_of(options.kind)[0] if named else model_entry(options.kind)
    train = template_train(entry)
    subspace = None if options.rank is None else design(train, entry, options.rank)
    say(
        write_train(options.folder, options.label, entry, train, subspace=subspace), options, entry
    )
    return EXIT_OK


def say(made: Iterable[Path], options: argparse.Namespace, entry: ModelEntry | None) -> None:
    """The files that were made, and the commands that take them further."""
    for path in made:
        sys.stdout.write(f"{path}\n")
    folder = shlex.quote(str(options.folder))
    lines = [f"  cd {folder}", *(f"  {line}" for _, line in commands(options.label, entry))]
    sys.stdout.write("\n".join(["next:", *lines]) + "\n")
