"""The command line of the BIDS App. Nothing heavy is imported here: ``--help`` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn import __version__
from bids_brnn.cli import options
from bids_brnn.cli.arguments import did_you_mean, rewritten
from bids_brnn.cli.foreign import own_values
from bids_brnn.config.checks import check_places
from bids_brnn.config.choices import MOST_THREADS
from bids_brnn.config.options import Option, options_of
from bids_brnn.config.run_config import RunConfig
from bids_brnn.config.toml import changed_files, overridden
from bids_brnn.errors import UsageError

_GROUPS = {
    "selection": "what is processed",
    "method": "how",
    "resources": "resources",
    "control": "run control",
}
_FOLLOWED_BY = {
    "clean_workdir": Option(
        name="config_file",
        kind="path",
        help="TOML file with options; the command line wins",
        group="control",
        flags=("--config-file",),
        exists="file",
    ),
    "write_graph": Option(
        name="notrack",
        kind="switch",
        help="accepted; nothing is ever sent anywhere",
        group="control",
        flags=("--notrack",),
    ),
}
"""What only the command line has, by the option that it follows in the help."""


def build_parser(config: type[RunConfig] = RunConfig) -> argparse.ArgumentParser:
    """The parser; absent options are absent from the namespace, so that a file can give them."""
    parser = argparse.ArgumentParser(
        prog="bids_brnn",
        description="Quantitative magnetization transfer and MR fingerprinting maps, with their "
        "uncertainty, from a BIDS data set.",
        argument_default=argparse.SUPPRESS,
        epilog="Exit codes: 0 done, 1 a step crashed, 2 usage, 16 invalid BIDS, 18 nothing "
        "selected, 65 wrong data, 66 no QMT or MRF series, 73 not writable, 74 not readable, "
        "75 try again.",
    )
    parser.add_argument("--version", action="version", version=f"bids_brnn v{__version__}")
    parser.add_argument(
        "--bids-exec-spec", action=_PrintDescriptor, help="print the Boutiques descriptor"
    )
    groups: dict[str, Any] = {"place": parser}
    groups |= {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    for item in options_of(config):
        _add(groups[item.group], item)
        if item.name in _FOLLOWED_BY:
            _add(groups[item.group], _FOLLOWED_BY[item.name])
    return parser


class _PrintDescriptor(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from bids_brnn.cli.boutiques import descriptor_text

        print(descriptor_text(), end="")
        parser.exit()


def _add(group: Any, item: Option) -> None:
    """Add an option as its kind asks for, under all its spellings."""
    keywords: dict[str, Any] = {"help": item.help}
    if item.kind == "switch":
        keywords["action"] = "store_true"
    elif item.counted:
        keywords["action"] = "count"
    else:
        keywords |= {"type": options.conversion(item), "choices": item.known or None}
        if item.kind in ("texts", "paths", "table"):
            keywords["nargs"] = "*" if item.bare else "+"
        elif item.bare:
            keywords |= {"nargs": "?", "const": item.bare[0]}
        if item.group != "place":
            keywords["metavar"] = options.metavar(item)
    if item.group == "place":
        group.add_argument(item.name, **keywords)
    else:
        group.add_argument(*_spellings(item.flags), dest=item.name, **keywords)


def _spellings(flags: Iterable[str]) -> list[str]:
    """The flags and, of each long one, that with underscores."""
    others = [f"--{flag[2:].replace('-', '_')}" for flag in flags if flag.startswith("--")]
    return list(dict.fromkeys([*flags, *others]))


def _value(item: Option, given: Any) -> Any:
    """What an option is set to.

    Raises
    ------
    UsageError
        If a name is given twice.
    """
    if item.kind == "table":
        names = [name for name, _ in given]
        for name, path in given:
            if names.count(name) > 1:
                raise UsageError(
                    f'{item.flags[-1]}: "{name}" is given {names.count(name)} times; give each '
                    f"a name of its own: NAME={path}."
                )
        return dict(given)
    return item.bare if given == [] else given


def parse(
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    config: type[RunConfig] = RunConfig,
) -> RunConfig:
    """Command line to configuration; options of ``--config-file`` come under it.

    Raises
    ------
    BidsBrnnError
        If the options contradict each other (argparse itself exits with 2).
    """
    environment = os.environ if environment is None else environment
    parser = build_parser(config)
    words, notes = rewritten(parser, sys.argv[1:] if arguments is None else arguments)
    found, unknown = parser.parse_known_args(words)
    if unknown:
        strange = [word for word in unknown if word.startswith("-")] or unknown
        hint = did_you_mean(strange, list(parser._option_string_actions))
        parser.error(f"unrecognized arguments: {' '.join(strange)}{hint}")
    given = vars(found)
    chosen = config.options_in(given["config_file"]) if "config_file" in given else {}
    for name, value in chosen.items():
        chosen[name], more = own_values(name, value)
        notes += more
    items = options_of(config)
    chosen = overridden(
        chosen, {i.name: _value(i, given[i.name]) for i in items if i.name in given}
    )
    check_places(items, chosen, given.get("config_file"))
    notes += changed_files(chosen)
    for note in notes:
        print(f"bids_brnn: note: {note}", file=sys.stderr)
    chosen.setdefault("work_dir", Path("work"))
    chosen.setdefault("nprocs", options.available_cpus(environment))
    chosen.setdefault("omp_nthreads", min(chosen["nprocs"], MOST_THREADS))
    chosen.setdefault("mem_mb", options.available_memory_mb(environment))
    return config.from_values(chosen)
