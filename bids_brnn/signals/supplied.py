"""A signal model in which some parameters are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bids_brnn.signals.around import Around

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.parameters import ParameterSet
    from bids_brnn.signals.base import Array


@dataclass(frozen=True, eq=False)
class SuppliedModel(Around):
    """A signal model in which some parameters are known; again a signal model."""

    names: tuple[str, ...]

    @cached_property
    def parameters(self) -> ParameterSet:
        """Parameters of the model with the role *supplied* for the known ones."""
        parameters = self.model.parameters
        for name in self.names:
            if name not in parameters.names:  # of the other pool
                continue
            parameters = parameters.with_role(name, "supplied")
        return parameters

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or coefficients ``(..., R)``."""
        return self.model(theta, basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, P)``."""
        return self.model.linearize(theta, basis)

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""
        from bids_brnn.signals.base import arrays_of

        inner = arrays_of(self.model)
        assert inner is not None
        return inner(theta, derivatives=derivatives)
