"""Ways to turn coefficients into parameters; every one keeps the contract of ``base``.

``ESTIMATORS`` maps the value of ``desc-`` in file names to the class; it is loaded on first use,
so that listing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_brnn.estimators.base import Estimator

    ESTIMATORS: dict[str, type[Estimator]]

_CLASSES = {
    "nlls": ("bids_brnn.estimators.nlls.estimator", "NllsEstimator"),
    "dict": ("bids_brnn.estimators.dictionary.estimator", "DictionaryEstimator"),
}

__all__ = ["ESTIMATORS"]


def __getattr__(name: str) -> object:
    if name != "ESTIMATORS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    table = {key: getattr(import_module(module), cls) for key, (module, cls) in _CLASSES.items()}
    globals()["ESTIMATORS"] = table
    return table
