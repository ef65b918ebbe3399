"""The tables of options in ``docs/usage.md``, made from the argument parser.

``python -m bids_brnn.cli.usage docs/usage.md`` puts them in; a test keeps the page in step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bids_brnn.cli.parser import build_parser
from bids_brnn.config.run_config import RunConfig

BEGIN = "<!-- options: python -m bids_brnn.cli.usage docs/usage.md -->"
END = "<!-- end of options -->"


def option_tables(config: type[RunConfig] = RunConfig) -> str:
    """A table for each part of the help."""
    parser = build_parser(config)
    return "\n\n".join(
        "\n".join([f"### {title}", "", "| option | effect |", "|---|---|", *rows])
        for group in parser._action_groups
        if (title := _title(group.title or "")) and (rows := list(_rows(group)))
    )


def _title(text: str) -> str:
    return {"how": "How it is processed"}.get(text, text[:1].upper() + text[1:])


def _rows(group: argparse._ArgumentGroup) -> Iterator[str]:
    for action in group._group_actions:
        names = ", ".join(f"`{name}`" for name in _names(action))
        effect = (action.help or "").replace("|", r"\|").replace("<", r"\<")
        yield f"| {names} | {effect} |"


def _names(action: argparse.Action) -> list[str]:
    """Spellings without those that differ by underscores only; the last one with its value."""
    names = [name for name in action.option_strings if "_" not in name] or [action.dest]
    value = "/".join(action.choices or ()) or str(action.metavar or "")
    if not action.option_strings or not value:
        return names
    value += {"+": " ...", "*": " ..."}.get(str(action.nargs), "")
    return [*names[:-1], f"{names[-1]} {value}"]


def with_tables(page: str, tables: str) -> str:
    """A page with other tables between its two marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{tail}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    text = with_tables(file.read_text(encoding="utf-8"), option_tables())
    file.write_text(text, encoding="utf-8")
