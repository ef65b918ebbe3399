"""What every model that stands around another one passes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from bids_brnn.parameters import ParameterSet
    from bids_brnn.signals.base import Amplitude, SignalModel


# torch is loaded by the functions, not by the module: recipes are read without it.
@dataclass(frozen=True, eq=False)
class Passing(ABC):
    """Tells of the model inside what :class:`~bids_brnn.signals.base.SignalModel` may tell.

    So nothing is lost on the way (that M0 is real, that samples are averages of several images).
    A subclass is a frozen dataclass with its further fields, and has ``__call__`` and
    ``linearize``.
    """

    model: SignalModel

    @property
    def parameters(self) -> ParameterSet:
        """Names, bounds and roles."""
        return self.model.parameters

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.model.n_samples

    @property
    def amplitude(self) -> Amplitude:
        """See :func:`bids_brnn.signals.base.amplitude_of`."""
        from bids_brnn.signals.base import amplitude_of

        return amplitude_of(self.model)

    @property
    def weights(self) -> Tensor | None:
        """See :func:`bids_brnn.signals.base.weights_of`."""
        from bids_brnn.signals.base import weights_of

        return weights_of(self.model)

    @abstractmethod
    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)``."""

    @abstractmethod
    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)``."""


@dataclass(frozen=True, eq=False)
class Around(Passing):
    """A signal model made of another one, which may be of some voxels only, or rough."""

    def for_voxels(self, known: Mapping[str, Tensor]) -> Callable[[Tensor], SignalModel]:
        """See :func:`bids_brnn.signals.base.for_voxels`."""
        from bids_brnn.signals.base import for_voxels

        inner = for_voxels(self.model, self.shared(known))
        return lambda rows: self.of_rows(inner(rows), rows)

    def rough(self) -> SignalModel | None:
        """See :func:`bids_brnn.signals.base.rough_of`."""
        from bids_brnn.signals.base import rough_of

        inner = rough_of(self.model)
        return None if inner is None else self.with_model(inner)

    def free_pool(self) -> SignalModel | None:
        """See :func:`bids_brnn.signals.base.free_pool_of`."""
        from bids_brnn.signals.base import free_pool_of

        inner = free_pool_of(self.model)
        return None if inner is None else self.with_model(inner)

    def with_model(self, model: SignalModel) -> Self:
        """The same around another model."""
        return replace(self, model=model)

    def shared(self, known: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Which of the known values hold wherever the other model is asked."""
        return known

    def of_rows(self, model: SignalModel, rows: Tensor) -> Self:
        """The same around the model of some voxels, ``rows`` ``(B,)``."""
        del rows
        return self.with_model(model)
