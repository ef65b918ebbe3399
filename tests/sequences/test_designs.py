"""Pulse trains by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.designs import (
    LONGEST_RF,
    MAX_AMPLITUDE,
    SHORTEST_RF,
    TRAINS,
    Lobe,
    hybrid_state_train,
    jiang_like_train,
    lobe_modulation,
    value_noise,
)
from bids_brnn.sequences.pulse_sequence import PulseSequence


def test_fisp_train_is_that_of_the_reference_signals(shared):
    reference = np.load(shared / "reference" / "mrf_spot.npz")
    train = jiang_like_train()
    assert train.repetition_time[0, 0] == reference["inversion_time_s"]
    np.testing.assert_allclose(train.flip_angle[0, 1:], reference["flip_angle_rad"], atol=1e-12)
    # Whole microseconds here, and the last interval is irrelevant for the signal.
    ours, theirs = train.repetition_time[0, 1:-1], reference["repetition_time_s"][:-1]
    np.testing.assert_allclose(ours, theirs, atol=0.501e-6)
    np.testing.assert_allclose(train.echo_time[0, 1:, 0], reference["echo_time_s"])


def test_fisp_train_has_an_inversion_without_sample_lobes_and_gaps():
    train = jiang_like_train(1300)
    assert train.n_samples == 1300
    assert train.n_pulses == 1301
    assert train.inversion[0, 0]
    assert not np.isfinite(train.echo_time[0, 0, 0])
    degrees = np.degrees(train.flip_angle[0, 1:])
    peaks = [degrees[210 * lobe + 99] for lobe in range(6)]
    assert peaks == pytest.approx([35, 43, 70, 45, 27, 35])  # cycles after the fifth
    assert degrees[200:210].tolist() == [0] * 10
    tr = train.repetition_time[0, 1:]
    assert (tr.min(), tr.max()) == pytest.approx((11.7e-3, 14.3e-3))
    assert np.abs(np.diff(tr)).max() < 0.1e-3


@pytest.mark.parametrize("train", [hybrid_state_train(), jiang_like_train(300)])
def test_trains_survive_the_text_table(train):
    back = PulseSequence.from_table(
        train.to_table(),
        start=train.start,
        needs_duration=train.start == "antiperiodic",
    )
    assert back.digest == train.digest
    assert back.n_samples == train.n_samples


def test_hybrid_state_train_keeps_the_hardware_limits():
    train = hybrid_state_train()
    assert train.n_trains == len(TRAINS)
    assert train.n_samples == train.flip_angle.size
    assert train.flip_angle[:, 0].tolist() == [math.pi] * train.n_trains
    assert (train.gradient[:, 0] == "crusher").all()
    assert (train.gradient[:, 1:] == "balanced").all()
    assert train.inversion.sum() == train.n_trains
    assert train.rf_duration.min() >= SHORTEST_RF
    assert train.rf_duration.max() <= LONGEST_RF
    assert (train.flip_angle / train.rf_duration).max() <= MAX_AMPLITUDE * (1 + 1e-12)
    # Smooth: no excitation differs from its neighbour by more than a few degrees.
    assert np.degrees(np.abs(np.diff(train.flip_angle[:, 1:], axis=1))).max() < 15
    assert np.allclose(np.diff(train.rf_phase, axis=1) % (2 * math.pi), math.pi)


def test_lobes_follow_their_formula():
    lobes = [Lobe(0.5, 0.25, 30, 100), Lobe(0.0, 0.125, 90, 400)]
    flip, duration = lobe_modulation(lobes, 17)
    assert np.degrees(flip[[8, 6, 10, 4, 12, 16]]) == pytest.approx([30, 15, 15, 0, 0, 0])
    assert duration[[8, 6, 16]] == pytest.approx([100e-6, 300e-6, 500e-6])
    assert np.degrees(flip[[0, 1]]) == pytest.approx([90, 45])
    assert duration[0] == pytest.approx(400e-6)


def test_a_strong_pulse_is_lengthened_to_the_largest_amplitude():
    flip, duration = lobe_modulation([Lobe(0.5, 0.5, 90, 100), Lobe(0.5, 0.1, 400, 500)], 101)
    assert flip.max() == pytest.approx(math.pi)
    at_limit = flip / duration
    assert at_limit.max() == pytest.approx(MAX_AMPLITUDE)
    assert duration.max() <= LONGEST_RF + 1e-15


@pytest.mark.parametrize("n_pulses", [2, 401])
def test_odd_or_tiny_trains_are_refused(n_pulses):
    with pytest.raises(SequenceError, match=f"n_pulses = {n_pulses}"):
        hybrid_state_train(n_pulses=n_pulses)


def test_pulses_must_fit_the_repetition():
    with pytest.raises(SequenceError, match="overlap"):
        hybrid_state_train(repetition_time=0.4e-3)
    with pytest.raises(SequenceError, match="n_pulses = 0"):
        jiang_like_train(0)


def test_value_noise_depends_on_its_seed_and_fills_the_range():
    noise = value_noise(500)
    assert (noise.min(), noise.max()) == (0, 1)
    assert not np.allclose(noise, value_noise(500, seed=1))
    assert value_noise(1).tolist() == [0]
