"""Just-in-time compilation that also works where nothing can be written.

Imports numba; import this module where a compiled function is first needed, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

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
    try:
        compiled: Function = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled
