"""Pages of the documentation hold what the program knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_brnn.cli.documents import PAGES, filled, in_step, map_table, option_tables
from bids_brnn.cli.parser import build_parser

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_in_step(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert in_step(page, text) == text, "run: python -m bids_brnn.cli.documents docs"


def test_every_option_has_a_row():
    tables = option_tables()
    for action in build_parser()._actions:
        for name in action.option_strings:
            if "_" not in name:
                assert f"`{name}`" in tables or f"`{name} " in tables, name


def test_every_map_has_a_row():
    rows = map_table()
    assert "| `param-m0s` | 1 |" in rows
    assert "| `T1map` | s |" in rows
    assert "| `M0map` | arbitrary |" in rows
    assert "| Reasons to doubt a voxel | `param-flags` | 1 |" in rows
    assert "B1" not in rows  # a nuisance is no map


def test_what_stands_around_a_section_stays():
    page = filled((DOCS / "usage.md").read_text(encoding="utf-8"), "options", "| new |")
    assert page.startswith("# Running `bids_brnn`")
    assert "| new |" in page
    assert "`--mask FILE`" not in page
    assert "## Exit codes" in page
    with pytest.raises(ValueError, match="no section <!-- magic"):
        filled(page, "magic", "")
