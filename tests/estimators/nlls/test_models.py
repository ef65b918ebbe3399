"""Least squares inverts every signal model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model, models
from bids_brnn.signals.base import amplitude_of


def _sequence(kind: str) -> PulseSequence:
    if kind not in ("gbloch", "fisp", "bssfp"):
        return models()[kind].own_train()
    if kind == "gbloch":
        return hybrid_state_train(n_pulses=100)
    fisp = jiang_like_train(100)
    if kind == "fisp":
        return fisp
    shape = fisp.flip_angle.shape
    return PulseSequence(
        flip_angle=fisp.flip_angle,
        rf_duration=np.zeros(shape),
        rf_phase=np.broadcast_to(np.pi * (np.arange(shape[1]) % 2), shape).copy(),
        repetition_time=fisp.repetition_time,
        echo_time=fisp.echo_time,
        gradient=np.where(fisp.inversion, "spoiler", "balanced"),
        inversion=fisp.inversion,
        start="thermal",
    )


@pytest.mark.parametrize("kind", list(models()))
def test_least_squares_inverts_every_signal_model(kind):
    model = build_model(kind, _sequence(kind))
    parameters = model.parameters
    middle = parameters.to_unit(parameters.start(torch.zeros(1, dtype=torch.float64)))
    unit = torch.rand(8, len(parameters), generator=torch.Generator().manual_seed(3)).double()
    truth = parameters.from_unit((middle * (0.9 + 0.2 * unit)).clamp(0.01, 0.99))
    known = {name: truth[:, parameters.index((name,))[0]]
             for name in parameters.select("supplied").names}  # fmt: skip
    start = parameters.from_unit((parameters.to_unit(truth) * 1.02).clamp(0, 1))
    scale = {"complex": 2 - 1j, "real": 2, "one": 1}[amplitude_of(model)]
    data = scale * model(truth)
    result = NllsEstimator(model, n_starts=1).estimate(data, known, start=start)
    assert (result.quality["stop"] == 1).all()
    # Limited by the compiled models (derivatives to 1e-5), and by how well they determine theta.
    torch.testing.assert_close(
        parameters.to_unit(result.theta), parameters.to_unit(truth), rtol=0, atol=1e-4
    )
    assert (result.m0 - scale).abs().max() < 1e-3
