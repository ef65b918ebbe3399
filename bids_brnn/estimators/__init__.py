"""Ways to turn coefficients into parameters; every one keeps the contract of ``base``.

What each is called, needs and offers stands in :mod:`bids_brnn.estimators.registry`; a class is
loaded on first use, so that listing costs nothing.
"""

from __future__ import annotations

from bids_brnn.estimators.registry import (
    NETWORK,
    EstimatorEntry,
    estimator_entry,
    estimators,
    references,
    register_estimator,
)

__all__ = [
    "NETWORK",
    "EstimatorEntry",
    "estimator_entry",
    "estimators",
    "references",
    "register_estimator",
]
