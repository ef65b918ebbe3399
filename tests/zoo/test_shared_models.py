"""Steps of a run share the signal models that they ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_brnn.sequences.z_designs import demo_protocol
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
    for factor in np.linspace(1, 2, 5):
        shared_model("ramani", replace(protocol, offset=protocol.offset * factor), {})
    assert len(shared_models._MODELS) == 2
