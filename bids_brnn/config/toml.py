"""Options of a run as TOML: which kind each is of, how they are read and written."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.errors import ReadError, UsageError

RUN_TABLE = "bids_brnn"
"""Table of the TOML file that holds the options."""

_PATHS = ("bids_dir", "output_dir", "work_dir", "mask", "bids_filter_file", "bids_database_dir",
          "use_plugin")  # fmt: skip
_LISTS = ("participant_label", "session_label", "ignore", "debug", "allow_links",
          "output_spaces")  # fmt: skip
_TABLES = ("derivatives", "atlas")
_NUMBERS = (
    "nprocs",
    "omp_nthreads",
    "mem_mb",
    "batch_size",
    "random_seed",
    "motion_window",
    "verbosity",
    "erode",
)
_SWITCHES = (
    "degibbs",
    "motion_correction",
    "boilerplate_only",
    "low_mem",
    "resource_monitor",
    "sloppy",
    "skip_bids_validation",
    "stop_on_first_crash",
    "clean_workdir",
    "write_graph",
    "reports_only",
)


def read_options(path: Path, known: Sequence[str]) -> dict[str, Any]:
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
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReadError(f"Cannot read the configuration {path}: {error}.") from error
    table = content.get(RUN_TABLE)
    if not isinstance(table, dict) or set(content) != {RUN_TABLE}:
        raise UsageError(f"{path}: options belong into one table [{RUN_TABLE}].")
    options = {}
    for name, value in table.items():
        if name not in known:
            raise UsageError(
                f'{path}: unknown option "{name}"; known are {", ".join(known)}. '
                "What belongs to the data (pulse train, basis) stays in its sidecar."
            )
        _check_type(path, name, value)
        options[name] = typed(name, value, base=path.parent)
    return options


def to_toml(values: Mapping[str, Any]) -> str:
    """Text of a file that :func:`read_options` reads."""
    lines = [f"[{RUN_TABLE}]", *(_toml_line(*item) for item in values.items())]
    return "\n".join(lines) + "\n"


def _check_type(path: Path, name: str, value: object) -> None:
    if name in _LISTS:
        right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        kind = "a list of texts"
    elif name in _TABLES:
        right = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        kind = f"a table of {'folders' if name == 'derivatives' else 'files'} by name"
    elif name in _NUMBERS:
        right, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif name in _SWITCHES:
        right, kind = isinstance(value, bool), "true or false"
    else:
        right, kind = isinstance(value, str), "a text"
    if not right:
        raise UsageError(f"{path}: {name} must be {kind}, got {value!r}.")


def typed(name: str, value: Any, base: Path | None = None) -> Any:
    """An option from a plain value: paths absolute (from ``base``), lists as tuples."""

    def absolute(text: str | Path) -> Path:
        expanded = Path(text).expanduser()
        return Path(os.path.normpath((base or Path.cwd()).absolute() / expanded))

    if value is None:
        return None
    if name in _PATHS:
        return absolute(value)
    if name == "allow_links":
        return tuple(absolute(folder) for folder in value)
    if name in _LISTS:
        return tuple(value)
    if name in _TABLES:
        return {key: absolute(path) for key, path in value.items()}
    return value


def _toml_line(name: str, value: object) -> str:
    return f"{name} = {_toml_value(value)}"


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_toml_text(key)} = {_toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return _toml_text(str(value))


def _toml_text(text: str) -> str:
    """A basic string; control characters escaped as TOML 1.0 asks."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
    )
