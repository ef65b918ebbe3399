"""Two compartments in a voxel: tissue, and a fluid whose relaxation is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.signals.around import Around

FRACTION = "fCSF"
"""Name of the parameter."""


def fraction_item(suffix: str) -> MapItem:
    """The map of the fraction, for a kind of series with the map suffix ``suffix``."""
    words = (
        "Share of cerebrospinal fluid in M0; 0 where one compartment explains the data, which it "
        "also does in fluid alone"
    )
    return MapItem(FRACTION, "1", suffix, words, (0.0, 1.0))


@dataclass(frozen=True, eq=False)
class FluidMixture(Around):
    """``(1 - f) s(theta) + f s(fluid)``, again a signal model.

    The fluid has the fields (off-resonance, B1 and whatever else is no tissue parameter) of the
    voxel, and the same M0 per volume. The fraction ``f`` is the last parameter; noise may take it
    below 0, so that its mean is not biased.
    """

    fluid: Tensor
    """``(P,)``: parameters of the fluid; what is a nuisance or supplied is that of the voxel."""
    suffix: str
    """BIDS suffix of the map of the fraction."""

    @property
    def parameters(self) -> ParameterSet:
        """Those of the tissue, and the fraction."""
        own = self.model.parameters
        fraction = Parameter(fraction_item(self.suffix), -0.1, 1.0, 0.2, "estimated")
        return ParameterSet((*own.items, fraction), own.derived)

    def shared(self, known: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the fluid has in common with the tissue."""
        own = self.model.parameters
        names = {own.names[column] for column in own.columns("nuisance", "supplied")}
        return {name: values for name, values in known.items() if name in names}

    def free_pool(self) -> None:
        """None: a mixture is no tissue of one pool."""

    def fluid_theta(self, theta: Tensor) -> Tensor:
        """Parameters ``(..., P)`` of the fluid in voxels of ``theta`` ``(..., P)`` or more."""
        own = self.model.parameters
        fluid = self.fluid.to(theta).expand(*theta.shape[:-1], -1).clone()
        shared = own.columns("nuisance", "supplied")
        fluid[..., shared] = theta[..., shared]
        return fluid

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or coefficients ``(..., R)``."""
        fraction = theta[..., -1:]
        tissue = self.model(theta[..., :-1], basis)
        fluid = self.model(self.fluid_theta(theta[..., :-1]), basis)
        return (1 - fraction) * tissue + fraction * fluid

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, P + 1)``."""
        own = self.model.parameters
        fraction = theta[..., -1:]
        tissue, slopes = self.model.linearize(theta[..., :-1], basis)
        fluid, others = self.model.linearize(self.fluid_theta(theta[..., :-1]), basis)
        shared = torch.zeros(len(own), dtype=theta.dtype, device=theta.device)
        shared[own.columns("nuisance", "supplied")] = 1
        wide = fraction[..., None]
        moved = (1 - wide) * slopes + wide * others * shared
        signal = (1 - fraction) * tissue + fraction * fluid
        return signal, torch.cat([moved, (fluid - tissue)[..., None]], dim=-1)
