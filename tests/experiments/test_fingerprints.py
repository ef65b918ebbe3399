"""Fingerprints between all bounds, for surrogates."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from bids_brnn.experiments.fingerprints import anywhere, data_key
from bids_brnn.experiments.reading import build_experiment
from bids_brnn.parameters import RELAXATION


def test_they_reach_all_bounds_and_hold_signals_that_errors_can_be_compared_with():
    def model(theta):
        lower, upper = RELAXATION.bounds(theta)
        assert bool(((theta >= lower) & (theta <= upper)).all())
        signal = (1j + theta).to(torch.complex64)
        signal[theta[:, 0] == lower[0]] = torch.nan
        signal[theta[:, 1] == upper[1]] = 1e-30  # decayed: its energy is none in this precision
        return signal

    theta, signal = anywhere(SimpleNamespace(parameters=RELAXATION, compressed=model, seed=3), 400)
    lower, upper = RELAXATION.bounds(theta)
    assert 300 < len(theta) == len(signal) < 400
    assert bool((signal.abs().square().sum(-1) > 0).all())
    assert not bool(((theta[:, 0] == lower[0]) | (theta[:, 1] == upper[1])).any())
    assert bool((theta[:, 0] == upper[0]).any())
    assert bool((theta[:, 1] == lower[1]).any())


def test_other_options_of_the_signal_model_are_other_fingerprints(tmp_path):
    """Where the basis is given, and for Z-spectra, nothing else of the training tells it."""
    content = {"model": "ramani", "train": "spgr-demo", "fingerprints": 5, "held_out": 2}
    keys = [
        data_key(build_experiment({**content, **options}, tmp_path / "my.toml"))
        for options in (
            {},
            {"model_options": {"lineshape": "super-lorentzian"}},
            {"model_options": {"lineshape": "gaussian"}},
        )
    ]
    assert keys[0] == keys[1], "as it is by default"
    assert keys[2] != keys[0]
