"""The table of a Pulseq file describes what isochromats do that play the file block by block."""

from __future__ import annotations

import copy as copying

import numpy as np
import pytest
import torch

from bids_brnn.pulseq.reading import read_timeline
from bids_brnn.pulseq.translate import sequence_of
from bids_brnn.signals import model_entry

pypulseq = pytest.importorskip("pypulseq", reason="pypulseq (extra pulseq) is not installed")
N = 40


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


@pytest.mark.parametrize("w0", [0.0, 90.0])
def test_balanced(maker, play, w0):
    maker.add(maker.pulse(180, 2e-4, use="inversion"))
    maker.add(maker.spoiler)
    maker.wait(10e-3)
    maker.balanced(_lobes(N, 50), np.full(N, 1e-4))
    path = maker.write()
    tissue = {"R1": 1.1, "R2": 14.0, "w0": w0}
    found, signal = _signal("bssfp", path, {**tissue, "B1": 1.0})
    assert set(found.sequence.gradient[0, 1:].tolist()) == {"balanced"}
    _close(signal, play(path, **tissue, n=4), 4e-3)


@pytest.mark.parametrize("turn", [0.0, 180.0], ids=["periodic", "antiperiodic"])
def test_hybrid_state(maker, play, turn):
    n = 19
    durations = 2e-5 * np.round(5 + 10 * np.abs(np.cos(np.arange(n) / 4)))
    for copy in range(2):
        phases = 180.0 * ((np.arange(n) + 1) % 2) + copy * turn
        maker.add(maker.spoiler)
        maker.add(maker.pulse(180, 5e-4, use="inversion", phase=copy * turn))
        maker.add(maker.spoiler)
        maker.balanced(_lobes(n, 50), durations, phases=phases)
    path = maker.write()
    pools = {"m0s": 0.0, "R1f": 4.0, "R2f": 14.0, "Rx": 10.0, "R1s": 1.0, "T2s": 1e-5}
    found, signal = _signal("gbloch", path, {**pools, "w0": 100.0, "B1": 1.0})
    assert found.sequence.start == ("antiperiodic" if turn else "periodic")
    assert found.sequence.gradient[0, 0] == "crusher"
    assert found.sequence.n_samples == n
    np.testing.assert_allclose(found.sequence.rf_duration[0, 1 : n + 1], durations, atol=1e-9)
    whole = play(path, R1=4.0, R2=14.0, w0=100.0, n=4, repeats=14)
    # 28 trains of 80 ms: what is left of equilibrium is exp(-9); crushers relax for 1 ms.
    _close(signal, whole[:n], 6e-3)


def test_sinc_pulses_are_their_area(maker, play):
    rf, gz, rewinder = pypulseq.make_sinc_pulse(
        np.radians(25), duration=1e-3, slice_thickness=5e-3, apodization=0.5, time_bw_product=4,
        system=maker.system, return_gz=True, use="excitation",
    )  # fmt: skip
    for number in range(N):
        scaled = copying.copy(rf)
        scaled.signal = rf.signal * (1 + np.sin(number / 9))
        maker.add(scaled, gz)
        maker.add(rewinder)
        maker.wait(1e-3)
        maker.add(maker.adc(n=2))
        maker.add(maker.spoiler)
        maker.wait(6e-3)
    path = maker.write()
    found, _ = _signal("fisp", path, {"R1": 1.1, "R2": 14.0, "B1": 1.0})
    assert any("select a slice" in note for note in found.notes)
    flips = np.degrees(found.sequence.flip_angle[0])
    np.testing.assert_allclose(flips, 25 * (1 + np.sin(np.arange(N) / 9)), rtol=2e-3)


def test_an_adiabatic_pulse_inverts(maker):
    pulse = pypulseq.make_adiabatic_pulse("hypsec", system=maker.system, use="inversion")
    maker.add(pulse)
    maker.add(maker.spoiler)
    maker.fisp(_lobes(N, 60))
    found, _ = _signal("fisp", maker.write(), {"R1": 1.1, "R2": 14.0, "B1": 1.0})
    assert found.sequence.inversion[0].tolist() == [True, *[False] * N]
    assert found.sequence.flip_angle[0, 0] == pytest.approx(np.pi)
