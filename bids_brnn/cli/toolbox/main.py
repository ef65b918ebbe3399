"""``brnn``: the scientist's toolbox. One subcommand is one module and one line in this table."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from bids_brnn import __version__
from bids_brnn.cli.outcome import exit_code
from bids_brnn.errors import EXIT_OK, EXIT_USAGE
from bids_brnn.system.threads import let_threads_sleep

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": (
        "bids_brnn.cli.toolbox.demo",
        "make a small data set with known truth, map it, compare",
    ),
    "new-sequence": (
        "bids_brnn.cli.toolbox.new_sequence",
        "write templates for a protocol of one's own: table, sidecar, training",
    ),
    "import-pulseq": (
        "bids_brnn.cli.toolbox.import_pulseq",
        "pulse table and sidecar from a Pulseq .seq file",
    ),
    "import": (
        "bids_brnn.cli.toolbox.import_data",
        "series of qMRLab, QUIT, BART, .mat or NIfTI files to a BIDS data set",
    ),
    "simulate-dataset": (
        "bids_brnn.cli.toolbox.simulate_dataset",
        "make a data set with known truth for protocols of one's own",
    ),
    "compare": (
        "bids_brnn.cli.toolbox.compare",
        "maps of a simulated data set against its truth",
    ),
    "simulate": (
        "bids_brnn.cli.toolbox.simulate",
        "signals, derivatives and bounds of parameter sets",
    ),
    "crb": (
        "bids_brnn.cli.toolbox.crb",
        "what a pulse train can measure: tables and plots of bounds",
    ),
    "train": (
        "bids_brnn.cli.toolbox.train",
        "train a network for a pulse train, a prior and a rank",
    ),
    "evaluate": (
        "bids_brnn.cli.toolbox.evaluate",
        "judge a trained network against bounds and fits",
    ),
    "models": ("bids_brnn.cli.toolbox.models", "list trained networks, or show the card of one"),
    "cohort": (
        "bids_brnn.cli.toolbox.cohort",
        "who is in a study, who is finished, and what the others need",
    ),
}
"""Name of the subcommand, its module (loaded only when called) and what it does."""


class Command(Protocol):
    """What the module of a subcommand offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare options and describe the command."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {words}" for name, (_, words) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="brnn",
        usage="brnn [--version] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Toolbox of bids_brnn; the BIDS App itself is the command bids_brnn.",
        epilog="commands:\n" + "\n".join(lines) + "\n\nbrnn COMMAND --help explains one of them.",
    )
    parser.add_argument("--version", action="version", version=f"brnn {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def command_of(name: str) -> tuple[Command, argparse.ArgumentParser]:
    """The module of a subcommand, and the parser of its arguments."""
    module, description = COMMANDS[name]
    command = cast(Command, importlib.import_module(module))
    parser = argparse.ArgumentParser(
        prog=f"brnn {name}",
        description=f"{description[0].upper()}{description[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return command, parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; problems the user can cure become one sentence and an exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    overview = _overview()
    if not words:
        overview.print_help(sys.stderr)
        return EXIT_USAGE
    name = overview.parse_args(words[:1]).command
    let_threads_sleep()
    command, parser = command_of(name)
    options = parser.parse_args(words[1:])

    def work() -> int:
        try:
            return command.run(options)
        except BrokenPipeError:  # the reader of our output, such as head, has seen enough
            sys.stderr.close()
            return EXIT_OK

    return exit_code(f"brnn {name}", work)


if __name__ == "__main__":
    sys.exit(main())
