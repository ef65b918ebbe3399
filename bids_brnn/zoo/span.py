"""Whether two bases span the same subspace, told by sketches; see :mod:`.recognition`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError

ROWS_PER_COLUMN = 4
"""Of a sketch."""
_GOLDEN = (math.sqrt(5) - 1) / 2
SAME_SPAN = 1e-3
"""Largest relative part of a basis outside the span of the other; tables in text reach 1e-5."""


def mixing(n: int, rank: int) -> NDArray[np.float64]:
    """``(4 R, N)`` combinations of the rows of a basis.

    They are a formula of row and sample (cosines of a Weyl sequence), not the output of a random
    generator that another version of a library may change.
    """
    row = np.arange(1, ROWS_PER_COLUMN * rank + 1, dtype=np.float64)[:, None]
    sample = np.arange(1, n + 1, dtype=np.float64)[None]
    phase = np.mod(np.mod(sample * sample * _GOLDEN, 1.0) * row * math.sqrt(2), 1.0)
    weights: NDArray[np.float64] = np.cos(2 * math.pi * phase) * math.sqrt(2 / n)
    return weights


def check_rank(rank: int, known: int, what: str) -> None:
    """Refuse another number of coefficients than that of training.

    Raises
    ------
    DataError
        With both numbers.
    """
    if known != rank:
        raise DataError(
            f"{what} was trained with {known} coefficients, the basis has {rank} columns"
        )


def check_outside(outside: float, what: str) -> None:
    """Refuse a basis of which a part ``outside`` (relative) is not in the span of training.

    Raises
    ------
    DataError
        With the part.
    """
    if not outside < SAME_SPAN:
        raise DataError(
            f"the basis spans another subspace than that of {what} "
            f"({100 * outside:.2g} % of it lies outside)"
        )


def check_span(basis: NDArray[Any], known: NDArray[Any], what: str) -> None:
    """Refuse a basis ``(N, R)`` that does not span the subspace with the sketch ``known``.

    Raises
    ------
    DataError
        If ranks or spans differ.
    """
    n, rank = basis.shape
    check_rank(rank, known.shape[1], what)
    here = mixing(n, rank) @ basis
    rest = known - here @ np.linalg.lstsq(here, known, rcond=None)[0]
    check_outside(float(np.linalg.norm(rest) / np.linalg.norm(known)), what)
