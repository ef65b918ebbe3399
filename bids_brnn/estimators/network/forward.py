"""A trained network on data: parameters, and what else is derived from its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bids_brnn.estimators.network.base import TrainedNetwork
from bids_brnn.estimators.network.spread import propagated
from bids_brnn.parameters import ParameterSet

Precision = Literal["float32", "bf16"]

MULTIPLE = 64
"""Blocks are padded to multiples of this, so that the arithmetic of a voxel does not depend on
how many others are in its block."""


@dataclass(frozen=True, eq=False)
class Forward:
    """A network with the parameters of its signal model."""

    network: TrainedNetwork
    parameters: ParameterSet
    precision: Precision
    has_features: bool
    """Whether features are wanted."""

    def __call__(
        self, coefficients: Tensor, known: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Parameters ``(v, P)`` within their bounds, and inputs and features of the network.

        Parameters
        ----------
        coefficients
            ``(v, R)`` complex, of unit norm.
        known
            Values ``(v,)`` by column of theta.
        """
        names = self.parameters.names
        n = len(coefficients)
        padding = -n % MULTIPLE
        padded = torch.cat([coefficients, coefficients[-1:].expand(padding, -1)])
        extra = {
            names[column]: torch.cat([values, values[-1:].expand(padding)])
            for column, values in known.items()
        }
        with torch.no_grad(), self._arithmetic(coefficients):
            inputs = self.network.prepare(padded, self._supplied(extra, padded))
            if self.has_features:
                outputs, features = self.network.with_features(inputs)
            else:
                outputs, features = self.network(inputs), inputs
        outputs = outputs.float()[:n]
        theta = self.parameters.start(outputs).repeat(n, 1)
        theta[:, self.parameters.index(self.network.spec.outputs)] = outputs
        for column, values in known.items():
            theta[:, column] = values
        lower, upper = self.parameters.bounds(theta)
        return theta.clamp(lower, upper), inputs[:n], features[:n]

    def propagated(self, coefficients: Tensor, known: Mapping[int, Tensor]) -> Tensor:
        """Standard deviations of the outputs ``(v, outputs)`` at noise of sd 1 per channel."""
        names = self.parameters.names
        extra = {names[column]: values for column, values in known.items()}

        def forward(coefficients: Tensor) -> Tensor:
            inputs = self.network.prepare(coefficients, self._supplied(extra, coefficients))
            return self.network(inputs)

        return propagated(forward, coefficients)

    def _supplied(self, extra: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """Values of the supplied inputs; a nuisance that the network needs has a start value."""
        return {
            name: extra.get(name, like.real.new_full(like.shape[:1], self.parameters[name].start))
            for name in self.network.spec.supplied
        }

    def _arithmetic(self, like: Tensor) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(like.device.type, torch.bfloat16)
