"""How large the parts of a network over scoring steps are; needs no torch."""

from __future__ import annotations

from functools import cache
from itertools import product

ANCHORS = 12
"""Tissues from which a scoring step is taken."""
SUPPLIED = ("B1", "R1", "w0")
"""What maps tell; see :mod:`bids_brnn.learning.scoring`."""
GAIN_DEGREES = (6, 4, 3)
"""Of the polynomials of gains in B1, the logarithm of R1, and w0, each alone."""
LEVEL_DEGREES = (9, 8, 8)
"""The same of what is added, which is to be far more exact than the noise."""


@cache
def powers(degrees: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """Degrees of the terms: products of less than the full degree in all together."""
    found = product(*(range(degree + 1) for degree in degrees))
    return tuple(
        (i, j, k)
        for i, j, k in found
        if i / degrees[0] + j / degrees[1] + k / degrees[2] <= 1 + 1e-9
    )


def n_told(n_outputs: int) -> int:
    """Deviations and correlations of one step."""
    return n_outputs + n_outputs * (n_outputs - 1) // 2


def n_scored(n_outputs: int) -> int:
    """Inputs of the network: estimates, what is told of their errors, supplied values."""
    return ANCHORS * (n_outputs + n_told(n_outputs)) + len(SUPPLIED)


def step_shapes(n_samples: int, n_outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of the steps of one protocol."""
    gain, level = len(powers(GAIN_DEGREES)), len(powers(LEVEL_DEGREES))
    return {
        "gain": (n_samples * gain, ANCHORS * n_outputs),
        "level": (level, ANCHORS * n_outputs),
        "spread": (gain, ANCHORS * n_told(n_outputs)),
    }
