"""Steps of a run share the signal models that they ask for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from bids_brnn import signals
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.signals import build_model
from bids_brnn.zoo import shared_models
from bids_brnn.zoo.shared_models import shared_model


def test_one_model_serves_all_who_ask_for_the_same_and_none_else(monkeypatch):
    monkeypatch.setattr(shared_models, "_MODELS", {})
    protocol = demo_protocol()
    first = shared_model("ramani", protocol, {})
    assert shared_model("ramani", demo_protocol(), {}) is first
    others = [
        shared_model("sled-pike-rp", protocol, {}),
        shared_model("ramani", replace(protocol, offset=protocol.offset * (1 + 1e-12)), {}),
    ]
    assert all(model is not first for model in others)
    assert others[1].sequence.offset[1] == protocol.offset[1] * (1 + 1e-12)


def test_few_models_are_kept(monkeypatch):
    monkeypatch.setattr(shared_models, "_MODELS", {})
    monkeypatch.setattr(shared_models, "_MOST", 2)
    protocol = demo_protocol()
    first = shared_model("ramani", protocol, {})
    for factor in np.linspace(2, 3, 5):
        shared_model("ramani", replace(protocol, offset=protocol.offset * factor), {})
        assert shared_model("ramani", protocol, {}) is first, "it is still asked for"
    assert len(shared_models._MODELS) == 2


def test_threads_that_ask_at_once_get_one_model(monkeypatch):
    monkeypatch.setattr(shared_models, "_MODELS", {})
    monkeypatch.setattr(shared_models, "_MOST", 1)
    protocol = demo_protocol()
    factors = 1 + np.arange(40) // 4 % 2  # two protocols, of which one is kept
    made = []

    def slow(name, sequence, **options):
        made.append(name)
        time.sleep(0.002)
        return build_model(name, sequence, **options)

    monkeypatch.setattr(signals, "build_model", slow)

    def ask(factor):
        other = replace(protocol, offset=protocol.offset * factor)
        return float(shared_model("ramani", other, {}).sequence.offset[1])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, [1.0] * 8)) == [protocol.offset[1]] * 8
        assert len(made) == 1
        assert list(pool.map(ask, factors)) == list(protocol.offset[1] * factors)
