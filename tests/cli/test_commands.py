"""Every command that stands in the documentation, or that the program prints, can be called."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import pytest

from bids_brnn.bids.output.protocol_files import write_spectrum
from bids_brnn.cli.parser import build_parser
from bids_brnn.cli.toolbox.main import COMMANDS, command_of, main
from bids_brnn.experiments.sidecars import read_sidecar
from bids_brnn.experiments.templates import kinds
from bids_brnn.sequences.z_designs import demo_protocol

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "pipelines").rglob("*.md")]
)
CODE = sorted([*(ROOT / "bids_brnn").rglob("*.py"), *(ROOT / "bids_brnn").rglob("*.toml")])
PROGRAMS = ("brnn", "bids_brnn")
_MODULE = re.compile(r"python -m (bids_brnn[\w.]*)")
_SCRIPT = re.compile(r"python ((?:benchmarks|pipelines|tests)/[\w./]+\.py)")


@cache
def parser_of(program: str, command: str) -> argparse.ArgumentParser:
    if program == "brnn":
        return command_of(command)[1]
    parser = build_parser()
    for action in parser._actions:
        if action.type not in (int, float):
            action.type = None  # whether files are there is not what is asked
    return parser


def in_blocks(text: str) -> list[str]:
    """Lines of code blocks, continued lines joined, prompts and assignments taken off."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^(?: {4}|\t).*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL),
                          re.MULTILINE)  # fmt: skip
    lines = "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"^(\$ +|[A-Z_]+=\S+ +)+", "", line.strip()) for line in lines)
    return [line for line in stripped if line.split(" ")[0] in PROGRAMS and " " in line]


