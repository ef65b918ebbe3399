"""``brnn cohort``: who is in a study, who is finished, and what the others need."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_brnn.app.cohort import plan, read_cohort, summary
from bids_brnn.cli.options import existing_folder
from bids_brnn.errors import EXIT_OK
from bids_brnn.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn cohort``."""
    parser.epilog = (
        "Without --logs: the labels of all participants, one a line. With the logs that jobs of\n"
        "pipelines/submit.sh wrote: who is missing and why; the exit code is 0 if everybody is\n"
        "finished, that of all others where they share one, else 1."
    )
    parser.add_argument("bids_dir", type=existing_folder, metavar="BIDS_DIR", help="data set")
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="the derivative data set: who has no folder there is not finished",
    )  # fmt: skip
    parser.add_argument(
        "--logs", type=existing_folder, metavar="DIR",
        help="folder with the logs of the jobs, OUTPUT_DIR/logs/slurm",
    )  # fmt: skip
    parser.add_argument(
        "--unfinished", type=Path, metavar="FILE",
        help="write who is not finished, and the memory (MB) that they need, as a table",
    )  # fmt: skip
    parser.add_argument(
        "--participant-label", nargs="+", default=(), metavar="LABEL",
        type=lambda text: text.removeprefix("sub-"), help="only these; default: all",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Say who is in the study, or what became of them."""
    cohort = read_cohort(
        options.bids_dir.absolute(), options.logs, options.output, options.participant_label
    )
    if options.unfinished is not None:
        write_text(options.unfinished, "".join(f"{line}\n" for line in plan(cohort)))
    if options.logs is None:
        print("\n".join(cohort.labels))
        return EXIT_OK
    print("\n".join(summary(cohort)))
    return cohort.exit_code
