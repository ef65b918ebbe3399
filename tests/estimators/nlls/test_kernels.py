"""Compiled parts of least squares against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brnn.estimators.nlls.expansion_kernel import expand_complex, expand_real, quadratic
from bids_brnn.estimators.nlls.point_kernel import costs, points
from bids_brnn.estimators.nlls.rival_kernel import repeats, returns, settle
from bids_brnn.estimators.nlls.step_kernel import COST, DAMPING, GROWTH, PROMISE, judge, learn

FREE, SPAN = np.array([0, 2]), np.array([2.0, 0.5])
N = 7


def _signal(x: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A smooth signal of three parameters, and its slopes ``(N, 3)``."""
    time = np.linspace(0.1, 1.0, N)
    rate = x[0] + (1j * x[2] if kind == "complex" else x[2] ** 2)
    by_2 = 1j if kind == "complex" else 2 * x[2]
    value = np.exp(-rate * time) * (1 + x[1])
    slopes = np.stack([-time * value, value / (1 + x[1]), -time * by_2 * value], -1)
    return value.astype(complex), slopes.astype(complex)


def _expand(x: np.ndarray, kind: str, given: float) -> tuple[float, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    data = rng.normal(size=N) + 1j * (rng.normal(size=N) if kind == "complex" else 0)
    weight = np.linspace(1, 2, N)
    values = 2 * N if kind == "complex" else N
    residual, tangent = np.empty(values), np.empty((values, 2))
    gradient, information = np.empty(2), np.empty((2, 2))
    expand = expand_complex if kind == "complex" else expand_real
    m0 = np.array([given, 0.0])
    expand(*_signal(x, kind), FREE, SPAN, data, weight, m0, residual, tangent)
    return quadratic(residual, tangent, gradient, information), gradient, information


@pytest.mark.parametrize(("kind", "given"), [("complex", np.nan), ("real", np.nan), ("real", 0.7)])
def test_the_gradient_is_that_of_the_cost_with_m0_projected_out(kind, given):
    x, h = np.array([1.0, 0.3, 0.8]), 1e-5
    _, gradient, information = _expand(x, kind, given)
    for place, (column, width) in enumerate(zip(FREE, SPAN, strict=True)):
        moved = np.zeros(3)
        moved[column] = h * width
        rise = _expand(x + moved, kind, given)[0] - _expand(x - moved, kind, given)[0]
        # Half of the gradient; central differences err by h^2.
        assert gradient[place] == pytest.approx(rise / (4 * h), rel=1e-6, abs=1e-9)
    assert np.linalg.eigvalsh(information).min() > -1e-12  # round-off


def _state(**values: float) -> np.ndarray:
    state = np.zeros(5)
    state[[COST, DAMPING, GROWTH, PROMISE]] = 1.0, 1e-3, 2.0, 1e-8
    for name, value in values.items():
        state[{"promise": PROMISE, "cost": COST}[name]] = value
    return state


def test_round_off_of_the_cost_does_not_refuse_a_step_that_flattens():
    rise = 1 + 1e-7  # of what single precision hides, 2e-6
    assert judge(rise, True, 1e-6, _state())
    assert not judge(rise, False, 1e-6, _state())
    assert not judge(rise, True, 1e-15, _state())
    assert not judge(1 + 1e-4, True, 1e-6, _state())
    assert not judge(float("nan"), True, 1e-6, _state())


def test_a_start_ends_where_it_comes_back_to_a_known_minimum():
    # A minimum of cost 1 at 0.5 with standard deviations of 0.01 (noise 1e-4, information 1).
    rival, noise = np.array([1.0, 0.5, 1.0]), 1e-4

    def ends(
        x: float, cost: float, least: float = 0.0, after: int = 2, hope: float = np.inf
    ) -> bool:
        return repeats(rival, cost, least, np.array([x]), noise, after, hope)

    assert ends(0.505, 3.0)  # half a standard deviation away
    assert ends(0.53, 1 + 0.03**2)  # three, at the cost that the minimum foretells
    assert not ends(0.53, 0.9)  # another one, and lower
    assert not ends(0.8, 1.09)
    assert ends(0.8, 1.5, least=1.3, after=12)
    assert not ends(0.8, 1.5, least=1.3, after=3)
    assert ends(0.8, 1.5, least=1.3, hope=1.2)
    assert not ends(0.8, 1.5, least=1.1, hope=1.2)
    assert not ends(0.8, 1.5, least=1.3, after=1, hope=1.2)  # the promise of a first step
    unknown = np.array([-1.0, 0.5, 1.0])
    assert not repeats(unknown, 1.0, 0.0, np.array([0.5]), noise, 50, np.inf)


def test_a_step_into_a_known_minimum_is_not_tried_but_from_below_it_is():
    # As above: two parameters, a minimum of cost 1 with standard deviations of 0.01 and 0.02.
    information = np.diag([1.0, 0.25])
    rival, noise = np.concatenate([[1.0, 0.5, 0.3], information.ravel()]), 1e-4
    inside, beside = np.array([0.505, 0.31]), np.array([0.505, 0.33])
    assert returns(rival, 1.5, inside, noise)
    assert not returns(rival, 1.5, beside, noise)
    # As low as that minimum: on the way to another one, perhaps.
    assert not returns(rival, 1.0 + noise, inside, noise)
    assert not returns(rival, 0.9, inside, noise)
    assert not returns(np.concatenate([[-1.0], rival[1:]]), 1.5, inside, noise)
    state, unit, reached = _state(), np.zeros(2), np.zeros((2, 2))
    settle(rival, state, unit, reached)
    assert state[COST] == 1.0
    assert unit.tolist() == [0.5, 0.3]
    assert np.array_equal(reached, information)


def _learned(extra, information, hessian, step, noise):
    """What is known after a step on a quadratic cost of this (half) second derivative."""
    extra, step = np.array(extra, float), np.array(step, float)
    change = np.array(hessian) @ step
    work = np.empty((3, 2, 2)), np.empty((6, 2))
    learn(extra, np.array(information), np.array(information), step, change, noise, *work)
    return extra


def test_two_steps_within_the_noise_teach_all_of_the_curvature_that_is_missing():
    information, missing = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[3.0, 1.0], [1.0, -0.4]])
    extra = np.zeros((2, 2))
    for step in ([0.1, 0.05], [-0.02, 0.1]):
        extra = _learned(extra, information, information + missing, step, noise=1.0)
    np.testing.assert_allclose(extra, missing, atol=1e-12)


