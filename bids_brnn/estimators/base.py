"""What every estimator returns and promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from bids_brnn.parameters import ParameterSet


@dataclass(frozen=True)
class Estimate:
    """Result for ``V`` voxels."""

    theta: Tensor
    """``(V, P)``; every parameter of the model, supplied ones included. NaN where invalid."""
    m0: Tensor
    """``(V,)`` complex: least-squares scale of the model signal."""
    residual: Tensor
    """``(V,)``: norm of (data - fit) over norm of the data."""
    std: Tensor | None = None
    """``(V, P)``: standard deviation of each parameter given the noise level; 0 if supplied."""
    quality: Mapping[str, Tensor] = field(default_factory=dict)
    """Further ``(V,)`` maps of this estimator: iterations, reason of stop, match quality ..."""


@runtime_checkable
class Estimator(Protocol):
    """Inverts voxels.

    Contract (tests/contracts): a complex factor on the input changes ``m0`` only; voxels are
    independent of order, split and batch size; a NaN or zero voxel gives NaN there and nowhere
    else; dtype and device follow the input; the same input gives the same output.
    """

    name: str
    """Value of ``desc-`` in file names."""

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the last axis of ``Estimate.theta``."""

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        ``supplied`` holds known values ``(V,)`` by parameter name; ``sigma`` is the noise standard
        deviation per channel (scalar or ``(V,)``), without which ``std`` is derived from the
        residual or left out.
        """
