"""What the estimator needs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from bids_brnn.signals.base import Amplitude


class NetworkSpecLike(Protocol):
    """Shape and names of a network."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the parameters that the network returns."""

    @property
    def supplied(self) -> tuple[str, ...]:
        """Names of known parameters that are inputs."""

    @property
    def n_coefficients(self) -> int:
        """Values per voxel."""

    @property
    def scale(self) -> Amplitude:
        """What is unknown of M0."""


class TrainedNetwork(Protocol):
    """A network such as ``CoefficientNetwork``, in evaluation mode."""

    @property
    def spec(self) -> NetworkSpecLike:
        """Shape and names."""

    def prepare(self, coefficients: Tensor, supplied: Mapping[str, Tensor]) -> Tensor:
        """Real inputs of complex coefficients."""

    def standardised(self, inputs: Tensor) -> Tensor:
        """Inputs of zero mean and unit spread in the training data."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Parameters in SI units."""

    def with_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters, and what an :class:`ErrorModel` takes."""


class ErrorModel(Protocol):
    """What knows the errors of a network, such as ``ErrorNetwork``, in evaluation mode."""

    def deviations(self, features: Tensor, noise: Tensor) -> Tensor:
        """``(V, O)`` of features ``(V, F)`` and relative noise ``(V,)``."""

    def covariance(self, features: Tensor, noise: Tensor) -> Tensor:
        """``(V, O, O)``."""
