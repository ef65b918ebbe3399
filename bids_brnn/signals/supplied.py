"""A signal model in which some parameters are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from bids_brnn.parameters import ParameterSet
    from bids_brnn.signals.base import Amplitude, SignalModel


@dataclass(frozen=True, eq=False)
class SuppliedModel:
    """A signal model in which some parameters are known; again a signal model."""

    model: SignalModel
    names: tuple[str, ...]

    @cached_property
    def parameters(self) -> ParameterSet:
        """Parameters of the model with the role *supplied* for the known ones."""
        parameters = self.model.parameters
        for name in self.names:
            parameters = parameters.with_role(name, "supplied")
        return parameters

    @property
    def n_samples(self) -> int:
        """Samples of the model."""
        return self.model.n_samples

    @property
    def amplitude(self) -> Amplitude:
        """Of the model."""
        from bids_brnn.signals.base import amplitude_of  # torch is loaded where it is used

        return amplitude_of(self.model)

    @property
    def weights(self) -> Tensor | None:
        """Of the model."""
        from bids_brnn.signals.base import weights_of

        return weights_of(self.model)

    def for_voxels(self, known: Mapping[str, Tensor]) -> Callable[[Tensor], SignalModel]:
        """See :func:`bids_brnn.signals.base.for_voxels`."""
        from bids_brnn.signals.base import for_voxels

        inner = for_voxels(self.model, known)
        return lambda rows: SuppliedModel(inner(rows), self.names)

    def rough(self) -> SignalModel | None:
        """See :func:`bids_brnn.signals.base.rough_of`."""
        from bids_brnn.signals.base import rough_of

        inner = rough_of(self.model)
        return None if inner is None else SuppliedModel(inner, self.names)

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` or coefficients ``(..., R)``."""
        return self.model(theta, basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, P)``."""
        return self.model.linearize(theta, basis)