def test_what_is_learned_leaves_a_minimum():
    information = np.eye(2)
    extra = _learned(np.zeros((2, 2)), information, information - 3 * np.eye(2), [0.1, 0], 1.0)
    # -3 is halved until a tenth of the information is left.
    assert extra[0, 0] == pytest.approx(-0.75)
    assert np.linalg.eigvalsh(information + extra).min() > 0.1


def test_a_long_step_teaches_one_coordinate():
    information = np.eye(2)
    hessian = np.diag([5.0, 1.05])
    extra = _learned(np.full((2, 2), 0.3), information, hessian, [1.0, 0.5], noise=1e-3)
    np.testing.assert_allclose(extra, [[4.0, 0], [0, 0]], atol=1e-12)


@pytest.mark.parametrize("given", [np.nan, 0.7])
def test_a_cost_without_derivatives_is_the_cost(given):
    x, rng = np.array([1.0, 0.3, 0.8]), np.random.default_rng(0)
    data = np.stack([np.zeros(N, complex), rng.normal(size=N) + 0j])
    found = np.empty(1)
    costs(
        _signal(x, "real")[0].real[None], np.array([1]), data, np.linspace(1, 2, N),
        np.array([5.0, given]), found,
    )  # fmt: skip
    assert found[0] == pytest.approx(_expand(x, "real", given)[0], rel=1e-12)


def test_points_are_known_values_and_stay_within_bounds():
    lower, upper = np.array([0.1, 1e-6]), np.array([0.3, 3e-5])
    unit = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    known, theta = np.arange(12.0).reshape(3, 4), np.empty((3, 4))
    points(unit, np.array([2, 0, 2]), known, np.array([0, 3]), lower, upper - lower, upper, theta)
    np.testing.assert_array_equal(theta[:, 1:3], known[[2, 0, 2], 1:3])
    np.testing.assert_allclose(theta[:, [0, 3]], lower + unit * (upper - lower), rtol=1e-15)
    assert (theta[:, [0, 3]] >= lower).all()
    assert (theta[:, [0, 3]] <= upper).all()
