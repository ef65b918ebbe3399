"""Two pools whose observed relaxation rate is known: R1 takes the place of R1f."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.around import Around
from bids_brnn.signals.base import (
    check_parameters,
)
from bids_brnn.signals.two_pools.z_spectrum.quantities import OBSERVED_R1, free_pool_rate_slopes

if TYPE_CHECKING:
    from bids_brnn.signals.base import SignalModel

SolidRate = Literal["fixed", "equal"]
"""R1s as it is supplied (1/s by default), or equal to R1f."""


@dataclass(frozen=True, eq=False)
class ObservedR1(Around):
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
        found.__dict__["parameters"] = self.parameters
        return found

    def free_pool(self) -> None:
        """None: the observed rate is one of two pools."""

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)``."""
        check_parameters(theta, self.parameters)
        return self.model(self.of_pools(theta)[0], basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)`` by the parameters of this model."""
        check_parameters(theta, self.parameters)
        pools, slopes = self.of_pools(theta)
        signal, inner = self.model.linearize(pools, basis)
        # In the place of the other derivatives: copies cost more than all else that is done here.
        by_rate = inner[..., _R1].clone()
        for column, slope in zip(_AMONG, slopes.unbind(-1), strict=True):
            if column == _R1:
                inner[..., column] *= slope[..., None]
            else:
                inner[..., column].addcmul_(by_rate, slope[..., None])
        if self.R1s == "equal":
            inner[..., _R1] += inner[..., _R1S]
            inner[..., _R1S] = 0
        return signal, inner

    def of_pools(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the model, and derivatives ``(..., 4)`` of R1f by R1, m0s, Rx and R1s."""
        pools = theta.clone()
        if self.R1s == "equal":
            pools[..., _R1S] = pools[..., _R1]
            slopes = torch.zeros_like(theta[..., : len(_AMONG)])
            slopes[..., 0] = 1
            return self._inside(pools), slopes
        rate, slopes = free_pool_rate_slopes(*(theta[..., column] for column in _AMONG))
        pools[..., _R1] = rate
        return self._inside(pools), slopes

    def _inside(self, pools: Tensor) -> Tensor:
        lower, upper = self.model.parameters.bounds(pools)
        pools[..., _R1] = pools[..., _R1].clamp(lower[_R1], upper[_R1])
        pools[..., _R1S] = pools[..., _R1S].clamp(lower[_R1S], upper[_R1S])
        return pools


_AMONG = tuple(OBSERVED_R1.index(("R1", "m0s", "Rx", "R1s")))
_R1, _R1S = OBSERVED_R1.index(("R1", "R1s"))
