"""Models around another one tell of it what they do not change."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from bids_brnn.estimators.nlls.own_starts import Corrected
from bids_brnn.information.averaged import Whitened
from bids_brnn.parameters import Z_SPECTRUM
from bids_brnn.signals.around import Around
from bids_brnn.signals.base import (
    amplitude_of,
    for_voxels,
    free_pool_of,
    rough_of,
    weights_of,
)
from bids_brnn.signals.magnitude import MagnitudeSignal
from bids_brnn.signals.mixture import FluidMixture
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.signals.supplied import SuppliedModel
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1


@dataclass(frozen=True, eq=False)
class _Inner:
    """Tells everything that a model may tell."""

    is_rough: bool = False
    known: tuple[str, ...] = ()
    parameters = Z_SPECTRUM
    n_samples = 3
    amplitude = "known"
    weights = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)

    def for_voxels(self, known):
        return lambda _: _Inner(self.is_rough, tuple(known))

    def rough(self):
        return _Inner(is_rough=True)

    def free_pool(self):
        return _Inner(known=("empty",))


_INNER = _Inner()
WRAPPERS = [
    SuppliedModel(_INNER, ("B1",)),
    ObservedR1(_INNER),
    MagnitudeSignal(_INNER),
    FluidMixture(_INNER, Z_SPECTRUM.start(torch.zeros(0)), "MTmap"),
    Whitened(_INNER),
    CompressedSignal(_INNER, Subspace(torch.eye(3)[:, :2])),
    Corrected(_INNER, torch.ones(5, 3)),
]


def test_every_model_around_another_is_tried_here():
    ours = {kind for kind in Around.__subclasses__() if kind.__module__.startswith("bids_brnn.")}
    assert {type(model) for model in WRAPPERS} == ours


@pytest.mark.parametrize("model", WRAPPERS, ids=lambda model: type(model).__name__)
def test_amplitude_and_weights_are_those_of_the_inner_model_or_said_otherwise(model):
    # The magnitude is real whatever the signal was; what is whitened or projected has no weights.
    assert amplitude_of(model) == ("real" if isinstance(model, MagnitudeSignal) else "known")
    if isinstance(model, Whitened | CompressedSignal):
        assert weights_of(model) is None
    else:
        assert weights_of(model).tolist() == [1, 4, 9]


@pytest.mark.parametrize("model", WRAPPERS, ids=lambda model: type(model).__name__)
def test_the_free_pool_comes_through_where_it_means_the_same(model):
    found = free_pool_of(model)
    if isinstance(model, FluidMixture | ObservedR1):  # two tissues, one rate of two pools
        assert found is None
    else:
        assert type(found) is type(model)
        assert found.model.known == ("empty",)


@pytest.mark.parametrize("model", WRAPPERS, ids=lambda model: type(model).__name__)
def test_models_of_voxels_and_rough_models_come_through(model):
    rows = torch.tensor([4, 0])
    known = {"B1": torch.ones(5), "m0s": torch.ones(5)}
    found = for_voxels(model, known)(rows)
    assert type(found) is type(model)
    # The fluid of a mixture has other tissue parameters than the voxel.
    assert found.model.known == (("B1",) if isinstance(model, FluidMixture) else ("B1", "m0s"))
    assert found.parameters.names == model.parameters.names
    assert rough_of(model).model.is_rough
    if isinstance(model, Corrected):
        assert len(found.factor) == len(rows)
