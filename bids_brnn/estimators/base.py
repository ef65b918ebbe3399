"""What every estimator returns and promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from bids_brnn.parameters import ParameterSet

if TYPE_CHECKING:
    from bids_brnn.estimators.checkpoint import Checkpoint

Progress = Callable[[int, int], None]
"""Called with (voxels done, voxels that can be estimated) after every block."""


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
    """``(V, P)``: standard deviation of each parameter given the noise level; of what is supplied
    the spread that was given with it, or 0."""
    quality: Mapping[str, Tensor] = field(default_factory=dict)
    """Further ``(V,)`` maps of this estimator: iterations, reason of stop, match quality ..."""
    covariance: Tensor | None = None
    """``(V, P, P)``, where maps that follow from several parameters need it."""
    std_kind: str = "std"
    """What ``std`` is, a key of :data:`bids_brnn.maps.SPREADS`."""


def heard(estimator: object, names: Iterable[str]) -> tuple[str, ...]:
    """Those parameters that may be supplied to an estimator, in their order."""
    takes: Callable[[str], bool] | None = getattr(estimator, "takes", None)
    return tuple(name for name in names if takes is None or takes(name))


@runtime_checkable
class Estimator(Protocol):
    """Inverts voxels.

    Contract (tests/contracts): a complex factor on the input changes ``m0`` only; voxels are
    independent of order, split and batch size; a NaN or zero voxel gives NaN there and nowhere
    else; dtype and device follow the input; the same input gives the same output, also where a
    killed run goes on from its checkpoint.
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
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        Parameters
        ----------
        data
            Coefficients or time frames, whatever the model produces.
        supplied
            Known values ``(V,)`` by parameter name; any parameter may be supplied, but to an
            estimator with a method ``takes(name)`` only what that says. A voxel whose value is
            NaN or out of bounds is not estimated.
        sigma
            Noise standard deviation per channel, scalar or ``(V,)``; by default, and where it is
            0, NaN or infinite in a map, taken from the residual of each voxel.
        progress
            Called after every block.
        checkpoint
            Keeps partial results on disk and goes on from those of an interrupted run.

        Raises
        ------
        DataError
            If a shape or dtype does not fit the model, or a noise level is negative.
        ParameterError
            If a supplied name is no parameter of the model.
        """
