"""The page on the command holds the options that the parser has."""

from __future__ import annotations

from pathlib import Path

from bids_brnn.cli.parser import build_parser
from bids_brnn.cli.usage import option_tables, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "usage.md"


def test_the_page_is_in_step_with_the_parser():
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text, option_tables()) == text, (
        "run: python -m bids_brnn.cli.usage docs/usage.md"
    )


def test_every_option_has_a_row():
    tables = option_tables()
    for action in build_parser()._actions:
        for name in action.option_strings:
            if "_" not in name:
                assert f"`{name}`" in tables or f"`{name} " in tables, name


def test_what_stands_around_the_tables_stays():
    page = with_tables(PAGE.read_text(encoding="utf-8"), "| new |")
    assert page.startswith("# Running `bids_brnn`")
    assert "| new |" in page
    assert "`--mask FILE`" not in page
    assert "## Exit codes" in page
