"""Networks and estimators as functions from noisy coefficients to estimated parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.estimators.base import Estimator
from bids_brnn.evaluation.moments import EstimatingFunction
from bids_brnn.signals.base import Amplitude
from bids_brnn.zoo.store import StoredModel


def network_function(stored: StoredModel) -> EstimatingFunction:
    """A stored network in float32 and in the coefficients of its training, not clipped to bounds.

    Its ``theta`` holds all parameters of the model; it returns the estimated ones in their order.
    """
    parameters, spec = stored.surrogate.parameters, stored.network.spec
    outputs = [spec.outputs.index(name) for name in parameters.select("estimated").names]
    columns = parameters.index(spec.supplied)

    def estimate(coefficients: Tensor, theta: Tensor) -> Tensor:
        known = {name: theta[:, c] for name, c in zip(spec.supplied, columns, strict=True)}
        with torch.no_grad():
            inputs = stored.network.prepare(coefficients, known)
            result: Tensor = stored.network(inputs)[:, outputs]
        return result

    return estimate


def as_measured(noisy: Tensor, amplitude: Amplitude) -> Tensor:
    """Coefficients ``(n, R)`` as an estimator gets them: magnitudes have no imaginary noise."""
    return noisy if amplitude == "complex" else torch.complex(noisy.real, 0 * noisy.real)


def estimator_function(
    estimator: Estimator, amplitude: Amplitude = "complex"
) -> EstimatingFunction:
    """Any estimator, as :func:`network_function`; ``amplitude`` is that of its model."""
    parameters = estimator.parameters
    columns, supplied = parameters.columns("estimated"), parameters.columns("supplied")

    def estimate(coefficients: Tensor, theta: Tensor) -> Tensor:
        known = {parameters.names[c]: theta[:, c] for c in supplied}
        given = as_measured(coefficients, amplitude)
        return estimator.estimate(given, known or None).theta[:, list(columns)]

    return estimate
