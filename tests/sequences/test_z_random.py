"""Random protocols of Z-spectra: what they span, and that a scanner could play them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bids_brnn.sequences.z_designs import Z_PROTOCOLS
from bids_brnn.sequences.z_random import figures, random_protocol


@pytest.fixture(scope="module")
def drawn():
    return [random_protocol(np.random.default_rng(seed)) for seed in range(150)]


def test_protocols_keep_what_a_scanner_can_do(drawn):
    for protocol in drawn:
        peak = protocol.mt_flip_angle.max() / protocol.pulse.area
        assert peak <= 2 * math.pi * 42.577e6 * 25e-6  # 25 uT
        assert protocol.rest >= 0


def test_they_span_five_to_thirty_one_images_both_normalisations_and_all_shapes(drawn):
    numbers = [protocol.n_samples for protocol in drawn]
    assert min(numbers) >= 5
    assert max(numbers) <= 31
    assert min(numbers) <= 7
    assert max(numbers) >= 27
    assert {protocol.normalised for protocol in drawn} == {True, False}
    assert len({protocol.pulse.shape for protocol in drawn}) == 7


def test_a_seed_gives_the_same_protocol():
    first, again = (random_protocol(np.random.default_rng(5)) for _ in range(2))
    assert first.digest == again.digest


def test_protocols_of_the_literature_lie_within(drawn):
    rows = [figures(protocol) for protocol in drawn]
    for make in Z_PROTOCOLS.values():
        for words, value in figures(make()).items():
            assert min(row[words] for row in rows) <= value <= max(row[words] for row in rows)
