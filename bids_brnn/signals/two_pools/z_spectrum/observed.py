"""Two pools whose observed relaxation rate is known: R1 takes the place of R1f."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.parameters import OBSERVED_R1, ParameterSet, free_pool_rate
from bids_brnn.signals.base import SignalModel, check_parameters, forward_derivatives


@dataclass(frozen=True, eq=False)
class ObservedR1:
    """A model of two pools with the observed R1 in the place of R1f; again a signal model."""

    model: SignalModel

    @property
    def parameters(self) -> ParameterSet:
        """Those of the model, R1 for R1f."""
        return OBSERVED_R1

    @property
    def n_samples(self) -> int:
        """Measurements of the model."""
        return self.model.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)``."""
        check_parameters(theta, self.parameters)
        return self.model(self.of_pools(theta), basis)

    def of_pools(self, theta: Tensor) -> Tensor:
        """Parameters of the model ``(..., P)``."""
        m0s, R1, _, Rx, R1s = theta[..., :5].unbind(-1)
        rate = free_pool_rate(R1, m0s, Rx, R1s)
        return torch.cat([theta[..., :1], rate[..., None], theta[..., 2:]], dim=-1)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)`` by the parameters of this model."""
        check_parameters(theta, self.parameters)
        pools, slopes = forward_derivatives(self.of_pools, theta)
        signal, inner = self.model.linearize(pools, basis)
        return signal, inner @ slopes.to(inner.dtype)
