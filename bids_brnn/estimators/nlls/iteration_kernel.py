"""An iteration of least squares for each voxel, compiled: what the model says, the next step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.estimators.nlls.expansion_kernel import expand_complex, expand_real, quadratic
from bids_brnn.estimators.nlls.rival_kernel import known_level, repeats, returns, settle
from bids_brnn.estimators.nlls.step_kernel import (
    CLOSE,
    COST,
    DAMPING,
    GROWTH,
    GROWTH_AT_FIRST,
    HOPELESS,
    LEAST,
    PROMISE,
    hidden,
    judge,
    learn,
    level,
    propose,
    slope,
)
from bids_brnn.signals.compiling import jit, jit_in_place
from bids_brnn.signals.copying import put, put_matrix

Array = NDArray[Any]

CONVERGED, RESOLVED, ITERATION_LIMIT, NOT_FINITE, STALLED, REPEATED = 1, 2, 3, 4, 5, 6
"""Reasons to stop."""


@jit
def iterate(
    active: Array, signal: Array, slopes: Array, data: Array, weight: Array, free: Array,
    span: Array, is_complex: bool, given: Array, variance: Array, degrees: int, tolerance: float,
    limit: int, hope: float, resolution: float, rival: Array, unit: Array, trial: Array,
    step: Array, m0: Array, gradient: Array, information: Array, extra: Array, numbers: Array,
    evaluations: Array, reason: Array
) -> None:  # fmt: skip
    """Take in what the model says at the trial points, and make the next ones.

    Parameters
    ----------
    active
        ``(A,)``: voxels.
    signal, slopes
        ``(A, R)`` and ``(A, R, P)`` complex: at the trial points of these.
    data, weight
        ``(V, R)`` whitened complex data; ``(R,)``.
    free, span
        ``(F,)``: columns that are estimated, and widths of their bounds.
    is_complex, given
        Whether signals and M0 are; ``(V,)`` M0 if known, else NaN.
    variance, degrees
        ``(V,)`` of the noise, 0 where the residual tells; degrees of freedom of that.
    tolerance, limit
        Of the step left, in standard deviations; of the number of evaluations.
    hope
        See :func:`.rival_kernel.repeats`.
    resolution
        Relative round-off of the model.
    rival
        ``(V, 1 + F + F F)``: cost, point and information of a minimum that is known already, the
        cost negative where there is none.
    unit, trial, step
        ``(V, F)``: where the voxels are, where they try to go, and the difference.
    m0, gradient, information, extra, numbers, evaluations, reason
        State of the voxels: ``(V, 2)``, ``(V, F)``, two ``(V, F, F)``, ``(V, 5)``, and two
        ``(V,)``; ``reason`` is 0 until a voxel is done.
    """
    n_free = free.shape[0]
    values = data.shape[1] * (2 if is_complex else 1)
    _iterate(
        active, signal, slopes, data, weight, free, span, is_complex, given, variance, degrees,
        tolerance, limit, hope, resolution, rival, unit, trial, step, m0, gradient, information,
        extra, numbers, evaluations, reason, np.empty(values), np.empty((values, n_free)),
        np.empty((4, n_free, n_free)), np.empty((9, n_free)), np.empty(2),
        np.empty(n_free, np.bool_)
    )  # fmt: skip


@jit_in_place
def _iterate(
    active: Array, signal: Array, slopes: Array, data: Array, weight: Array, free: Array,
    span: Array, is_complex: bool, given: Array, variance: Array, degrees: int, tolerance: float,
    limit: int, hope: float, resolution: float, rival: Array, unit: Array, trial: Array,
    step: Array, m0: Array, gradient: Array, information: Array, extra: Array, numbers: Array,
    evaluations: Array, reason: Array, residual: Array, tangent: Array, matrices: Array,
    vectors: Array, new_m0: Array, flags: Array
) -> None:  # fmt: skip
    """:func:`iterate`, and what it works in."""
    n_free = free.shape[0]
    new_information, new_gradient, moved, change = matrices[3], vectors[6], vectors[7], vectors[8]
    for a in range(active.shape[0]):
        v = active[a]
        new_m0[0] = given[v]
        if is_complex:
            expand_complex(
                signal[a], slopes[a], free, span, data[v], weight, new_m0, residual, tangent
            )  # fmt: skip
        else:
            expand_real(
                signal[a], slopes[a], free, span, data[v], weight, new_m0, residual, tangent
            )  # fmt: skip
        cost = quadratic(residual, tangent, new_gradient, new_information)
        for i in range(n_free):
            if not math.isfinite(new_gradient[i] + new_information[i, i]):
                cost = math.nan
        state = numbers[v]
        evaluations[v] += 1
        better = evaluations[v] == 1
        if better and not math.isfinite(cost):
            reason[v] = NOT_FINITE
        if not better and math.isfinite(cost):
            for i in range(n_free):
                moved[i] = trial[v, i] - unit[v, i]
                change[i] = new_gradient[i] - gradient[v, i]
            learn(
                extra[v], information[v], new_information, moved, change,
                level(variance[v], state, degrees), matrices, vectors
            )  # fmt: skip
        if not better:
            flatter = slope(new_gradient, new_information, trial[v]) < 0.25 * slope(
                gradient[v], information[v], unit[v]
            )
            better = judge(cost, flatter, resolution, state)
        if better:
            state[COST] = cost
            put(new_m0, m0[v])
            put(new_gradient, gradient[v])
            put_matrix(new_information, information[v])
            put(trial[v], unit[v])
        if reason[v] != 0:
            continue
        noise = level(variance[v], state, degrees)
        left = propose(
            gradient[v], information[v], extra[v], unit[v], state, noise, tolerance, flags,
            matrices, vectors, step[v]
        )  # fmt: skip
        failed = state[GROWTH] > GROWTH_AT_FIRST
        for i in range(n_free):
            trial[v, i] = min(max(unit[v, i] + step[v, i], 0.0), 1.0)
        if left <= tolerance:
            reason[v] = CONVERGED
            if not failed:  # the last step is too short to be worth a look
                put(trial[v], unit[v])
        elif failed and left <= CLOSE * tolerance and state[PROMISE] < hidden(state, resolution):
            # A step that fails here tells of round-off rather than of curvature.
            reason[v] = RESOLVED
        elif failed and state[DAMPING] > HOPELESS:
            reason[v] = STALLED
        elif evaluations[v] >= limit:
            reason[v] = ITERATION_LIMIT
        elif repeats(rival[v], state[COST], state[LEAST], unit[v], noise, evaluations[v], hope):
            reason[v] = REPEATED
        elif returns(rival[v], state[COST], trial[v], known_level(variance[v], rival[v], degrees)):
            reason[v] = REPEATED
            settle(rival[v], state, unit[v], information[v])
