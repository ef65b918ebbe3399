"""``--bids-filter-file``: which files are which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from bids_brnn.bids.grammar import default_filters, pybids_config
from bids_brnn.errors import UsageError

_QUERIES = {"NONE", "ANY", "REQUIRED", "OPTIONAL"}


FOREIGN = frozenset(
    "anat aparc_aseg asl aslcontext asllabeling bold boldref cbv confounds carpetplot channels "
    "ct defacemask dsi dwi eeg electrodes events fa flair fmap fmap_ref func hcp ieeg led "
    "m0scan m0map meg motion mp2rage nirs perf pet phase phasediff physio pdw rest roi sbref "
    "spect stim swi t2 t2map t2star t2starw t2w task tracksys unit1 xfm".lower().split()
)
"""Keys of the filter files of fMRIPrep and its relatives that mean none of our images."""


def merge_filters(
    filters: Mapping[str, Mapping[str, Any]] | None = None, notes: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """The default filters with those of the user on top, ready for PyBIDS.

    Values are entity labels, lists of labels, null or ``Query.NONE`` (entity absent), ``*`` or
    ``Query.ANY`` (any label), ``Query.OPTIONAL``.

    Parameters
    ----------
    filters
        Content of ``--bids-filter-file``; it may be shared with fMRIPrep.
    notes
        Grows by one that names the keys that are of others.

    Raises
    ------
    UsageError
        If a key or an entity is unknown, or a value is of another type.
    """
    defaults = default_filters()
    merged = {key: dict(entities) for key, entities in defaults.items()}
    if not isinstance(filters or {}, Mapping):
        raise UsageError("--bids-filter-file holds no JSON object.")
    given = dict(filters or {})
    foreign = [key for key in given if key not in defaults and key.lower() in FOREIGN]
    if foreign and notes is not None:
        notes.append(
            f"--bids-filter-file: {', '.join(foreign)} left aside, of other programs; "
            f"used here are {', '.join(sorted(defaults))}."
        )
    for key in (key for key in given if key not in foreign):
        if key not in defaults:
            suffixes = {
                suffix.lower(): name
                for name, default in defaults.items()
                for suffix in _listed(default["suffix"])
            }
            hint = (
                _meant(suffixes.get(key.lower(), key), defaults)
                or f"; use {', '.join(sorted(defaults))}."
            )
            raise UsageError(f'--bids-filter-file: "{key}" is unknown{hint}')
        if not isinstance(given[key], Mapping):
            raise UsageError(f'--bids-filter-file: "{key}" needs an object of PyBIDS entities.')
        for entity, value in given[key].items():
            _check_entity(key, entity)
            merged[key][entity] = _value(value, f"{key}.{entity}")
    return merged


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _check_entity(key: str, entity: str) -> None:
    known = _entities()
    if entity in known.values():
        return
    if entity.lower() in known:  # the name in file names: acq
        hint = f"; did you mean {known[entity.lower()]}?"
    else:
        hint = _meant(entity, known.values()) or f"; use {', '.join(sorted(known.values()))}."
    raise UsageError(f'--bids-filter-file: "{entity}" of "{key}" is no PyBIDS entity{hint}')


@cache
def _entities() -> dict[str, str]:
    """PyBIDS names of entities by the names that file names have for them."""
    from bids.layout.models import Config  # costs half a second

    names = {}
    for config in ("bids", "derivatives", pybids_config()):
        for name, entity in Config.load(config).entities.items():
            found = re.search(r"(?:^|[^a-z\[])([a-z]+)-", entity.pattern or "")
            names[found[1] if found else name] = name
    return names


def _meant(word: str, known: Iterable[str]) -> str:
    """A question for a word that is like one of those known, or an empty text."""
    names = {re.sub("[^a-z0-9]", "", name.lower()): name for name in known}
    plain = re.sub("[^a-z0-9]", "", word.lower())
    close = [name for name in names if name.startswith(plain) or plain.startswith(name)]
    close = (len(plain) > 1 and close) or get_close_matches(plain, names, n=1, cutoff=0.6)
    return f"; did you mean {names[close[0]]}?" if close else ""


def _value(value: object, where: str) -> Any:
    from bids.layout import Query  # costs half a second

    if value is None:
        return Query.NONE
    if value == "*":
        return Query.ANY
    if isinstance(value, list):
        return [_value(item, where) for item in value]
    if isinstance(value, str):
        head, dot, name = value.removeprefix("bids.layout.").partition(".")
        return Query[name] if dot and head == "Query" and name in _QUERIES else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise UsageError(f"--bids-filter-file: {where} = {value!r} is neither a label nor a list.")
