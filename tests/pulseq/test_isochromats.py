"""The table of a Pulseq file describes what isochromats do that play the file block by block."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bids_brnn.pulseq.reading import read_timeline
from bids_brnn.pulseq.translate import sequence_of
from bids_brnn.signals import model_entry

N = 40


@pytest.fixture
def play(request):
    import sys

    return sys.modules[request.node.parent.module.__name__.rpartition(".")[0] + ".conftest"].play


def _lobes(n, peak):
    return 5 + (peak - 5) * np.abs(np.sin(np.pi * np.arange(n) / 17))


def _signal(name, path, theta, **options):
    entry = model_entry(name)
    found = sequence_of(read_timeline(path), entry, name=path.name, **options)
    model = entry.build(found.sequence)
    values = model.parameters.theta(theta, torch.zeros(1, dtype=torch.float64))
    return found, model(values[None]).numpy()[0]


def _close(found, expected, tolerance):
    """Equal up to one complex factor of size 1, which M0 takes up."""
    factor = np.vdot(found, expected)
    found = found * factor / abs(factor)
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("quadratic", [False, True], ids=["constant", "RF spoiling"])
def test_fisp(maker, play, quadratic):
    maker.add(maker.pulse(180, 2e-4, use="inversion"))
    maker.add(maker.spoiler)
    maker.wait(15e-3)
    phases = 58.5 * np.arange(N) * (np.arange(N) + 1) if quadratic else None
    maker.fisp(_lobes(N, 60), phases=phases)
    path = maker.write()
    found, signal = _signal("fisp", path, {"R1": 1.1, "R2": 14.0, "B1": 1.0})
    assert found.sequence.n_samples == N
    assert set(found.sequence.gradient[0, 1:].tolist()) == {"dephasing"}
    assert found.sequence.inversion[0, 0]
    # The model turns in an instant; pulses of 0.1 ms relax for 1 per mille meanwhile.
    _close(signal, play(path, R1=1.1, R2=14.0, n=2 * N + 4), 4e-3)
