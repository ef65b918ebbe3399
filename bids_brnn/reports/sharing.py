"""What a page may tell of the machine: nothing. Paths become BIDS URIs, or end names alone."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from bids_brnn.config.options import options_of
from bids_brnn.config.run_config import RunConfig
from bids_brnn.system.reading import parse_toml

_NAME = r"[^\s\"'/:,;<>()\[\]{}|=]"
_HOME = re.compile(rf"(?<![\w.-])/(?:home|Users)/{_NAME}+|(?<![\w./-])/root(?![\w-])")
_PATH = re.compile(rf"(?<![\w/.~*<>+-])(?<!https:)(?<!http:)(?:~|/{_NAME}+)(?:/{_NAME}*)+")
"""An absolute path with two parts or more, or one below the home of a user; not what follows a
scheme, a fraction, or the end tag of markup."""
_HOST = re.compile(r"^[\w.-]{5,}$")
_SPECIAL = {"bids_dir": "bids:raw:", "output_dir": "bids::", "work_dir": "WORK/"}


def places(configuration: str) -> dict[str, str]:
    """Folders of a run and what stands for each, from the text of its ``bids_brnn.toml``."""
    stored = _stored(configuration)
    found = {str(stored[key]): uri for key, uri in _SPECIAL.items() if key in stored}
    linked = stored.get("derivatives", {})
    if isinstance(linked, Mapping):
        found |= {str(folder): f"bids:{name}:" for name, folder in linked.items()}
    return found


def _stored(configuration: str) -> Mapping[str, Any]:
    """The options in the text of a ``bids_brnn.toml``; none where it was damaged."""
    try:
        found = parse_toml(configuration).get("bids_brnn", {})
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def shareable(text: str, known: Mapping[str, str]) -> str:
    """A text in which no path of a machine and no name of a host is left.

    Parameters
    ----------
    text
        Of a log, an error, a configuration.
    known
        Folders and what stands for each (:func:`places`); a folder inside of another one wins.

    >>> shareable("/data/x/sub-01.nii is bad, see /home/jane/notes.txt", {"/data/x": "bids:raw:"})
    'bids:raw:sub-01.nii is bad, see .../notes.txt'
    """
    for folder in sorted(known, key=len, reverse=True):
        if len(Path(folder).parts) > 1:
            inside = re.compile(rf"(?<![\w.-]){re.escape(folder.rstrip('/'))}(?:/|(?![\w-]|\.\w))")
            text = inside.sub(known[folder].replace("\\", r"\\"), text)
    text = _HOME.sub("~", text.replace("file://", ""))
    text = _PATH.sub(lambda match: f".../{Path(match.group()).name}", text)
    host = socket.gethostname()
    if _HOST.match(host) and host != "localhost":
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text)
    return text


def command_line(configuration: str) -> str:
    """The command that gives this run, with BIDS URIs in place of folders.

    Options that have their default are left out.
    """
    stored = _stored(configuration)
    if not {"bids_dir", "output_dir", "analysis_level"} <= set(stored):
        return ""
    words = ["bids_brnn", *(str(stored[key]) for key in ("bids_dir", "output_dir"))]
    words.append(str(stored["analysis_level"]))
    defaults = {
        name: field.default if field.default_factory is MISSING else field.default_factory()
        for name, field in RunConfig.__dataclass_fields__.items()
    }
    for item in options_of(RunConfig):
        value = stored.get(item.name)
        if item.group == "place" or value is None or _plain(value) == _plain(defaults[item.name]):
            continue
        words += [item.flags[-1], *_texts(value)]
    return shareable(" ".join(words), places(configuration))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, bool):
        return []
    if isinstance(value, Mapping):
        return [f"{name}={entry}" for name, entry in value.items()]
    return [str(entry) for entry in value] if isinstance(value, list) else [str(value)]
