"""What the page on reliability promises is held by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_promise_and_fault_has_a_test_and_every_test_exists():
    rows = re.findall(r"^\| (.*?) \|.*\| (.*?) \|$", PAGE, re.MULTILINE)
    rows = [row for row in rows if "::" in row[1]]
    covered = set()
    for numbers, _ in rows:
        ends = [int(end) for end in re.findall(r"\d+", numbers)]
        covered |= set(range(ends[0], ends[-1] + 1)) if ends else set()
    assert covered == set(range(1, 35))
    promised = PAGE.partition("## Promises")[2].partition("## Faults")[0].split("\n|")[3:]
    assert len(promised) == 6
    assert all("::" in row for row in promised)
    for _, held in rows:
        for file, name in re.findall(r"`([\w/.]+)::(\w+)`", held):
            path = PROJECT / file.replace("drill/", "tests/integration/drill/", 1)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in functions, f"{file}::{name}"
