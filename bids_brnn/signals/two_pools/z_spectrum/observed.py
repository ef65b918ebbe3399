"""Z-spectra as a function of the observed R1, which comes from a map, instead of R1f."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.parameters import RELAXATION, ParameterSet
from bids_brnn.signals.base import SignalModel, forward_derivatives


@dataclass(frozen=True, eq=False)
class ObservedR1:
    """A model of two pools whose second parameter is the observed R1; it is supplied."""

    model: SignalModel

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of the model, R1 in the place of R1f."""
        rate = replace(RELAXATION["R1"], role="supplied", start=0.9)
        own = self.model.parameters
        return ParameterSet(tuple(rate if item.name == "R1f" else item for item in own))

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return self.model.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``."""
        m0s, R1, R2f, Rx, R1s, T2s, w0, B1 = theta.unbind(-1)
        kr, kf = Rx * (1 - m0s), Rx * m0s
        R1f = (R1 - kf * (R1s - R1) / (R1s - R1 + kr)).clamp(0.05, 10)
        return self.model(torch.stack([m0s, R1f, R2f, Rx, R1s, T2s, w0, B1], -1), basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives."""
        return forward_derivatives(lambda values: self(values, basis), theta)
