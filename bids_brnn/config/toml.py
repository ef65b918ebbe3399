"""Options of a run as TOML: how they are read, checked by their kind, and written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import tomli_w

from bids_brnn.config.options import Option, options_of
from bids_brnn.errors import ReadError, UsageError
from bids_brnn.files import expanded, write_text
from bids_brnn.system.kinds import shown
from bids_brnn.system.reading import read_text, read_toml

RUN_TABLE = "bids_brnn"
"""Table of the TOML file that holds the options."""
TEXTS = "texts"
"""Table, and field of the configuration, with the text of small files by the option that names
them: what was really done can be repeated where such a file has moved or changed."""
_MOST_TEXT = 2**20  # bytes

_WORDS = ("auto", "none")
"""Never taken for a path."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A dataclass whose fields are options, kept in TOML files."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Text of files by the option that names them, as an earlier run stored it."""

    def text_of(self, name: str) -> str:
        """Text of the file that an option names: what was stored, else what is there.

        Raises
        ------
        OSError, ValueError
            If it cannot be read, or is no short text.
        """
        if name in self.texts:
            return self.texts[name]
        path: Path = getattr(self, name)
        return read_text(path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by option name; options that are not set are left out."""
        values = {item.name: plain(getattr(self, item.name)) for item in options_of(type(self))}
        return {name: value for name, value in values.items() if value is not None}

    def to_file(self, path: Path) -> None:
        """Write as TOML; the file is there whole or not at all."""
        texts = self._texts()
        write_text(
            path, tomli_w.dumps({RUN_TABLE: self.to_dict(), **({TEXTS: texts} if texts else {})})
        )

    def _texts(self) -> dict[str, str]:
        found = {}
        for item in options_of(type(self)):
            if item.kept and getattr(self, item.name) is not None:
                with suppress(OSError, ValueError):  # said where the file is used
                    found[item.name] = self.text_of(item.name)
        return {name: text for name, text in found.items() if len(text) <= _MOST_TEXT}

    @classmethod
    def from_file(cls, path: Path, **overrides: Any) -> Self:
        """Read what :meth:`to_file` wrote; keyword arguments win over the file."""
        return cls.from_values(overridden(cls.options_in(path), overrides))

    @classmethod
    def options_in(cls, path: Path) -> dict[str, Any]:
        """The options that a TOML file holds, and only those; texts of files under ``texts``."""
        return read_options(path, options_of(cls))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values (text for paths, lists for tuples)."""
        values = dict(values)
        texts = values.pop(TEXTS, {})
        known = {item.name: item for item in options_of(cls)}
        if unknown := ", ".join(name for name in values if name not in known):
            raise UsageError(f"There is no option {unknown}; use one of {', '.join(known)}.")
        missing = [item.name for item in known.values() if item.required]
        if missing := [name for name in missing if name not in values]:
            raise UsageError(f"{', '.join(missing)} must be given.")
        typed_values = {name: typed(known[name], value) for name, value in values.items()}
        return cls(**typed_values, texts=texts)


def read_options(path: Path, known: Sequence[Option]) -> dict[str, Any]:
    """The options of a TOML file, checked for names that are not ``known`` and wrong types.

    Relative paths count from the folder of the file.

    Raises
    ------
    ReadError
        If the file is absent or is not TOML.
    UsageError
        Naming the option that is unknown or has the wrong type.
    """
    try:
        content = read_toml(path)
    except (OSError, ValueError) as error:
        raise ReadError(f"Cannot read the configuration {path}: {error}.") from error
    table = content.get(RUN_TABLE)
    if not isinstance(table, dict) or not set(content) <= {RUN_TABLE, TEXTS}:
        raise UsageError(f"{path}: options belong into one table [{RUN_TABLE}].")
    by_name = {item.name: item for item in known}
    options: dict[str, Any] = {TEXTS: _stored_texts(path, content.get(TEXTS, {}), table, known)}
    for name, value in table.items():
        if name not in by_name:
            raise UsageError(
                f'{path}: unknown option "{name}"; known are {", ".join(by_name)}. '
                "What belongs to the data (pulse train, basis) stays in its sidecar."
            )
        _check_type(path, by_name[name], value)
        options[name] = typed(by_name[name], value, base=path.parent)
    return options


def overridden(stored: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Stored options with others on top; of a file that is named anew the text goes."""
    texts = {name: text for name, text in stored.get(TEXTS, {}).items() if name not in others}
    return {**stored, TEXTS: texts, **others}


def changed_files(values: Mapping[str, Any]) -> list[str]:
    """What to note of files that are not any more as their text was stored."""
    notes = []
    for name, text in values.get(TEXTS, {}).items():
        path = Path(values[name])
        if path.is_file() and _text(path) != text:
            notes.append(
                f"{name}: {path} has changed since; its text in the configuration file is used, "
                "give the option anew to use the file."
            )
    return notes


def _text(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        return read_text(path)
    return None


def _stored_texts(
    path: Path, texts: object, table: Mapping[str, Any], known: Sequence[Option]
) -> dict[str, str]:
    names = {item.name for item in known if item.kept and item.name in table}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise UsageError(f"{path}: [{TEXTS}] holds texts of files by the option that names them.")
    if strange := ", ".join(name for name in texts if name not in names):
        raise UsageError(
            f"{path}: [{TEXTS}] holds {strange}, which names no file in [{RUN_TABLE}]."
        )
    return dict(texts)


def _check_type(path: Path, item: Option, value: object) -> None:
    if item.kind in ("paths", "texts"):
        right = isinstance(value, list) and all(map(_is_text, value))
        words = "a list of texts"
    elif item.kind == "table":
        right = isinstance(value, dict) and all(map(_is_text, value.values()))
        words = f"a table of {item.exists or 'path'}s by name"
    elif item.kind == "number":
        right, words = _is_whole(value), "a whole number"
    elif item.kind == "switch":
        right, words = isinstance(value, bool), "true or false"
    elif item.or_words:
        right = _is_text(value) or _is_whole(value)
        words = f"a whole number or {' or '.join(item.or_words)}"
    else:
        right, words = _is_text(value), "a text"
    if not right:
        raise UsageError(f"{path}: {item.name} must be {words}, got {shown(value)}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    # No file can have a name with NUL in it, and no word is one.
    return isinstance(value, str) and "\0" not in value and len(value) <= _MOST_TEXT


def typed(item: Option, value: Any, base: Path | None = None) -> Any:
    """An option from a plain value: paths absolute (from ``base``), lists as tuples."""

    def absolute(text: str | Path) -> Path:
        return Path(os.path.normpath((base or Path.cwd()).absolute() / expanded(text)))

    def name_or_path(text: str) -> str:
        path = absolute(text)
        if text in _WORDS:
            return text
        held = path.is_dir() and any(path.glob(f"*{item.files[0]}"))
        is_path = os.sep in text or text.startswith("~") or path.suffix in item.files or held
        return str(path) if is_path else text

    if value is None:
        return None
    match item.kind:
        case "text" if item.or_words:
            return str(value)
        case "text" if item.files:
            return name_or_path(value)
        case "path":
            return absolute(value)
        case "paths":
            return tuple(absolute(folder) for folder in value)
        case "texts":
            return tuple(value)
        case "table":
            return {key: absolute(path) for key, path in value.items()}
        case _:
            return value


def plain(value: Any) -> Any:
    """The value of an option as TOML has it."""
    if isinstance(value, Mapping):
        return {str(key): str(path) for key, path in value.items()}
    if isinstance(value, tuple):
        return [str(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
