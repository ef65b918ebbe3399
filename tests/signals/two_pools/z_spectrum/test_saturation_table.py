"""The tabulated saturation is that of Bloch's equations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bids_brnn.sequences.mt_pulse import MTPulse
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals import build_model
from bids_brnn.signals.two_pools.z_spectrum import saturation_table as saturation_table_module
from bids_brnn.signals.two_pools.z_spectrum.absorption import LINES, line_table
from bids_brnn.signals.two_pools.z_spectrum.free_pool import pulse_saturation
from bids_brnn.signals.two_pools.z_spectrum.line_kernel import piece
from bids_brnn.signals.two_pools.z_spectrum.saturation_table import saturation_table

ANGLE, OFFSET = (0.0, math.radians(426.0), math.radians(142.0)), (0.0, 443.0, 6862.0)
BOX = ((0.5, 1.5), (-300.0, 300.0), (0.1, 100.0))


@pytest.mark.parametrize("pulse", [MTPulse("GAUSSHANN", 0.0102, 200.0), MTPulse("HARD", 0.004)])
def test_values_and_slopes(pulse):
    table = saturation_table(pulse, ANGLE, OFFSET, BOX)
    unit = torch.rand(200, 3, 1, generator=torch.Generator().manual_seed(1)).double()
    scale, shift, R2f = (
        low + (high - low) * unit[:, axis] for axis, (low, high) in enumerate(BOX)
    )
    angle, offset = torch.tensor(ANGLE).double(), torch.tensor(OFFSET).double()
    found = table.at(scale, shift, R2f)
    wide = R2f.expand(-1, 3)
    exact = pulse_saturation(scale * angle, offset + shift, wide, pulse, offset)
    assert (found.value[:, 0] == 1).all()
    assert (found.value - exact.value)[:, 1:].abs().max() < 1e-6
    by_axis = (exact.slopes[0] * angle, exact.slopes[1], exact.slopes[2])
    for axis, (slope, expected) in enumerate(zip(found.slopes, by_axis, strict=True)):
        span = BOX[axis][1] - BOX[axis][0]  # over the whole interval
        assert span * (slope - expected)[:, 1:].abs().max() < 5e-6


def test_voxels_do_not_depend_on_how_many_there_are():
    table = saturation_table(MTPulse("HARD", 0.004), ANGLE, OFFSET, BOX)
    unit = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    parts = [low + (high - low) * unit for low, high in BOX]
    whole = table.at(*parts).value
    alone = table.at(*(part[3:4] for part in parts)).value
    torch.testing.assert_close(whole[3:4], alone, rtol=0, atol=1e-13)


def test_a_pulse_that_needs_too_many_terms_is_solved_in_each_voxel(monkeypatch):
    monkeypatch.setattr(saturation_table_module, "_MOST_NODES", 5000)
    pulse = MTPulse("HARD", 0.0201)
    assert saturation_table(pulse, (6.0,), (443.0,), BOX) is None
    protocol = replace(usual_protocol(), pulse=pulse, repetition_time=0.0402)
    monkeypatch.undo()
    exact = build_model("sled-pike-rp", protocol)
    exact.__dict__["_table"] = None
    theta = torch.tensor([[0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 40.0, 1.05]]).double()
    tabled = build_model("sled-pike-rp", protocol)
    for found, expected in zip(tabled.linearize(theta), exact.linearize(theta), strict=True):
        # Steps of the solver follow the nominal offset in both, its error (1e-6) is the same.
        assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("line", LINES)
def test_tabulated_lines_are_those_of_their_formulas(line):
    table = line_table(line)
    x = torch.logspace(math.log10(1.1e-4), 1, 3000, dtype=torch.float64).requires_grad_()
    parts = (table.values, table.rises, table.low, table.high, table.per)
    found = torch.tensor([piece(at, *parts) for at in x.tolist()], dtype=torch.float64)
    exact = LINES[line](x)
    # Cubic pieces err by the fourth power of a step of 2e-3 to 3e-3 in log x.
    assert (found[:, 0] - exact).abs().max() < 2e-10
    (expected,) = torch.autograd.grad(exact.sum(), x)
    assert ((found[:, 1] - expected) * x).abs().max() < 1e-7
    assert piece(2e4, *parts) == (0, 0)
    assert all(math.isnan(value) for value in piece(math.nan, *parts))
