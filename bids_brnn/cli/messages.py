"""What the program says, read from its own code: the tables of ``docs/messages.md``."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

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
_FIELD = re.compile(r"%[-+#0-9.]*([a-z%])")
_BRACES = re.compile(r"{(\w+)[^}]*}")
_PUT_IN = re.compile(r"<[^>]*>")
_SENTENCE = 6
"""Words that a returned text has at least, if it is more than a name or a number with its unit."""


@dataclass(frozen=True)
class Message:
    """A sentence of the program; what changes stands in angle brackets."""

    code: str
    """Exit code; ``note`` where the run goes on, ``part`` of what becomes either elsewhere."""
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
    """What is raised, handed on as an error, or noted; and sentences that functions return."""
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    constants = {name: value for name, value in constants.items() if _is_text(value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            kind = getattr(errors, _name(node.func), None)
            if isinstance(kind, type) and _is_text(node.args[0]):
                if _says(text := template(node.args[0], constants)):
                    yield Message(_code(node, kind), text)
            elif _is_note(node) and _says(text := _noted(node, constants)):
                yield Message("note", text)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield from _returned(node, constants)


def _returned(function: ast.FunctionDef, constants: Mapping[str, ast.AST]) -> Iterator[Message]:
    """Sentences that become a message, or a part of one, elsewhere."""
    if "str" not in ast.unparse(function.returns or function).split(" | "):
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None and _is_text(node.value):
            text = template(node.value, constants)
            if len(_PUT_IN.sub("", text).split()) >= _SENTENCE:
                yield Message("part", text)


def _is_note(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or _name(call.func.value) not in _NOTES:
        return False
    appended = call.func.attr == "append" and _name(call.func.value) == "notes"
    return (call.func.attr == "warning" or appended) and _is_text(call.args[0])


def _noted(call: ast.Call, constants: Mapping[str, ast.AST]) -> str:
    """The text of a note, its ``%s`` replaced by what they stand for."""
    values = iter([template(value, constants) for value in call.args[1:]])
    return _FIELD.sub(
        lambda field: "%" if field[1] == "%" else next(values, field[0]),
        template(call.args[0], constants),
    )


def _says(text: str) -> bool:
    """Whether there are words beside what is put in."""
    return any(letter.isalpha() for letter in _PUT_IN.sub("", text))


def _code(call: ast.Call, kind: type[errors.BidsBrnnError]) -> str:
    for keyword in call.keywords:
        if keyword.arg == "exit_code":
            return str(getattr(errors, _name(keyword.value), kind.exit_code))
    return str(kind.exit_code)


def template(node: ast.AST, constants: Mapping[str, ast.AST] = MappingProxyType({})) -> str:
    """Text of a literal, with ``<name>`` for what is put in; ``constants`` are written out.

    >>> template(ast.parse('f"{path.name} has {n} rows"', mode="eval").body)
    '<name> has <n> rows'
    """
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value, constants) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        known = isinstance(node.value, ast.Name)
        return template(node.value, constants) if known else _put_in(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, constants) + template(node.right, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return template(constants[node.id])
    if isinstance(node, ast.Call) and _name(node.func) == "format":  # of a constant
        assert isinstance(node.func, ast.Attribute)
        return _BRACES.sub(r"<\1>", template(node.func.value, constants))
    return _put_in(node)


def _put_in(node: ast.AST) -> str:
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
