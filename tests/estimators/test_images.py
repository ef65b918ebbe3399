"""What images tell beside an estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.images import beside_images, mt_ratio, mtr_words, rician_words
from bids_brnn.estimators.maps import as_voxels, named_maps
from bids_brnn.maps import flag_values
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

PROTOCOL = usual_protocol()  # no pulse, 350 and 650 degrees at 1000 ... 20000 Hz
FREEDOM = 13 - 1 - 4


def result(data, misfit):
    n = len(data)
    theta = OBSERVED_R1.start(torch.zeros(1)).repeat(n, 1)
    size = data.abs().square().sum(-1).sqrt()
    return Estimate(theta, torch.ones(n, dtype=data.dtype), misfit / size)


def test_the_mt_ratio_is_that_of_the_strongest_pulse_near_one_and_a_half_kilohertz():
    assert PROTOCOL.mtr_index == 8  # 650 degrees at 2000 Hz: 1500 is 1.33 times below, 1000 1.5
    assert mtr_words(PROTOCOL) == "MT pulse of 650 degrees at 2000 Hz"
    images = torch.linspace(1, 0.4, 13)[None].double()
    assert float(mt_ratio(images, PROTOCOL)) == pytest.approx(1 - float(images[0, 8]))
    divided = replace(PROTOCOL, normalised=True)
    assert float(mt_ratio(images / 2, divided)) == pytest.approx(1 - float(images[0, 8]) / 2)


def test_images_without_pulse_are_averaged_by_weight():
    protocol = replace(
        PROTOCOL,
        mt_flip_angle=np.r_[0.0, PROTOCOL.mt_flip_angle],
        offset=np.r_[0.0, PROTOCOL.offset],
        weights=np.r_[3.0, np.ones(13)],
    )
    images = torch.full((1, 14), 0.5).double()
    images[0, :2] = torch.tensor([1.0, 2.0])
    assert float(mt_ratio(images, protocol)) == pytest.approx(1 - 0.5 / 1.25)


def test_chi_squared_is_one_where_noise_explains_the_residual():
    data = torch.rand(5, 13, dtype=torch.float64).to(torch.complex128) + 1
    misfit = 0.02 * torch.arange(5).double() * FREEDOM**0.5
    beside = beside_images(result(data, misfit), data, OBSERVED_R1, PROTOCOL, level=0.02)
    torch.testing.assert_close(beside.chi2, torch.arange(5).double() ** 2)
    assert beside_images(result(data, misfit), data, OBSERVED_R1, PROTOCOL).chi2 is None


def test_weighted_images_have_the_noise_of_one():
    protocol = replace(PROTOCOL, weights=np.full(13, 4.0))
    data = torch.ones(2, 13, dtype=torch.complex128)
    # Relative residual of weighted values: the weight cancels, in the noise it does not.
    beside = beside_images(result(data, torch.full((2,), 0.1)), data, OBSERVED_R1, protocol, 0.1)
    torch.testing.assert_close(beside.chi2, torch.full((2,), 4 / FREEDOM).double())
    assert float(beside.lowest[0]) == pytest.approx(20)


def test_magnitudes_near_the_noise_are_flagged_and_counted():
    data = torch.ones(4, 13, dtype=torch.complex128)
    data[1, 3] = 0.04
    estimate = result(data, torch.full((4,), 1e-3))
    beside = beside_images(estimate, data, OBSERVED_R1, PROTOCOL, level=0.01)
    assert flag_values(as_voxels(estimate, OBSERVED_R1, beside=beside)).tolist() == [0, 64, 0, 0]
    assert rician_words(beside).startswith("1 of 4 voxels have a magnitude below 5 noise standard")
    assert rician_words(replace(beside, lowest=None)) == ""
    assert rician_words(replace(beside, lowest=torch.tensor([5.0]))) == ""


def test_maps_say_what_they_are_of():
    data = torch.ones(2, 13, dtype=torch.complex128)
    estimate = result(data, torch.full((2,), 0.1))
    beside = beside_images(estimate, data, OBSERVED_R1, PROTOCOL, level=0.05)
    maps = {item.item.name: item for item in
            named_maps(estimate, OBSERVED_R1, "QMTmap", beside=beside)}  # fmt: skip
    assert maps["MTR"].item.description.endswith("; MT pulse of 650 degrees at 2000 Hz")
    assert {"M0", "chi2", "MTR", "flags"} <= set(maps)
    divided = replace(PROTOCOL, normalised=True)
    beside = beside_images(estimate, data, OBSERVED_R1, divided)
    names = {item.item.name for item in named_maps(estimate, OBSERVED_R1, "QMTmap",
                                                   beside=beside)}  # fmt: skip
    assert "M0" not in names
    assert "chi2" not in names
