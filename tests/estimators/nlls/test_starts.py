"""What atoms promise of voxels of which some parameters are known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bids_brnn.estimators.nlls.starts import Candidates
from bids_brnn.parameters import QMT, Parameter, ParameterSet
from bids_brnn.signals.base import forward_derivatives

PARAMETERS = ParameterSet(
    (
        Parameter(QMT["R2f"].item, 1.0, 50.0, 8.0, "estimated"),
        Parameter(QMT["R1f"].item, 0.2, 2.0, 1.0, "estimated"),
        Parameter(QMT["w0"].item, -300.0, 300.0, 0.0, "nuisance"),
    )
)
TIMES = torch.linspace(0.0, 0.1, 16)


def recovery(theta):
    """A decay that rotates, scaled by what recovers, beside a little that does not rotate."""
    decay, rise, turn = theta[..., None].unbind(-2)
    signal = torch.exp(torch.complex(-decay * TIMES, turn * TIMES))
    return (1 - torch.exp(-rise)) * signal + 0.02 * torch.exp(-rise * TIMES)


@pytest.fixture(scope="module")
def atoms():
    rng = torch.Generator().manual_seed(3)
    unit = torch.rand(400, 3, generator=rng, dtype=torch.float64)
    model = SimpleNamespace(
        parameters=PARAMETERS,
        n_samples=len(TIMES),
        linearize=lambda theta: forward_derivatives(recovery, theta),
    )
    return Candidates.simulate(model, PARAMETERS.from_unit(unit))


@pytest.mark.parametrize("columns", [(2,), (0, 2), ()])
def test_no_atom_promises_less_than_nothing(atoms, columns):
    rng = torch.Generator().manual_seed(8)
    unit = torch.rand(50, 3, generator=rng, dtype=torch.float64)
    data = recovery(PARAMETERS.from_unit(unit))
    data = data / data.norm(dim=-1, keepdim=True)
    starts = atoms.starts(data, {column: unit[:, column] for column in columns}, 16)
    for column in columns:
        assert torch.equal(starts.unit[..., column], unit[:, None, column].expand(-1, 16))
    # Of data of unit norm; round-off of single precision.
    assert float(starts.cost.min()) > -1e-5
