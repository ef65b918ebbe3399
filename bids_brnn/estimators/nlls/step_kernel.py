"""How a voxel steps in Levenberg and Marquardt's method in a box, and what it learns, compiled.

The curvature of one coordinate that Gauss and Newton leave out is learned from exact gradients at
both ends of a step. Damping: Nielsen (IMM-REP-1999-05).
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from bids_brnn.estimators.nlls.box_kernel import factorise, minimise_in_box
from bids_brnn.signals.compiling import jit_in_place
from bids_brnn.signals.copying import put, put_matrix

Array = NDArray[Any]

COST, DAMPING, GROWTH, PROMISE, LEAST = range(5)
"""Columns of ``numbers``: cost; damping and its growth; decrease of the cost that the step
promises, and cost that is promised of a step that is not damped."""

SMALLEST_DAMPING = 1e-12
GROWTH_AT_FIRST = 2.0
"""First factor on the damping after a step that failed; it doubles with every further one."""
CLOSE = 5.0
"""A step that fails within this many tolerances of the minimum ends the iteration."""
HOPELESS = 1e6
"""Damping beyond which steps are too short to matter."""
FLOOR = 1e-20
"""Cost, relative to the energy of the data, below which there is only round-off."""
_TOLD = 0.05
"""Curvature that is not worth learning, over that of the information."""
_KEPT, _HALVINGS = 0.1, 6
"""Share of the information that is left, and attempts to leave as much."""


@jit_in_place
def along(gradient: Array, matrix: Array, step: Array) -> float:
    """Decrease of the cost that an expansion promises for a step."""
    total = 0.0
    for i in range(step.shape[0]):
        row = 2 * gradient[i]
        for j in range(step.shape[0]):
            row += matrix[i, j] * step[j]
        total -= row * step[i]
    return total


@jit_in_place
def learn(
    extra: Array, information: Array, reached: Array, step: Array, change: Array, noise: float,
    matrices: Array, vectors: Array
) -> None:  # fmt: skip
    """Update the curvature that Gauss and Newton leave out from one step.

    A long step tells of a single coordinate at most: that which explains most of what the
    information does not, if that is a good part of all curvature along the step. Within the noise
    the least symmetric change (of rank one) that explains the gradients at both ends is taken,
    halved until some of the information is left.

    Parameters
    ----------
    extra
        ``(F, F)``: what is known so far; updated.
    information, reached
        ``(F, F)`` at both ends of the step.
    step, change
        ``(F,)``: the step, and how much it changed (half of) the gradient.
    noise
        Variance.
    matrices, vectors
        ``(>= 2, F, F)`` and ``(>= 4, F)`` work.
    """
    n = step.shape[0]
    missing, explained, scale = vectors[0], vectors[1], vectors[2]
    along, size = 0.0, 0.0
    for i in range(n):
        explained[i] = 0.0
        for j in range(n):
            explained[i] += (information[i, j] + reached[i, j]) / 2 * step[j]
        missing[i] = change[i] - explained[i]
        along += explained[i] * step[i]
        size += abs(missing[i] * step[i])
    if not along < noise:
        for i in range(n):
            share = step[i] ** 2 * ((information[i, i] + reached[i, i]) / 2 + extra[i, i])
            found = missing[i] * step[i] > max(0.5 * size, 0.2 * along)
            # A step that hardly moves a coordinate tells nothing about it.
            if found or not share < 0.1 * along:
                extra[i] = 0.0
                extra[:, i] = 0.0
            if found and math.isfinite(missing[i]):
                extra[i, i] = missing[i] / step[i]
        return
    total = 0.0
    for i in range(n):
        for j in range(n):
            missing[i] -= extra[i, j] * step[j]
        total += missing[i] * step[i]
    if not abs(total) > _TOLD * along:
        return
    for i in range(n):
        for j in range(n):
            extra[i, j] += missing[i] * missing[j] / total
    whole, factor = matrices[0], matrices[1]
    for i in range(n):
        explained[i] = 0.0  # nothing is left out
    for _ in range(_HALVINGS):
        put_matrix(extra, whole)
        for i in range(n):
            for j in range(n):
                whole[i, j] += (1 - _KEPT) * reached[i, j]
        if factorise(whole, explained, scale, factor):
            return
        extra *= 0.5
    extra[:] = 0.0


@jit_in_place
def level(variance: float, numbers: Array, degrees: int) -> float:
    """Variance of the noise: what is known, or what the residual tells (0)."""
    return max(variance if variance > 0 else numbers[COST] / max(degrees, 1), FLOOR)


@jit_in_place
def propose(
    gradient: Array, information: Array, extra: Array, unit: Array, numbers: Array, noise: float,
    tolerance: float, flags: Array, matrices: Array, vectors: Array, step: Array
) -> float:  # fmt: skip
    """The next step, and how far it is from the minimum, in standard deviations.

    The undamped step, which tells, is solved only where the damped one is short: it can be short
    merely because it is damped, but never longer than the undamped one.
    """
    n = gradient.shape[0]
    curvature, matrix, factor = matrices[0], matrices[1], matrices[2]
    lower, upper, longer, work = vectors[0], vectors[1], vectors[2], vectors[3:6]
    for i in range(n):
        lower[i], upper[i] = -unit[i], 1 - unit[i]
        flags[i] = False
    for i in range(n):
        for j in range(n):
            curvature[i, j] = information[i, j] + extra[i, j]
    damping = numbers[DAMPING]
    for attempt in range(2):
        put_matrix(curvature, matrix)
        for i in range(n):
            # A coordinate that leaves no trace in the signal is still damped: as if its bounds
            # were one standard deviation apart.
            matrix[i, i] += damping * (curvature[i, i] + noise)
        minimise_in_box(matrix, gradient, lower, upper, flags, factor, work, longer)
        promise = along(gradient, curvature, longer)
        # After failed steps the long one would fail again.
        if attempt == 0 or not numbers[GROWTH] > GROWTH_AT_FIRST:
            put(longer, step)
        if promise > (CLOSE * tolerance) ** 2 * noise:
            break
        damping = SMALLEST_DAMPING
    numbers[PROMISE] = along(gradient, curvature, step)
    numbers[LEAST] = numbers[COST] - promise
    # A promise that is not a decrease comes from a matrix too ill-conditioned to solve undamped.
    return math.sqrt(abs(promise) / noise)


@jit_in_place
def slope(gradient: Array, information: Array, unit: Array) -> float:
    """Square of the gradient that does not push out of the box, in its own units."""
    total = 0.0
    for i in range(gradient.shape[0]):
        g = gradient[i]
        if not ((unit[i] <= 0 and g > 0) or (unit[i] >= 1 and g < 0)):
            total += g * g / max(information[i, i], 1e-300)
    return total


@jit_in_place
def hidden(numbers: Array, resolution: float) -> float:
    """Fall of the cost that round-off of the model may hide."""
    return 2 * resolution * math.sqrt(max(numbers[COST], 0.0)) + resolution * resolution


@jit_in_place
def judge(cost: float, flatter: bool, resolution: float, numbers: Array) -> bool:
    """Whether a step was good; damping follows.

    Parameters
    ----------
    cost
        At its end; NaN if the model is not finite there.
    flatter
        Whether the gradient is smaller there: what tells where round-off of the model hides the
        fall of the cost.
    resolution
        Relative round-off of the model.
    numbers
        State of the voxel.
    """
    promised = numbers[PROMISE]
    fall = numbers[COST] - cost
    gain = fall / max(promised, 1e-300)
    least = hidden(numbers, resolution)
    if flatter and promised > 0 and promised < least and abs(fall) < least:
        gain = 1.0
    better = math.isfinite(cost) and promised > 0 and gain > 1e-4
    if better:
        clamped = 2 * min(max(gain, 0.0), 2.0) - 1
        shrink = min(max(1 - clamped * clamped * clamped, 0.05), 4.0)
        numbers[DAMPING] = max(numbers[DAMPING] * shrink, SMALLEST_DAMPING)
        numbers[GROWTH] = GROWTH_AT_FIRST
    else:
        numbers[DAMPING] *= numbers[GROWTH]
        numbers[GROWTH] *= 2
    return better
