"""Two pools whose observed relaxation rate is known: R1 takes the place of R1f."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from bids_brnn.errors import DataError
from bids_brnn.parameters import Z_SPECTRUM, ParameterSet
from bids_brnn.signals.around import Around
from bids_brnn.signals.base import Array, arrays_of
from bids_brnn.signals.two_pools.z_spectrum.from_arrays import FromArrays
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1

if TYPE_CHECKING:
    from bids_brnn.signals.base import SignalModel

SolidRate = Literal["fixed", "equal"]
"""R1s as it is supplied (1/s by default), or equal to R1f."""


@dataclass(frozen=True, eq=False)
class ObservedR1(FromArrays, Around):
    """A model of two pools with the observed R1 in the place of R1f; again a signal model.

    Parameters
    ----------
    model
        With the parameters of :data:`~bids_brnn.parameters.Z_SPECTRUM`.
    R1s
        ``fixed``: as supplied. ``equal``: R1s = R1f; both are then the observed rate, and what is
        supplied as R1s is not looked at.

    Raises
    ------
    DataError
        For another word.
    """

    R1s: SolidRate = "fixed"

    def __post_init__(self) -> None:
        if self.R1s not in ("fixed", "equal"):
            raise DataError(f'R1s = "{self.R1s}" of the model is unknown; use fixed or equal')

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of the model with its bounds, R1 for R1f."""
        items = list(self.model.parameters.items)
        items[1] = OBSERVED_R1["R1"]
        derived = OBSERVED_R1.derived
        if self.R1s == "equal":  # R1f is the observed rate itself
            derived = tuple(item for item in derived if item.item.name != "R1f")
        return replace(OBSERVED_R1, items=tuple(items), derived=derived)

    def with_model(self, model: SignalModel) -> Self:
        """With the parameters of this one; to make them takes time."""
        found = replace(self, model=model)
        found.__dict__.update(parameters=self.parameters, _bounds=self._bounds)
        return found

    def free_pool(self) -> None:
        """None: the observed rate is one of two pools."""

    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""
        simulate = arrays_of(self.model)
        if simulate is None:
            raise DataError("an observed R1 is known of models of the Z-spectrum only")
        pools, by_rate = self.of_pools(theta)
        signal, slopes = simulate(pools, derivatives=derivatives)
        if derivatives:
            from bids_brnn.signals.two_pools.z_spectrum.observed_kernel import by_observed

            by_observed(by_rate, self.R1s == "equal", slopes)
        return signal, slopes

    def of_pools(self, theta: Array) -> tuple[Array, Array]:
        """Parameters of the model, and derivatives ``(V, 4)`` of R1f by R1, m0s, Rx and R1s."""
        from bids_brnn.signals.two_pools.z_spectrum.observed_kernel import pools_of

        pools, slopes = np.empty_like(theta), np.empty((len(theta), 4))
        pools_of(theta, self.R1s == "equal", _HELD, self._bounds, pools, slopes)
        return pools, slopes

    @cached_property
    def _bounds(self) -> Array:
        items = (self.model.parameters[name] for name in ("R1f", "R1s"))
        return np.array([(item.lower, item.upper) for item in items])


_HELD = np.array([Z_SPECTRUM["R1f"].lower, Z_SPECTRUM["R1f"].upper])
