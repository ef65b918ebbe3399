"""Maps from a trained network, with the uncertainty of that network and a sign of distrust."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.network.nuisances import least_squares_scale, refine_nuisances
from bids_brnn.estimators.voxels import (
    Progress,
    blocks,
    check_data,
    known_values,
    real_dtype,
    take,
    usable_voxels,
    within_bounds,
)
from bids_brnn.information.bounds import covariance
from bids_brnn.information.noise import residual_noise
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

Precision = Literal["float32", "bf16"]
Spread = Literal["jacobian", "bound", "none"]

_FORWARD_NUMBERS = 2**22
"""Activations of one layer per block: bounds the memory (16 MB per layer in float32)."""
_MULTIPLE = 64
"""Blocks are padded to multiples of this, so that the arithmetic of a voxel does not depend on
how many others are in its block."""


class NetworkSpecLike(Protocol):
    """What an estimator needs to know about a network."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the parameters that the network returns."""

    @property
    def supplied(self) -> tuple[str, ...]:
        """Names of known parameters that are inputs."""

    @property
    def n_coefficients(self) -> int:
        """Complex values per voxel."""


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


@dataclass(frozen=True, eq=False)
class NetworkEstimator:
    """Estimate parameters with a trained network.

    Parameters that the network does not return and that are not supplied take their start value;
    nuisances are then fitted to the signal (:mod:`bids_brnn.estimators.network.nuisances`).
    Estimates are clipped to the bounds of the model's parameters.

    ``quality`` holds ``(V,)`` maps: ``distance``, how far the voxel lies from what the network was
    trained on, 1 being the most remote percent of its training data (the larger of two
    measures: residual at the estimate, and squared standardised inputs); a map with
    ``distance > 1`` should not be trusted there.
    """

    network: TrainedNetwork
    model: SignalModel
    """Signal model of the same coefficients; gives M0, residual and bounds. The zoo gives a
    surrogate, which is nearly as fast as the network."""
    rotation: Tensor | None = None
    """``(R', R)``: turns coefficients of another basis of the same span into those of training."""
    precision: Precision = "float32"
    """Of the hidden blocks; see the card of a model for the error of ``bf16``."""
    spread: Spread = "jacobian"
    """``std``: noise propagated through the Jacobian of the network (the standard deviation of
    this estimator; of nuisances, that of the network's own output), the Cramer-Rao bound at the
    estimate, or none."""
    lowest_snr: float = 10.0
    """Lowest SNR in training: without ``sigma`` a residual that such noise explains is no reason
    for distrust."""
    typical_residual: float = 0.0
    """99th percentile of the residual that is not noise in training (model errors)."""
    typical_inputs: float = 0.0
    """99th percentile of the mean squared standardised input in training; 0: not used."""
    nuisance_steps: int = 1
    """Gauss-Newton steps; a second one lowers residuals little and halves the speed."""
    block_size: int | None = None
    """Voxels per block; by default as many as fit a fixed amount of memory."""
    name: str = field(default="brnn", init=False)

    def __post_init__(self) -> None:
        self.parameters.index(self.network.spec.outputs)
        self.parameters.index(self.network.spec.supplied)
        if self.network.spec.n_coefficients != self.model.n_samples:
            raise DataError(
                f"the network takes {self.network.spec.n_coefficients} coefficients, the signal "
                f"model makes {self.model.n_samples}"
            )
        if self.block_size is not None and self.block_size < 1:
            raise DataError("block_size must be at least 1")

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the signal model."""
        return self.model.parameters

    @property
    def n_values(self) -> int:
        """Complex values per voxel of the data."""
        return self.model.n_samples if self.rotation is None else int(self.rotation.shape[0])

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
        progress: Progress | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex; see ``estimators.base``.

        Raises
        ------
        DataError
            If the data have another number of coefficients, or a supplied map another length.
        ParameterError
            If a supplied map belongs to no parameter.
        """
        check_data(data, self.n_values)
        known = known_values(self.parameters, supplied, data)
        usable = usable_voxels(data) & within_bounds(self.parameters, known, data)
        noise = None if sigma is None else torch.as_tensor(sigma).to(data.device, torch.float32)
        maps = _Maps(data, len(self.parameters), with_std=self.spread != "none")
        size = self.block_size or max(_MULTIPLE, _FORWARD_NUMBERS // 512)
        for rows in blocks(data.shape[0], size):
            index = torch.nonzero(usable[rows])[:, 0] + rows.start
            if len(index):
                values = {column: take(values, index).float() for column, values in known.items()}
                level = None if noise is None else take(noise.reshape(-1), index)
                self._block(maps, index, data[index], values, level)
            if progress is not None:
                progress(rows.stop, data.shape[0])
        return maps.result()

    def _block(
        self,
        maps: _Maps,
        index: Tensor,
        data: Tensor,
        known: Mapping[int, Tensor],
        sigma: Tensor | None,
    ) -> None:
        coefficients, size = _rotated(data, self.rotation)
        theta, inputs = self._theta(coefficients, known)
        nuisances = [c for c in self.parameters.columns("nuisance") if c not in known]
        theta, signal = refine_nuisances(
            self.model, coefficients, theta, nuisances, steps=self.nuisance_steps
        )
        m0, rest = least_squares_scale(signal, coefficients)
        if sigma is None:
            sigma = residual_noise(rest, signal.shape[-1], len(self._free(known)))
            noise = m0.abs() / self.lowest_snr
        else:
            sigma = noise = sigma / size
        std = self._std(coefficients, theta, known, m0, sigma) if maps.std is not None else None
        distance = self._distance(inputs, rest, noise)
        maps.put(index, theta, m0 * size, rest, std, distance)

    def _free(self, known: Mapping[int, Tensor]) -> list[int]:
        wanted = self.parameters.columns("estimated", "nuisance")
        return [column for column in wanted if column not in known]

    def _theta(self, coefficients: Tensor, known: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Parameters ``(v, P)`` within their bounds, and the inputs of the network."""
        names = self.parameters.names
        padding = -len(coefficients) % _MULTIPLE
        padded = torch.cat([coefficients, coefficients[-1:].expand(padding, -1)])
        extra = {
            names[column]: torch.cat([values, values[-1:].expand(padding)])
            for column, values in known.items()
        }
        with torch.no_grad(), self._arithmetic(coefficients):
            inputs = self.network.prepare(padded, self._inputs_known(extra, padded))
            outputs = self.network(inputs).float()[: len(coefficients)]
        theta = self.parameters.start(outputs).repeat(len(outputs), 1)
        theta[:, self.parameters.index(self.network.spec.outputs)] = outputs
        for column, values in known.items():
            theta[:, column] = values
        lower, upper = self.parameters.bounds(theta)
        return theta.clamp(lower, upper), inputs[: len(coefficients)]

    def _inputs_known(self, extra: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """Values of the supplied inputs; a nuisance that the network needs has a start value."""
        return {
            name: extra.get(name, like.real.new_full(like.shape[:1], self.parameters[name].start))
            for name in self.network.spec.supplied
        }

    def _arithmetic(self, like: Tensor) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(like.device.type, torch.bfloat16)

    def _std(
        self,
        coefficients: Tensor,
        theta: Tensor,
        known: Mapping[int, Tensor],
        m0: Tensor,
        sigma: Tensor,
    ) -> Tensor:
        """Standard deviations ``(v, P)``; 0 where supplied, NaN where the network says nothing."""
        std = torch.full_like(theta, torch.nan)
        if self.spread == "bound":
            free = self._free(known)
            bound = self.bound(theta, free)
            std[:, free] = bound.sqrt() * (sigma / m0.abs())[:, None]
        else:
            std[:, self.parameters.index(self.network.spec.outputs)] = (
                self._propagated(coefficients, known) * sigma[:, None]
            )
        for column in known:
            std[:, column] = 0
        return std

    def bound(self, theta: Tensor, free: list[int]) -> Tensor:
        """Cramer-Rao bound ``(v, len(free))`` at M0 = 1 and noise of sd 1 per channel."""
        signal, derivatives = self.model.linearize(theta)
        bound: Tensor = covariance(signal, derivatives[..., free]).diagonal(dim1=-2, dim2=-1)
        result: Tensor = bound.to(theta)
        return result

    def _propagated(self, coefficients: Tensor, known: Mapping[int, Tensor]) -> Tensor:
        """``(v, outputs)``: norm of the gradient with respect to all noise channels."""
        channels = torch.view_as_real(coefficients).detach().requires_grad_()
        names = self.parameters.names
        extra = {names[column]: values for column, values in known.items()}
        with torch.enable_grad():
            turned = torch.view_as_complex(channels)
            inputs = self.network.prepare(turned, self._inputs_known(extra, turned))
            outputs = self.network(inputs)
            columns = [
                torch.autograd.grad(outputs[:, column].sum(), channels, retain_graph=True)[0]
                for column in range(outputs.shape[-1])
            ]
        return torch.stack([column.square().sum((-1, -2)).sqrt() for column in columns], dim=-1)

    def _distance(self, inputs: Tensor, rest: Tensor, sigma: Tensor) -> Tensor:
        """1 at the 99th percentile of the training data; ``rest`` and ``sigma`` are relative."""
        channels = 2 * self.model.n_samples
        expected = (sigma**2 * channels + self.typical_residual**2).sqrt()
        # A chi distribution with this many channels rarely exceeds its root mean square by more.
        limit = expected * (1 + 1.65 / channels**0.5)
        distance: Tensor = rest / limit.clamp_min(torch.finfo(rest.dtype).tiny)
        if self.typical_inputs > 0:
            level = self.network.standardised(inputs).square().mean(-1)
            distance = torch.maximum(distance, (level / self.typical_inputs).sqrt())
        return distance


def _rotated(data: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
    """Coefficients of unit norm in the basis of training (complex64), and their norms."""
    size = data.abs().square().sum(-1).sqrt()
    unit = (data / size[:, None]).to(torch.complex64)
    if rotation is not None:
        unit = unit @ rotation.to(unit)
    return unit, size.to(torch.float32)


class _Maps:
    """Result of all voxels, NaN until a block fills its rows."""

    def __init__(self, data: Tensor, n_parameters: int, *, with_std: bool) -> None:
        real = torch.full((data.shape[0],), torch.nan, dtype=real_dtype(data), device=data.device)
        self.theta = real[:, None].repeat(1, n_parameters)
        self.std = self.theta.clone() if with_std else None
        self.residual, self.distance = real.clone(), real.clone()
        self.m0 = torch.complex(real, real)

    def put(
        self,
        index: Tensor,
        theta: Tensor,
        m0: Tensor,
        residual: Tensor,
        std: Tensor | None,
        distance: Tensor,
    ) -> None:
        self.theta[index] = theta.to(self.theta)
        self.m0[index] = m0.to(self.m0)
        self.residual[index] = residual.to(self.residual)
        self.distance[index] = distance.to(self.distance)
        if self.std is not None and std is not None:
            self.std[index] = std.to(self.std)

    def result(self) -> Estimate:
        return Estimate(self.theta, self.m0, self.residual, self.std, {"distance": self.distance})
