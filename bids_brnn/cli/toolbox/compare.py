"""``brnn compare``: maps of a simulated data set against its truth."""

from __future__ import annotations

import argparse

from bids_brnn.cli.toolbox.demo import table
from bids_brnn.errors import EXIT_OK
from bids_brnn.files import expanded
from bids_brnn.phantom import compare_with_truth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``brnn compare``."""
    parser.epilog = (
        "The table of brnn demo, for maps that are there: of other options, of a network\n"
        "of one's own, or of another program that gives its files the same names: on the grid\n"
        "of the series, in the units of the truth (SI), NaN where there is no estimate."
    )
    parser.add_argument(
        "dataset", type=expanded, metavar="DIR",
        help="data set that brnn simulate-dataset or brnn demo made",
    )  # fmt: skip
    parser.add_argument(
        "outputs", type=expanded, metavar="MAPS", help="output folder of bids_brnn for it"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    print(table(compare_with_truth(options.dataset, options.outputs)))
    return EXIT_OK
