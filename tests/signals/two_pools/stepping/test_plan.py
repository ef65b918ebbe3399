"""How a pulse sequence becomes steps from sample to sample."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_brnn.errors import SequenceError
from bids_brnn.signals.two_pools.stepping.plan import CRUSH, ROTATE, SPOIL, WAIT, TrainPlan

TR = 3.5e-3


def test_alternating_train_closes_without_turn(train):
    plan = TrainPlan.from_sequence(
        train([3.1, 0.5, 0.4, 0.3], first="crusher", start="antiperiodic")
    )
    np.testing.assert_array_equal(plan.kind[0], [CRUSH, ROTATE, ROTATE, ROTATE])
    # last phase pi, first 0, and the sign of the antiperiodic start: no turn
    np.testing.assert_allclose(plan.increment[0], [0, math.pi, -math.pi, math.pi], atol=1e-15)
    assert plan.repeats


@pytest.mark.parametrize("start", ["periodic", "antiperiodic"])
def test_steps_of_a_repeating_train_fill_its_duration(train, start):
    sequence = train(
        [1.0, 0.0, 0.4, 0.3], start=start, echoes=(0.2, 0.7), repetition_time=[TR, 2 * TR, TR, TR]
    )
    plan = TrainPlan.from_sequence(sequence)
    assert (plan.before + plan.after).sum() == pytest.approx(sequence.duration)
    np.testing.assert_array_equal(plan.sample[0], np.arange(8))
    np.testing.assert_array_equal(plan.kind[0], [ROTATE, WAIT, WAIT, WAIT] + [ROTATE, WAIT] * 2)


def test_thermal_train_starts_with_its_first_pulse(train):
    plan = TrainPlan.from_sequence(train([1.0, 0.5], start="thermal", duration=2e-4))
    assert plan.before[0, 0] == plan.half[0, 0] == 1e-4
    assert plan.increment[0, 0] == 0
    assert not plan.repeats


def test_gradients(train):
    plan = TrainPlan.from_sequence(train([1.0, 0.5], first="spoiler"))
    np.testing.assert_array_equal(plan.kind[0], [SPOIL, ROTATE])
    np.testing.assert_allclose(plan.half[0], [0, 1.5e-4])  # the spoiled pulse is an instant
    assert plan.duration[0, 0] == 3e-4


def test_arrays_cannot_be_changed(train):
    plan = TrainPlan.from_sequence(train([1.0, 0.5]))
    with pytest.raises(ValueError, match="read-only"):
        plan.flip[0, 0] = 2


def test_unknown_gradients_are_refused(train):
    with pytest.raises(SequenceError, match="pulse 1 of train 1 has the gradient dephasing"):
        TrainPlan.from_sequence(train([1.0, 0.5], first="dephasing"))
