"""The R1 that a map tells, in place of that of the free pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.parameters import RELAXATION, ParameterSet
from bids_brnn.signals.base import SignalModel, check_parameters, forward_derivatives


def free_rate(m0s: Tensor, R1: Tensor, Rx: Tensor, R1s: Tensor) -> Tensor:
    """``R1f`` (1/s) of two pools whose slower rate of recovery is ``R1``, elementwise.

    ``R1`` is an eigenvalue of relaxation and exchange (Henkelman et al., MRM 1993;29:759).
    """
    to_solid, to_free = Rx * m0s, Rx * (1 - m0s)
    return R1 - to_solid * (R1s - R1) / (R1s - R1 + to_free)


@dataclass(frozen=True, eq=False)
class ObservedR1:
    """A model of the Z-spectrum with the observed R1 instead of R1f.

    Parameters
    ----------
    model
        With the parameters (m0s, R1f, R2f, Rx, R1s, T2s, w0, B1).
    """

    model: SignalModel

    @cached_property
    def parameters(self) -> ParameterSet:
        """(m0s, R1, R2f, Rx, R1s, T2s, w0, B1)."""
        observed = replace(RELAXATION["R1"], role="supplied", lower=0.05, upper=10.0)
        items = [observed if item.name == "R1f" else item for item in self.model.parameters]
        return ParameterSet(tuple(items))

    @property
    def n_samples(self) -> int:
        """Number of measurements."""
        return self.model.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)``."""
        check_parameters(theta, self.parameters)
        return self.model(self.inner(theta), basis)

    def inner(self, theta: Tensor) -> Tensor:
        """Parameters of the model itself ``(..., P)``."""
        m0s, R1, _, Rx, R1s = theta[..., :5].unbind(-1)
        rate = free_rate(m0s, R1, Rx, R1s)
        return torch.cat([theta[..., :1], rate[..., None], theta[..., 2:]], dim=-1)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)`` by the chain rule."""
        check_parameters(theta, self.parameters)
        inner, slopes = forward_derivatives(self.inner, theta)
        signal, derivatives = self.model.linearize(inner, basis)
        return signal, derivatives @ slopes.to(derivatives.dtype)
