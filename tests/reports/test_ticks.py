import numpy as np
import pytest

from bids_brnn.reports.ticks import log_ticks, tick_labels


def test_a_range_is_told_in_round_numbers():
    _, labels, factor = tick_labels(0.0, 2.5)
    assert (labels, factor) == (["0.0", "0.8", "1.6", "2.4"], "")
    ticks, labels, factor = tick_labels(3e-6, 3e-5)
    assert labels == ["0.8", "1.6", "2.4"]
    assert factor == "1e\N{MINUS SIGN}5"
    np.testing.assert_allclose(ticks, [8e-6, 16e-6, 24e-6])


@pytest.mark.parametrize("seed", range(3))
def test_labels_times_their_factor_are_the_numbers_inside_the_range(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        low = rng.normal() * 10.0 ** rng.integers(-8, 8)
        high = low + 10.0 ** rng.uniform(-2, 2) * abs(low)
        ticks, labels, factor = tick_labels(low, high)
        assert 1 <= len(ticks) <= 5
        assert low <= min(ticks) + 1e-9 * (high - low)
        assert max(ticks) <= high + 1e-9 * (high - low)
        told = [float(text.replace("\N{MINUS SIGN}", "-")) for text in labels]
        scale = float(factor.replace("\N{MINUS SIGN}", "-") or 1)
        # What is written is right to a thousandth of the distance between two numbers.
        np.testing.assert_allclose(np.multiply(told, scale), ticks, atol=1e-3 * (high - low))
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    "ends",
    [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf), (0.0, 5e-324), (1.0, 1.0 + 2e-15)],
)
def test_what_is_no_range_has_no_numbers(ends):
    assert tick_labels(*ends) == ([], [], "")


def test_powers_of_ten_are_told_where_others_have_no_room():
    assert log_ticks(300, 6000) == [500, 1000, 2000, 5000]
    assert log_ticks(300, 6000, decades=True) == [1000]
    assert log_ticks(1, 1e5) == [1, 10, 100, 1e3, 1e4, 1e5]


def test_the_largest_numbers_have_labels_too():
    _, labels, factor = tick_labels(-1e308, 1.7e308)
    assert (labels[1:], factor) == (["0.0", "0.8", "1.6"], "1e308")
