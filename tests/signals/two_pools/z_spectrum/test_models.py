"""Z-spectra against values of another program, adaptive quadrature and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from bids_brnn.errors import SequenceError
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import ZSpectrum, usual_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES, super_lorentzian
from bids_brnn.signals.two_pools.z_spectrum.free_pool import pulse_saturation
from bids_brnn.zoo.recipe import EstimatorRecipe

# The other program interpolates the saturation of Sled and Pike (2e-3), and its quadrature of
# the line errs by 3e-5.
TOLERANCES = {"ramani": 5e-5, "yarnykh": 5e-5, "sled-pike-cw": 3e-3, "sled-pike-rp": 3e-3}
NAMES = {"ramani": "Ramani", "yarnykh": "Yarnykh", "sled-pike-cw": "SledPikeCW",
         "sled-pike-rp": "SledPikeRP"}  # fmt: skip


@pytest.fixture(scope="module")
def vectors(shared):
    return np.load(shared / "reference" / "qmt_spgr.npz", allow_pickle=False)


def protocol(vectors) -> ZSpectrum:
    duration, delay, excitation, _, repetition = vectors["timing_s"]
    return ZSpectrum(
        mt_flip_angle=np.deg2rad(vectors["angle_deg"]),
        offset=vectors["offset_hz"],
        pulse=MTPulse("GAUSSHANN", float(duration), 200.0),
        flip_angle=math.radians(7),
        repetition_time=float(repetition),
        mt_delay=float(delay),
        excitation_duration=float(excitation),
        normalised=True,
    )


@pytest.mark.parametrize("name", TOLERANCES)
def test_signals_are_those_of_another_program(vectors, name):
    F, kr, R1f, R1s, T2f, T2s = vectors["parameters"].T
    m0s = F / (1 + F)
    sets = np.stack([m0s, R1f, 1 / T2f, kr / (1 - m0s), R1s, T2s, 0 * F, 0 * F + 1], axis=-1)
    found = build_model(name, protocol(vectors))(torch.from_numpy(sets)).real.numpy()
    expected = vectors["signals"][list(vectors["models"]).index(NAMES[name])]
    assert np.abs(found - expected).max() < TOLERANCES[name]


@pytest.mark.parametrize("x", [1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0])
def test_the_super_lorentzian_is_that_of_adaptive_quadrature(x):
    def line(u: float) -> float:
        v = abs(3 * u * u - 1)
        return math.sqrt(2 / math.pi) * math.exp(-2 * (x / v) ** 2) / v if v > 1e-12 else 0.0

    magic = 1 / math.sqrt(3)
    near = [10.0**-k for k in range(1, 9)]
    edges = [0, *(magic - d for d in near), magic, *(magic + d for d in reversed(near)), 1]
    exact = sum(
        quad(line, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in itertools.pairwise(edges)
    )
    found = float(super_lorentzian(torch.tensor([x], dtype=torch.float64)))
    assert found == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("name", LINES)
def test_every_line_has_the_area_of_all_its_spins(name):
    f = torch.linspace(1e-6, 1, 400001, dtype=torch.float64) * 40  # x = 2 pi f T2s
    area = 2 * torch.trapezoid(LINES[name](f), f)
    # int G domega = 1; the Lorentzian has 1.6 % beyond x = 40, and the lines a pole or step at 0.
    assert float(area) == pytest.approx(1, abs=0.017)


def test_a_hard_pulse_on_resonance_turns_and_a_weak_one_far_off_follows_bloch():
    pulse = MTPulse("HARD", 1e-3)
    angle, R2f = torch.tensor([[1.0]]).double(), torch.tensor([[1e-9]]).double()
    on = pulse_saturation(angle, torch.zeros(1, 1).double(), R2f, pulse, torch.zeros(1))
    assert float(on.value) == pytest.approx(math.cos(1.0), abs=1e-8)
    # Without relaxation the effective field turns Mz by a closed form.
    w1, dw = 1.0 / 1e-3, 2 * math.pi * 500.0
    w = math.hypot(w1, dw)
    exact = (dw**2 + w1**2 * math.cos(w * 1e-3)) / w**2
    off = pulse_saturation(
        angle, torch.full((1, 1), 500.0).double(), R2f, pulse, torch.tensor([500.0])
    )
    assert float(off.value) == pytest.approx(exact, abs=1e-8)


def test_slopes_of_the_saturation_are_those_of_differences():
    pulse = MTPulse("GAUSSHANN", 0.0102, 200.0)
    point = [torch.tensor([[v]]).double() for v in (7.4, 1100.0, 25.0)]
    nominal = torch.tensor([1088.0])
    found = pulse_saturation(*point, pulse, nominal)
    for column, step in enumerate((1e-4, 1e-2, 1e-3)):
        ends = []
        for sign in (1, -1):
            moved = list(point)
            moved[column] = point[column] + sign * step
            ends.append(float(pulse_saturation(*moved, pulse, nominal).value))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(found.slopes[column]) == pytest.approx(slope, rel=1e-5)


def test_a_train_of_pulses_is_no_z_spectrum():
    with pytest.raises(SequenceError, match="describes Z-spectra"):
        build_model("ramani", jiang_like_train(20))


@pytest.mark.parametrize("name", ["gbloch", "fisp", "bssfp"])
def test_a_z_spectrum_is_no_train_of_pulses(name):
    """Also in a recipe, which may come from a folder that others write into."""
    recipe = EstimatorRecipe("nlls", name, usual_protocol(), magnitude=True)
    with pytest.raises(SequenceError, match="describes pulse trains, not Z-spectra; use one of"):
        recipe.build_model()


@pytest.mark.parametrize("name", TOLERANCES)
def test_an_image_without_mt_pulse_is_that_without_saturation(name):
    model = build_model(name, usual_protocol())
    theta = torch.tensor([[0.15, 0.9, 20.0, 20.0, 1.0, 1.2e-5, 0.0, 1.0]]).double()
    signal, slopes = model.linearize(theta)
    assert torch.isfinite(signal.real).all()
    assert torch.isfinite(slopes.real).all()
    assert float(model.normalised()(theta).real[0, 0]) == pytest.approx(1, abs=1e-12)
    assert (signal.real[0, 1:] < signal.real[0, 0]).all()
