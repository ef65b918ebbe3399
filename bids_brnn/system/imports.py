"""Modules that another one imports without need, left until something of them is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Postponed(ModuleType):
    """Stands for a module, which is imported when anything of it is asked for.

    ``importlib.util.LazyLoader`` does not do for ``import package.module``: that statement itself
    asks a module that is there already for its specification, which loads it.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def postponed(name: str) -> Iterator[None]:
    """Have ``import name`` load nothing meanwhile; whoever did it has the module at first use.

    Parameters
    ----------
    name
        Of a module, with its package. If it is loaded already nothing changes.
    """
    stand_in = _Postponed(name)
    if sys.modules.setdefault(name, stand_in) is not stand_in:
        yield
        return
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
