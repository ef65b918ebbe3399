"""What the program says, read from its own code: the tables of ``docs/messages.md``."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import bids_brnn
from bids_brnn import errors

READ = (
    "bids", "config", "app", "cli", "imaging", "interfaces", "workflows", "regions", "group",
    "sequences", "signals", "phantom", "pulseq", "estimators", "experiments", "zoo", "priors",
    "importing", "information/told.py", "reports/stored.py", "files.py", "tensor_files.py",
    "voxels.py",
)  # fmt: skip
"""Folders and files in which a message may arise from what a user gives."""
_NOTES = ("notes", "_LOG")


@dataclass(frozen=True)
class Message:
    """A sentence of the program; what changes stands in angle brackets."""

    code: str
    """Exit code, or ``note`` where the run goes on."""
    text: str


@dataclass(frozen=True)
class Remedy:
    """Why the messages of a module come, and what to do."""

    cause: str
    cure: str


def message_tables() -> str:
    """A table for each module that has something to say, under the first line of its docstring."""
    sections = []
    for module, tree, rows in spoken():
        title = (ast.get_docstring(tree) or module).splitlines()[0].rstrip(".")
        lines = [f"| {row.code} | {_cell(row.text)} |" for row in rows]
        table = "\n".join(["| code | message |", "|---|---|", *lines])
        sections += [f"### {title}", *_why(remedy_of(module)), table]
    return "\n\n".join(sections)


def spoken() -> Iterator[tuple[str, ast.Module, list[Message]]]:
    """Every module that has something to say (``bids/tables.py``), its syntax and its messages."""
    root = Path(bids_brnn.__file__).parent
    for name in READ:
        for path in [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if rows := list(dict.fromkeys(_messages(tree))):
                yield path.relative_to(root).as_posix(), tree, rows


@cache
def remedies() -> dict[str, Remedy]:
    """What ``causes.toml`` says, by module or folder: ``bids/tables.py``, ``signals``."""
    text = Path(__file__).with_name("causes.toml").read_text(encoding="utf-8")
    return {
        top if name == "." else f"{top}/{name}": Remedy(*words)
        for top, entries in tomllib.loads(text).items()
        for name, words in entries.items()
    }


def remedy_of(module: str) -> Remedy | None:
    """That of a module, else of the nearest folder above; none where there is none.

    >>> remedy_of("bids/tables.py").cure.startswith("Save it again")
    True
    """
    return next(
        (remedies()[str(path)] for path in (Path(module), *Path(module).parents)
         if str(path) in remedies()),
        None,
    )  # fmt: skip


def _why(remedy: Remedy | None) -> list[str]:
    return [f"*Cause.* {remedy.cause} *Cure.* {remedy.cure}"] if remedy else []


def _messages(tree: ast.Module) -> Iterator[Message]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            kind = getattr(errors, _name(node.exc.func), None)
            if isinstance(kind, type) and node.exc.args and _is_text(node.exc.args[0]):
                yield Message(_code(node.exc, kind), template(node.exc.args[0]))
        elif _is_note(node):
            assert isinstance(node, ast.Call)
            yield Message("note", template(node.args[0]))


def _is_note(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    said = node.func.attr == "warning" or (
        node.func.attr == "append" and _name(node.func.value) == "notes"
    )
    return said and _name(node.func.value) in _NOTES and bool(node.args) and _is_text(node.args[0])


def _code(call: ast.Call, kind: type[errors.BidsBrnnError]) -> str:
    for keyword in call.keywords:
        if keyword.arg == "exit_code":
            return str(getattr(errors, _name(keyword.value), kind.exit_code))
    return str(kind.exit_code)


def template(node: ast.AST) -> str:
    """Text of a literal, with ``<name>`` for what is put in.

    >>> template(ast.parse('f"{path.name} has {n} rows"', mode="eval").body)
    '<name> has <n> rows'
    """
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"<{_name(node.value) or '...'}>"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return f"<{_name(node) or '...'}>"


def _is_text(node: ast.AST) -> bool:
    """Whether a message can be read: it is written out where it is raised."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _name(node: ast.AST) -> str:
    """The last word of what an expression names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        return _name(node.args[0]) if node.func.attr == "join" else _name(node.func.value)
    if isinstance(node, ast.Call) and node.args:
        return _name(node.args[0])
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return ""


def _cell(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", r"\|").replace("`", "'") + "`"
