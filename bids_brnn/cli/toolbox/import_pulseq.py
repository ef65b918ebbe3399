"""``brnn import-pulseq``: pulse table, sidecar and training configuration from a ``.seq`` file."""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from bids_brnn.bids.input.protocol import named
from bids_brnn.cli.options import positive
from bids_brnn.cli.toolbox.new_sequence import add_label, check_label, say
from bids_brnn.errors import EXIT_OK, BidsBrnnError, UsageError
from bids_brnn.experiments.templates import write_train
from bids_brnn.files import expanded
from bids_brnn.phantom.own import design
from bids_brnn.pulseq.reading import read_timeline
from bids_brnn.pulseq.translate import Unlabelled, sequence_of
from bids_brnn.sequences.pulse_sequence import Start
from bids_brnn.signals.base import check_signal
from bids_brnn.signals.registry import ModelEntry, model_entry, models_by_protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn import-pulseq``."""
    parser.epilog = (
        "What a table cannot say is refused: several echoes after one pulse, shapes that differ,\n"
        "gradients that are neither balanced nor one fixed moment after the sample. Needs the\n"
        "package pypulseq: pip install 'bids_brnn[pulseq]'."
    )
    parser.add_argument("file", type=expanded, metavar="FILE.seq", help="Pulseq file, 1.2 to 1.5")
    parser.add_argument("folder", type=expanded, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--model", required=True, help="signal model that the table is for: "
        + ", ".join(entry.name for entry in models_by_protocol("pulses")),
    )  # fmt: skip
    add_label(parser)
    parser.add_argument(
        "--boundary-condition", choices=get_args(Start),
        help="state before the first pulse of a train (default: thermal for MR fingerprinting; "
        "for qMT what repetitions in the file tell)",
    )  # fmt: skip
    parser.add_argument(
        "--trains", type=positive, default=1, metavar="N",
        help="number of different trains of equal length in the file (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--unlabelled-180", choices=get_args(Unlabelled),
        help="what RF pulses of 180 degrees are of which a file before Pulseq 1.5 does not say it",
    )  # fmt: skip
    parser.add_argument(
        "--rank", type=int, metavar="R",
        help="with a basis of R columns made for the train: series of coefficients in place of "
        "time frames",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Read, translate, write, say what was decided and what comes next."""
    check_label(options.label)
    entry = _entry(options.model)
    timeline = read_timeline(options.file)
    try:
        found = sequence_of(
            timeline,
            entry,
            start=options.boundary_condition,
            trains=options.trains,
            unlabelled=options.unlabelled_180,
            name=options.file.name,
        )
        check_signal(entry.build(found.sequence), found.sequence)
    except BidsBrnnError as error:
        raise named(options.file, error) from None
    for note in found.notes:
        sys.stderr.write(f"brnn import-pulseq: {note}\n")
    sequence = found.sequence
    sys.stdout.write(
        f"{options.file.name}: {sequence.n_trains} trains of up to {sequence.n_pulses} RF pulses, "
        f"{sequence.n_samples} samples, {sequence.duration:.3g} s\n"
    )
    subspace = None if options.rank is None else design(sequence, entry, options.rank)
    made = write_train(
        options.folder, options.label, entry, sequence,
        subspace=subspace, source=f"`{options.file.name}`",
    )  # fmt: skip
    say(made, options, entry)
    return EXIT_OK


def _entry(name: str) -> ModelEntry:
    entry = model_entry(name)
    if entry.protocol != "pulses":
        raise UsageError(f"--model {name} describes Z-spectra, which have no pulse train")
    return entry
