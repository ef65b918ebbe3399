"""Every example of the documentation runs, or says above it why not.

Marks: ``<!-- not run: reason -->`` leaves it out, ``<!-- slow -->`` waits for ``-m slow``,
and ``<!-- file: name -->`` writes it. Blocks of a page follow each other in one folder and, for
Python, in one name space. Commands that are not run are parsed all the same (test_commands.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "pipelines").rglob("*.md")]
)
ELSEWHERE = {
    "docs/python.md": "tests/test_public_names.py",
    "docs/nipype.md": "tests/workflows/test_nipype_page.py",
    "docs/conventional_qmt.md": "tests/test_conventional_qmt_page.py",
}
"""Pages whose Python and shell blocks a test of their own runs."""
READERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
RUN = ("python", "bash")
_FENCE = re.compile(r"^( *)```(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and what the comments above it say."""

    line: int
    language: str
    text: str
    marks: tuple[str, ...]

    def said(self, key: str) -> str | None:
        """What follows a mark; empty for one without words."""
        found = (mark for mark in self.marks if mark.partition(":")[0] == key)
        mark = next(found, None)
        return None if mark is None else mark.partition(":")[2].strip()


def blocks_of(text: str) -> Iterator[Block]:
    """Fenced blocks of a page in order; marks are the comments directly above."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        above = number - 1
        marks = []
        while above >= 0 and (mark := re.fullmatch(r"<!-- (.*) -->", lines[above].strip())):
            marks.append(mark[1])
            above -= 1
        end = number + 1
        while not re.fullmatch(rf"{fence[1]}```", lines[end]):
            end += 1
        body = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
        yield Block(number + 1, fence[2].strip(), body, tuple(marks))
        number = end + 1


def here(page: Path) -> list[Block]:
    """Blocks of a page that this module has to run."""
    if page.relative_to(ROOT).as_posix() in ELSEWHERE:
        return []
    return [
        block
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.said("not run") is None
        and (block.language in RUN or block.said("file") is not None)
    ]


def run(page: Path, folder: Path, *, slow: bool) -> None:
    """The blocks of a page in their order; commands start as they would in a terminal."""
    space: dict[str, object] = {"folder": folder}
    for block in here(page):
        if name := block.said("file"):
            (folder / name).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, f"{page.name}:{block.line}", "exec"), space)
        elif slow or block.said("slow") is None:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=folder, env=_terminal(folder), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{page.name}:{block.line}\n{done.stderr[-3000:]}"


def _terminal(folder: Path) -> dict[str, str]:
    """Surroundings in which both commands are those of this checkout."""
    commands = folder / ".commands"
    commands.mkdir(exist_ok=True)
    for name, module in (
        ("bids_brnn", "bids_brnn.cli.run"),
        ("brnn", "bids_brnn.cli.toolbox.main"),
    ):
        script = commands / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": paths}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs_or_says_why_not(page):
    """Blocks without a language hide what they are; data are read by their own readers."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        where = f"{page.name}:{block.line}"
        assert block.language, f"{where}: name a language (text for none)"
        for key in ("not run", "file"):
            assert block.said(key) != "", f"{where}: say {key}: ..."
        if reader := READERS.get(block.language):
            reader(block.text)
        if block.language == "tsv":
            assert len({line.count("\t") for line in block.text.splitlines()}) == 1, where
        known = (*RUN, *READERS, "tsv", "text")
        assert block.language in known or block.language.startswith("{"), where


@pytest.mark.parametrize("page", ELSEWHERE)
def test_pages_with_a_test_of_their_own_have_it(page):
    test = (ROOT / ELSEWHERE[page]).read_text(encoding="utf-8")
    assert Path(page).name in test
    assert "exec(compile(" in test


def _with_python() -> list[Path]:
    return [page for page in PAGES if any(block.language == "python" for block in here(page))]


@pytest.mark.parametrize("page", _with_python(), ids=lambda page: page.name)
def test_the_examples_in_python_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language == "bash" for block in here(page))],
    ids=lambda page: page.name,
)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, tmp_path, slow=True)


def test_marks_languages_and_indents_are_seen():
    page = (
        "text\n\n<!-- not run: no data -->\n<!-- demo -->\n```bash\nbrnn demo x\n```\n"
        "- a list\n\n  ```python\n  a = 1\n  if a:\n      pass\n  ```\n"
    )
    first, second = blocks_of(page)
    assert (first.said("not run"), first.said("slow"), first.said("demo")) == ("no data", None, "")
    assert second.text == "a = 1\nif a:\n    pass\n"
    assert second.marks == ()