def in_line(text: str) -> list[str]:
    """Commands with arguments between single backticks."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"`((?:bids_)?brnn [^`\n]+)`", prose)
    return [line for line in found if "..." not in line and "<" not in line]


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return words[: words.index("|")] if "|" in words else words


def check(words: list[str], *, whole: bool) -> None:
    """Fail unless the parser takes these words; parts of a command need no positionals."""
    program, rest = words[0], words[1:]
    command = ""
    if program == "brnn":
        if rest[0].startswith("-"):
            return
        assert rest[0] in (*COMMANDS, "COMMAND"), f"brnn has no command {rest[0]}"
        if rest[0] == "COMMAND":
            return
        command, rest = rest[0], rest[1:]
    if {"-h", "--help", "--version", "--bids-exec-spec"} & set(rest):
        return
    parser = parser_of(program, command)
    if whole:
        try:
            parser.parse_args(rest)
        except SystemExit:
            pytest.fail(f"does not parse: {shlex.join(words)}")
    else:
        known = {option for action in parser._actions for option in action.option_strings}
        unknown = {word.split("=")[0] for word in rest if re.match("--?[a-z]", word)} - known
        assert not unknown, f"{shlex.join(words)}: unknown {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_are_understood(page):
    text = page.read_text(encoding="utf-8")
    for line in in_blocks(text):
        check(words_of(line), whole=True)
    if page.name != "messages.md":  # generated from the code, which is looked at below
        for line in in_line(text):
            check(words_of(line), whole=False)
    for module in _MODULE.findall(text):
        assert importlib.util.find_spec(module.rstrip(".")), module
    for script in _SCRIPT.findall(text):
        assert (ROOT / script).is_file(), script


def texts_of(path: Path) -> list[str]:
    """Texts of a module as they are said; values put in become ``X``."""
    if path.suffix == ".toml":
        return [path.read_text(encoding="utf-8")]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            ))  # fmt: skip
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_commands_that_the_program_names_are_there():
    """In messages and help: the subcommand, and every option that directly follows."""
    for path in CODE:
        for text in texts_of(path):
            for match in re.finditer(r"(?<![\w.:/])brnn ([a-z][a-z-]+)((?: [^\s,;.:]+)*)", text):
                name = match[1]
                if name not in COMMANDS:
                    # Prose about the package; what looks like a command has arguments.
                    assert "--" not in match[2], f"{path.name}: brnn {name}{match[2]}"
                    continue
                options = [word for word in match[2].split() if word.startswith("--")]
                known = {o for a in parser_of("brnn", name)._actions for o in a.option_strings}
                assert set(options) <= known, f"{path.name}: {match[0]}"


def test_a_command_that_does_not_parse_is_found():
    for line in ("brnn trian my.toml OUT", "brnn train my.toml OUT --speed 3", "brnn train"):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            check(words_of(line), whole=True)
    assert in_blocks("text\n\n    $ brnn train a \\\n        b  # why\n") == [
        "brnn train a          b  # why"
    ]


SLOW = "tests/integration/test_own_sequence.py::test_every_command_of_a_template_runs_as_printed"
PRINTERS = {
    "import_data.py": "tests/integration/test_import.py::"
    "test_maps_of_an_imported_series_are_those_of_the_original",
    "new_sequence.py": SLOW,  # and of import_pulseq.py, which says the same
    "simulate_dataset.py": SLOW,
    "train.py": "tests/integration/test_own_network.py::"
    "test_every_command_that_training_prints_runs_as_printed",
}
"""Modules that print commands to go on with, and the test that runs these as they were printed."""


def test_what_is_printed_to_go_on_with_is_run_by_a_test():
    found = {path.name for path in CODE if any("next:\n" in text for text in texts_of(path))}
    found |= {path.name for path in CODE if any(text == "next:" for text in texts_of(path))}
    assert found == set(PRINTERS)
    for test in PRINTERS.values():
        path, name = test.split("::")
        body = (ROOT / path).read_text(encoding="utf-8").partition(f"def {name}(")[2]
        assert "next:" in body or "printed(" in body, test


@pytest.mark.parametrize("kind", kinds())
def test_commands_of_a_template_are_understood(kind, tmp_path, capsys):
    folder = tmp_path / "own"
    assert main(["new-sequence", str(folder), "--kind", kind]) == 0
    printed = capsys.readouterr().out.split("next:\n")[1]
    lines = in_blocks("\n".join(f"    {line.strip()}" for line in printed.splitlines()))
    page = in_blocks((folder / "README.md").read_text())
    assert [words_of(line) for line in page] == [words_of(line) for line in lines]
    assert len(page) >= 3
    for line in page:
        check(words_of(line), whole=True)


def test_the_first_commands_of_a_template_run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "own"
    assert main(["new-sequence", str(folder), "--kind", "fisp"]) == 0
    monkeypatch.chdir(folder)
    capsys.readouterr()
    page = [words_of(line) for line in in_blocks((folder / "README.md").read_text())]
    tools = {words[1]: words[2:] for words in page if words[0] == "brnn"}
    assert main(["crb", *tools["crb"]]) == 0
    assert main(["simulate-dataset", *tools["simulate-dataset"], "--matrix", "6", "7", "1"]) == 0
    (line,) = in_blocks(capsys.readouterr().out.split("next:\n")[1].replace("  b", "    b"))
    check(words_of(line), whole=True)


def test_the_basis_of_a_template_is_made_again_as_its_page_says(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    assert main(["new-sequence", str(folder), "--kind", "fisp", "--rank", "4"]) == 0
    monkeypatch.chdir(folder)
    page = [words_of(line) for line in in_blocks((folder / "README.md").read_text())]
    (again,) = [words for words in page if "--design-basis" in words]
    assert main(again[1:]) == 0
    table = folder / "acq-own_basis.tsv"
    columns = table.read_text().split("\n")[0]
    shutil.copy(folder / "DESIGN" / "basis.tsv", table)
    assert table.read_text().split("\n")[0] == columns
    assert read_sidecar(folder / "acq-own_MRF.json").representation == "subspace"


def test_what_a_phantom_of_spectra_says_comes_next_parses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_spectrum(tmp_path, "acq-z", demo_protocol())
    words = ["--protocol", "acq-z_zspectrum.tsv", "--model", "ramani", "--matrix", "6", "7", "1"]
    assert main(["simulate-dataset", "ds", *words]) == 0
    printed = capsys.readouterr().out.split("next:\n")[1]
    (line,) = in_blocks(f"    {printed.strip()}")
    check(words_of(line), whole=True)
    assert "relaxometry=" in line
