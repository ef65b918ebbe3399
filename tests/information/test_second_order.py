from dataclasses import dataclass, field

import pytest
import torch

from bids_brnn.information.bounds import cramer_rao_bound
from bids_brnn.information.second_order import second_order_bound, second_order_bounds
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.base import forward_derivatives

RATE = Parameter(MapItem("R2", "1/s", "R2map", "rate"), 0.0, 100.0, 10.0, "estimated")
FIELD = Parameter(MapItem("B1", "1", "TB1map", "field"), 0.5, 1.5, 1.0, "supplied")


@dataclass(frozen=True)
class Decay:
    n_samples: int = 24
    parameters: ParameterSet = field(default=ParameterSet((RATE, FIELD)))

    def __call__(self, theta, basis=None):
        time = torch.arange(1, self.n_samples + 1, dtype=theta.dtype) * 0.02
        return torch.exp(-theta[..., :1] * theta[..., 1:] * time).to(torch.complex128)

    def linearize(self, theta, basis=None):
        return forward_derivatives(self, theta)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0])
def test_the_square_of_a_mean_is_estimated_as_well_as_the_bound_allows(sigma):
    """y = sqrt(q) + noise: y^2 - sigma^2 is unbiased for q, with variance 4 q sigma^2 + 2 sigma^4.

    It is a polynomial of second order in the noise, so it attains the second-order bound.
    """
    q = 1.7
    strong = 1e7  # a second sample that fixes M0
    signal = torch.tensor([strong, q**0.5], dtype=torch.complex128)
    slope = torch.tensor([[0.0], [0.5 * q**-0.5]], dtype=torch.complex128)
    bend = torch.tensor([[[0.0]], [[-0.25 * q**-1.5]]], dtype=torch.complex128)
    found = float(second_order_bound(signal, slope, bend, sigma))
    # the error of M0 adds about q / strong, far below this
    assert found == pytest.approx(4 * q * sigma**2 + 2 * sigma**4, rel=1e-6)


def test_without_noise_it_is_the_cramer_rao_bound_and_never_below_it():
    theta = torch.tensor([12.0, 1.0], dtype=torch.float64)
    known = cramer_rao_bound(Decay(), theta)
    found = second_order_bounds(Decay(), theta, [5.0, 20.0, 1e6])
    ratio = found[:, 0] * torch.tensor([25.0, 400.0, 1e12]) / known[0]
    assert ratio[0] > ratio[1] > 1.001  # the signal bends
    # curvature enters with sigma^2 = 1e-12, finite differences of step 1e-2 do no more
    assert float(ratio[2]) == pytest.approx(1, abs=1e-6)
    assert (found[:, 1] == 0).all()  # a supplied parameter is known


def test_a_parameter_without_effect_has_an_infinite_bound():
    signal = torch.tensor([1.0, 0.5, 0.2], dtype=torch.complex128)
    slope = torch.tensor([[0.0, 0.3], [0.0, 0.1], [0.0, -0.4]], dtype=torch.complex128)
    found = second_order_bound(signal, slope, torch.zeros(3, 2, 2, dtype=torch.complex128), 0.1)
    assert torch.isinf(found[0])
    assert torch.isfinite(found[1])
