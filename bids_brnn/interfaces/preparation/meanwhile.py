"""What later steps need of a processor, done while files are read and decompressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from nipype.interfaces.base import isdefined, traits

from bids_brnn.estimators.registry import NETWORK

Result = TypeVar("Result")


def module_list() -> Any:
    """A trait: modules to load."""
    return traits.List(
        traits.Str, nohash=True, desc="needed by later steps of this process; loaded meanwhile"
    )


def recipe_list() -> Any:
    """A trait: recipes of later steps."""
    return traits.List(
        traits.Str, nohash=True, desc="of later steps of this process, made ready meanwhile"
    )


def read_meanwhile(read: Callable[[], Result], inputs: Any) -> Result:
    """What ``read`` gives, called in another thread while modules are loaded, networks made ready.

    This thread alone imports: two that do may meet half of a module.
    """
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        make_ready(*(one if isdefined(one) else [] for one in (inputs.modules, inputs.recipes)))
        return reading.result()


def make_ready(modules: Sequence[str], recipes: Sequence[str]) -> None:
    """Load modules, and have compiled what networks need; errors are told by the later steps."""
    for name in modules:
        with suppress(Exception):
            import_module(name)
    for path in recipes:
        with suppress(Exception):
            from bids_brnn.zoo.recipe import EstimatorRecipe

            recipe = EstimatorRecipe.from_file(Path(path))
            if recipe.estimator == NETWORK:
                estimator: Any = recipe.build()
                getattr(estimator, "base", estimator).make_ready()
