"""``--bids-filter-file``: which files are which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_brnn.bids.grammar import default_filters
from bids_brnn.errors import UsageError

_QUERIES = {"NONE", "ANY", "REQUIRED", "OPTIONAL"}


def merge_filters(
    filters: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """The default filters with those of the user on top, ready for PyBIDS.

    Values are entity labels, lists of labels, null or ``Query.NONE`` (entity absent), ``*`` or
    ``Query.ANY`` (any label), ``Query.OPTIONAL``.

    Raises
    ------
    UsageError
        If a key is unknown or a value is of another type.
    """
    defaults = default_filters()
    merged = {key: dict(entities) for key, entities in defaults.items()}
    if not isinstance(filters or {}, Mapping):
        raise UsageError("--bids-filter-file holds no JSON object.")
    for key, entities in (filters or {}).items():
        if key not in defaults:
            raise UsageError(
                f'--bids-filter-file: "{key}" is unknown; use {", ".join(sorted(defaults))}.'
            )
        if not isinstance(entities, Mapping):
            raise UsageError(f'--bids-filter-file: "{key}" needs an object of PyBIDS entities.')
        for entity, value in entities.items():
            merged[key][entity] = _value(value, f"{key}.{entity}")
    return merged


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
