"""Whether a voxel is on its way to a minimum that is known, or to none that is lower, compiled."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from bids_brnn.estimators.nlls.step_kernel import COST, FLOOR
from bids_brnn.signals.compiling import jit_in_place

Array = NDArray[Any]

_SAME, _NEAR = 1.0, 25.0
"""Squares of distances from a minimum, in standard deviations: that within which there is no
other, and that within which there is none if the cost is what the minimum foretells."""
_ABOVE = 4.0
"""Variances by which a cost is above that of all points within the noise of a minimum."""
_RACE = ((12, 1.1), (20, 1.005))
"""A start is given up after so many evaluations if it promises this many times the cost of a
minimum that is known."""


@jit_in_place
def known_level(variance: float, rival: Array, degrees: int) -> float:
    """Variance of the noise at a minimum that is known, as of :func:`.step_kernel.level`."""
    return max(variance if variance > 0 else rival[COST] / max(degrees, 1), FLOOR)


@jit_in_place
def settle(rival: Array, numbers: Array, unit: Array, information: Array) -> None:
    """Put a voxel to the minimum that is known."""
    n = unit.shape[0]
    numbers[COST] = rival[COST]
    for i in range(n):
        unit[i] = rival[1 + i]
        for j in range(n):
            information[i, j] = rival[1 + n * (1 + i) + j]


@jit_in_place
def distance(rival: Array, unit: Array) -> float:
    """Square of the distance ``(F,)`` from a minimum that is known, as a rise of the cost."""
    n = unit.shape[0]
    away = 0.0
    for i in range(n):
        row = 0.0
        for j in range(n):
            row += rival[1 + n * (1 + i) + j] * (unit[j] - rival[1 + j])
        away += row * (unit[i] - rival[1 + i])
    return away


@jit_in_place
def returns(rival: Array, cost: float, trial: Array, noise: float) -> bool:
    """Whether the next step ends in a minimum that is known, so that it need not be tried.

    It is where the voxel is well above that minimum, and the step leads within its noise.

    Parameters
    ----------
    rival
        As of :func:`repeats`.
    cost, trial
        Where the voxel is, and where it is about to go ``(F,)``.
    noise
        Variance, by what is left at the minimum.
    """
    if rival[0] < 0 or cost < rival[0] + _ABOVE * noise:
        return False
    return distance(rival, trial) < _SAME * noise


@jit_in_place
def repeats(
    rival: Array, cost: float, least: float, unit: Array, noise: float, evaluations: int,
    hope: float
) -> bool:  # fmt: skip
    """Whether a voxel is on its way to a minimum that is known, or to none that is lower.

    Parameters
    ----------
    rival
        ``(1 + F + F F,)``: cost, point and information of that.
    cost, least, unit
        Where the voxel is, and the cost that it promises.
    noise
        Variance.
    evaluations
        That led here.
    hope
        Times the cost of the minimum that is known: more must not be promised after the second.
    """
    if rival[0] < 0:
        return False
    away = distance(rival, unit)
    rise = cost - rival[0]
    if away < _SAME * noise or (away < _NEAR * noise and 0.5 * away < rise < 2 * away):
        return True
    if evaluations >= 2 and least > hope * rival[0]:
        return True
    for after, factor in _RACE:  # noqa: SIM110
        if evaluations >= after and least > factor * rival[0]:
            return True
    return False
