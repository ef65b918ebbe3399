"""Real signals as arrays are those of the models, and are offered where all inside have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_brnn.estimators.nlls.own_starts import Corrected
from bids_brnn.information.averaged import Whitened
from bids_brnn.sequences.z_spectrum import usual_protocol
from bids_brnn.signals import build_model, models_by_protocol
from bids_brnn.signals.base import arrays_of, for_voxels
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

THETA = torch.tensor(
    [[0.13, 1.1, 35.0, 15.0, 1.0, 11.5e-6, 40.0, 1.05],
     [0.07, 0.65, 18.0, 18.0, 1.0, 10.5e-6, -200.0, 0.9]], dtype=torch.float64,
)  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in models_by_protocol("zspectrum")])
def test_arrays_are_the_signals_of_the_model_at_known_fields_too(name):
    model = SuppliedModel(ObservedR1(build_model(name, usual_protocol())), ("R1", "B1", "w0"))
    known = {"w0": THETA[:, 6], "B1": THETA[:, 7]}
    for one in (model, for_voxels(model, known)(torch.arange(2))):
        signal, slopes = one.linearize(THETA)
        simulate = arrays_of(one)
        found = simulate(THETA.numpy(), derivatives=True)
        np.testing.assert_array_equal(found[0], signal.real.numpy())
        np.testing.assert_array_equal(found[1], slopes.real.numpy())
        alone, none = simulate(THETA.numpy(), derivatives=False)
        # Without derivatives the same steady state is reached by another way.
        np.testing.assert_allclose(alone, found[0], rtol=1e-12)
        assert none.shape[0] == 0
        factor = torch.tensor([[0.5], [3.0]], dtype=torch.float64)
        scaled = arrays_of(Corrected(one, factor))(THETA.numpy(), derivatives=True)
        np.testing.assert_allclose(scaled[0], factor.numpy() * found[0], rtol=1e-15)
        np.testing.assert_allclose(scaled[1], factor.numpy()[..., None] * found[1], rtol=1e-15)


def test_arrays_need_those_of_every_model_inside():
    model = build_model("ramani", usual_protocol())
    assert arrays_of(ObservedR1(model)) is not None
    assert arrays_of(Whitened(ObservedR1(model))) is None
    assert arrays_of(SuppliedModel(Whitened(model), ("B1",))) is None


def test_parameters_of_the_caller_stay_as_they_are():
    model, theta = (
        ObservedR1(build_model("ramani", usual_protocol()), "equal"),
        THETA.numpy().copy(),
    )
    arrays_of(model)(theta, derivatives=True)
    np.testing.assert_array_equal(theta, THETA.numpy())
