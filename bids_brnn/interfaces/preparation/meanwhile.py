"""Modules that later steps need, loaded while files are read and decompressed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any, TypeVar

from nipype.interfaces.base import isdefined, traits

from bids_brnn.system.memory import uncollected

Result = TypeVar("Result")


def module_list() -> Any:
    """The trait ``modules`` of a step that reads files."""
    return traits.List(
        traits.Str, nohash=True, desc="needed by later steps of this process; loaded meanwhile"
    )


def read_meanwhile(read: Callable[[], Result], modules: Any) -> Result:
    """What ``read`` gives, called in another thread while ``modules`` are loaded.

    This thread alone imports: two that do may meet half of a module.
    """
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        wanted = modules if isdefined(modules) else []
        new = [name for name in wanted if name not in sys.modules]
        with uncollected() if new else nullcontext():
            for name in new:
                with suppress(Exception):  # said by the step that needs it
                    import_module(name)
        return reading.result()
