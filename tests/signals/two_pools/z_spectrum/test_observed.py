"""The observed R1 in the place of R1f."""

from __future__ import annotations

import pytest
import torch

from bids_brnn.errors import DataError
from bids_brnn.parameters import FIELD_MAPS, Z_SPECTRUM
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals import build_model, model_called, model_entry, models, models_by_protocol
from bids_brnn.signals.base import amplitude_of
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1, free_pool_rate

THETA = torch.tensor(
    [[0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 40.0, 1.05],
     [0.07, 0.65, 18.0, 18.0, 1.0, 10.5e-6, -200.0, 0.9],
     [0.01, 0.25, 2.0, 10.0, 1.0, 12e-6, 0.0, 1.0]], dtype=torch.float64,
)  # fmt: skip


@pytest.fixture(scope="module")
def base():
    return build_model("yarnykh", usual_protocol())


def test_two_pools_recover_at_the_rate_that_was_observed():
    m0s, R1, _, Rx, R1s, *_ = THETA.unbind(-1)
    R1f = free_pool_rate(R1, m0s, Rx, R1s)
    exchange = torch.stack([R1f + Rx * m0s, -Rx * (1 - m0s), -Rx * m0s, R1s + Rx * (1 - m0s)], -1)
    rates = torch.linalg.eigvals(exchange.reshape(-1, 2, 2)).real
    torch.testing.assert_close(rates.amin(-1), R1, rtol=1e-12, atol=0)


def test_rates_without_such_pools_stay_within_the_bounds():
    low = free_pool_rate(*(torch.tensor([v]).double() for v in (0.25, 0.6, 80.0, 1.0)))
    high = free_pool_rate(*(torch.tensor([v]).double() for v in (3.0, 0.1, 1.0, 1.0)))
    assert (float(low), float(high)) == (Z_SPECTRUM["R1f"].lower, Z_SPECTRUM["R1f"].upper)


@pytest.mark.parametrize("choice", ["fixed", "equal"])
def test_derivatives_are_those_of_differences(base, choice):
    model = ObservedR1(base, choice)
    signal, slopes = model.linearize(THETA)
    torch.testing.assert_close(signal, model(THETA), rtol=1e-12, atol=0)
    lower, upper = model.parameters.bounds(THETA)
    for column in range(THETA.shape[1]):
        step = torch.zeros_like(THETA)
        step[:, column] = 1e-5 * (upper - lower)[column]
        difference = (model(THETA + step) - model(THETA - step)).real / (2 * step[0, column])
        scale = difference.abs().max().clamp_min(1e-12)
        assert ((slopes[..., column].real - difference).abs().max() / scale) < 1e-6


def test_a_signal_is_that_of_the_model_with_the_rate_of_the_free_pool(base):
    pools = THETA.clone()
    pools[:, 1] = free_pool_rate(*(THETA[:, c] for c in OBSERVED_R1.index(("R1", "m0s", "Rx",
                                                                           "R1s"))))  # fmt: skip
    torch.testing.assert_close(ObservedR1(base)(THETA), base(pools), rtol=1e-12, atol=0)
    equal = THETA.clone()
    equal[:, 4] = equal[:, 1]  # both pools relax alike: R1f is the observed rate
    torch.testing.assert_close(ObservedR1(base, "equal")(THETA), base(equal), rtol=1e-12, atol=0)


def test_what_is_known_and_what_is_sought(base):
    model = ObservedR1(base)
    assert model.parameters.names == ("m0s", "R1", "R2f", "Rx", "R1s", "T2s", "w0", "B1")
    assert model.parameters.select("estimated").names == ("m0s", "R2f", "Rx", "T2s")
    assert amplitude_of(model) == "real"
    assert amplitude_of(ObservedR1(base.normalised())) == "one"
    derived = [item.item.name for name in model.parameters.names
               for item in model.parameters.maps_of(name)]  # fmt: skip
    assert derived == ["F", "R1f", "T2f", "kr", "kf"]
    equal = ObservedR1(base, "equal").parameters
    assert not equal.maps_of("R1")  # R1f is what was supplied


def test_another_word_for_the_solid_pool_is_refused(base):
    with pytest.raises(
        DataError, match='R1s = "free" of the model is unknown; use fixed or equal'
    ):
        ObservedR1(base, "free")


def test_field_maps_supply_what_is_not_estimated():
    assert model_entry("fisp").field_maps == ("B1",)
    assert set(model_entry("ramani").field_maps) == set(FIELD_MAPS) & {"R1", "B1", "w0"}
    assert set(model_entry("gbloch").field_maps) == {"B1", "w0"}


def test_users_call_models_by_what_they_measure():
    assert model_called("ramani", "zspectrum").name == "ramani"
    assert model_called("gbloch", "pulses").name == "gbloch"
    for name, entry in models().items():
        assert entry.called
        assert model_called(name, entry.protocol) is entry
    protocols = {entry.protocol for entry in models_by_protocol("zspectrum")}
    assert protocols == {"zspectrum"}
    with pytest.raises(
        DataError, match=r'"fisp" is no signal model of Z-spectra; use one of .*ram'
    ):
        model_called("fisp", "zspectrum")
