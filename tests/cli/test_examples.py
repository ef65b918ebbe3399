"""Every example of the documentation runs, or says above it why not.

Marks: ``<!-- not run: reason -->`` leaves it out, ``<!-- slow -->`` waits for ``-m slow``, and
``<!-- file: name -->`` writes it. Commands that are ``not run: your paths`` are run with others.
Blocks of a page follow each other in one folder and, for Python, in one name space. Commands that
are not run are parsed all the same (test_commands.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bids_brnn.bids.output.protocol_files import write_pulses, write_spectrum
from bids_brnn.cli.toolbox.main import main
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.z_designs import demo_protocol

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


YOURS = "your paths"
SPECTRA = ("conventional_qmt.md", "inputs.md", "your_data.md")
"""Pages whose commands are for a study of Z-spectra; those of the others are for any study."""


def with_paths_of_yours() -> list[tuple[Path, int, str]]:
    """Page, line and text of every block of commands that waits for data."""
    return [
        (page, block.line, block.text)
        for page in PAGES
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language == "bash" and (block.said("not run") or "").startswith(YOURS)
    ]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A small study of fingerprinting and one of Z-spectra, by name."""
    root = tmp_path_factory.mktemp("studies")
    words = ["simulate-dataset", str(root / "mrf"), "--model", "fisp", "--matrix", "12", "14", "2"]
    write_pulses(root, "acq-own", jiang_like_train(60))
    assert main([*words, "--pulses", str(root / "acq-own_rfpulses.tsv")]) == 0
    write_spectrum(root, "acq-own", demo_protocol())
    words = ["simulate-dataset", str(root / "spectra"), "--matrix", "8", "9", "2"]
    words += ["--model", "ramani", "--protocol", str(root / "acq-own_zspectrum.tsv")]
    assert main(words) == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text"),
    [
        pytest.param(page, text, id=f"{page.relative_to(ROOT)}:{line}")
        for page, line, text in with_paths_of_yours()
    ],
)
def test_commands_for_data_of_yours_run_with_other_data(page, text, studies, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(studies / ("spectra" if page.name in SPECTRA else "mrf"), study)
    constants = studies / "acq-own_zspectrum.json"
    places = {
        "/data/derivatives/preprocessed": study / "derivatives" / "relaxometry",
        "/data/study": study, "/data/wand": study, "/data": study, "BIDS_DIR": study,
        "/out": tmp_path / "out", "OUTPUT_DIR": tmp_path / "out", "/scratch": tmp_path / "scratch",
        "/home/me/protocol.json": constants, "constants.json": constants,
    }  # fmt: skip
    names = "|".join(sorted(map(re.escape, places), key=len, reverse=True))
    text = re.sub(rf"(?<![\w/])(?:{names})\b", lambda hit: str(places[hit[0]]), text)
    lines = text.replace("\\\n", " ").splitlines()
    if not any("participant" in line for line in lines):  # the group of somebody
        work = tmp_path / "work"
        lines.insert(0, f"bids_brnn {study} {study}/derivatives/bids_brnn participant -w {work}")
    for line in lines:
        if page.name in SPECTRA and f"={study / 'derivatives' / 'relaxometry'}" not in line:
            _as_raw_map(study)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=tmp_path, env=_terminal(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"


def _as_raw_map(study: Path) -> None:
    """The R1 map of a derivative as one of the participant: where no derivative is named."""
    derived = study / "derivatives" / "relaxometry" / "sub-01"
    for ending in (".nii.gz", ".json"):
        (source,) = derived.rglob(f"*desc-vfa_R1map{ending}")
        shutil.copy(source, study / "sub-01" / "anat" / f"sub-01_R1map{ending}")


def test_marks_languages_and_indents_are_seen():
    page = (
        "text\n\n<!-- not run: no data -->\n<!-- demo -->\n```bash\nbrnn demo x\n```\n"
        "- a list\n\n  ```python\n  a = 1\n  if a:\n      pass\n  ```\n"
    )
    first, second = blocks_of(page)
    assert (first.said("not run"), first.said("slow"), first.said("demo")) == ("no data", None, "")
    assert second.text == "a = 1\nif a:\n    pass\n"
    assert second.marks == ()
