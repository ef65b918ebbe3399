"""Just-in-time compilation that also works where nothing can be written.

Imports numba; import this module where a compiled function is first needed, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from bids_brnn.signals.kept_code import sources

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    # NaN and infinity keep their meaning: invalid parameters must stay visible.
    "fastmath": {"contract", "nsz", "arcp"},
    "boundscheck": False,
    "error_model": "numpy",
}


def jit(function: Function) -> Function:
    """Compile ``function`` on first call, without the GIL.

    The machine code is kept beside the source or in the user's cache folder; where neither can be
    written (read-only installation, no home), every process compiles for itself.
    """
    return _compiled(function, _OPTIONS)


def jit_in_place(function: Function) -> Function:
    """As :func:`jit`, for functions that make no arrays but work in those that they are given.

    Numba counts with an atomic instruction who holds an array, at each slice of it: half of the
    time of cheap models. What a caller holds need not be counted.
    """
    return _compiled(function, {**_OPTIONS, "_nrt": False})


def jit_inlined(function: Function) -> Function:
    """As :func:`jit_in_place`, for what only compiled functions call: it becomes a part of them.

    Else the process that compiles may call another copy of it than one that finds machine code
    kept, optimised on its own, and sums differ in the last bit.
    """
    return _compiled(function, {**_OPTIONS, "_nrt": False, "forceinline": True})


def _compiled(function: Function, options: dict[str, Any]) -> Function:
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        kept: Function = numba.njit(**options)(function)
        return kept
    # Numba looks at the file of the function alone: after a change in one that it calls, it would
    # take the machine code of before.
    file = compiled._cache._cache_file
    file._source_stamp = (file._source_stamp, sources())
    found: Function = compiled
    return found
