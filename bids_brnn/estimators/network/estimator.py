"""Maps from a trained network, with the uncertainty of that network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.base import Estimate, Progress
from bids_brnn.estimators.checkpoint import Checkpoint, run_key
from bids_brnn.estimators.network.base import ErrorModel, TrainedNetwork
from bids_brnn.estimators.network.devices import on_device
from bids_brnn.estimators.network.distrust import Distrust, Findings
from bids_brnn.estimators.network.nuisances import least_squares_scale, refine_nuisances
from bids_brnn.estimators.network.scaling import unit_coefficients, with_known
from bids_brnn.estimators.network.spread import bounded, propagated, with_spread
from bids_brnn.estimators.results import Results
from bids_brnn.estimators.voxels import (
    check_data,
    known_spreads,
    known_values,
    noise_levels,
    take,
    voxels_to_estimate,
)
from bids_brnn.information.noise import degrees_of_freedom, residual_noise
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import Amplitude, SignalModel

Precision = Literal["float32", "bf16"]
Spread = Literal["learnt", "jacobian", "bound", "none"]

_FORWARD_NUMBERS = 2**22
"""Activations of one layer per block: bounds the memory (16 MB per layer in float32)."""
_QUALITY: Mapping[str, torch.dtype | None] = {"distance": None, "edge": torch.int32}
_MULTIPLE = 64
"""Blocks are padded to multiples of this, so that the arithmetic of a voxel does not depend on
how many others are in its block."""


@dataclass(frozen=True, eq=False)
class NetworkEstimator:
    """Estimate parameters with a trained network.

    Parameters that the network does not return and that are not supplied take their start value;
    nuisances are then fitted to the signal (:mod:`bids_brnn.estimators.network.nuisances`).
    Estimates are clipped to the bounds of the model's parameters.

    ``quality`` holds ``(V,)`` maps: ``edge``, 1 where a value lies beyond ``support``, and
    ``distance``, how far the voxel lies from what the network was
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
    """``std``: what the network of ``errors`` says (nothing of nuisances), noise propagated
    through the Jacobian of the network (of nuisances, that of the network's own output), the
    Cramer-Rao bound at the estimate, or none."""
    std_kind: str = "std"
    """What the deviations are: root mean square errors of a network with bias."""
    errors: ErrorModel | None = None
    """What knows the errors of the network, for ``spread="learnt"``."""
    error_names: tuple[str, ...] = ()
    """Its outputs."""
    exact: SignalModel | None = None
    """Signal model of the data, for voxels whose residual the surrogate and noise do not explain;
    needs ``errors``."""
    lowest_snr: float = 10.0
    """Lowest SNR in training: without ``sigma`` a residual that such noise explains is no reason
    for distrust."""
    support: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and largest value of parameters in training."""
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
        if self.spread == "learnt" and self.errors is None:
            raise DataError('there is no network of errors; use spread="jacobian"')
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
        checkpoint: Checkpoint | None = None,
        spread: Mapping[str, Tensor] | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex, in float32 or below.

        See :meth:`Estimator.estimate <bids_brnn.estimators.base.Estimator.estimate>`; ``spread``
        holds the standard deviation ``(V,)`` of supplied values by name, and what these change of
        the outputs is part of the deviations.

        Raises
        ------
        DataError
            If the data have another number of coefficients, or a supplied map another length.
        ParameterError
            If a supplied map belongs to no parameter.
        """
        check_data(data, self.n_values)
        known = known_values(self.parameters, supplied, data)
        noise = noise_levels(sigma, data)
        unsure = known_spreads(self.parameters, spread, known, data)
        voxels = voxels_to_estimate(self.parameters, known, data)
        here = self._on(data.device)
        key = (
            ""
            if checkpoint is None
            else run_key(
                self,
                data,
                known,
                noise,
                *(part for item in sorted(unsure.items()) for part in item),
            )
        )
        results = Results(
            data,
            len(self.parameters),
            _QUALITY,
            with_std=self.spread != "none",
            with_covariance=self._tells_covariance,
        )
        size = self.block_size or max(_MULTIPLE, _FORWARD_NUMBERS // 512)
        edges = torch.arange(0, len(data), size, device=data.device)[1:]
        blocks = voxels.tensor_split(torch.searchsorted(voxels, edges).cpu())
        for _, block in results.remaining(blocks, progress, checkpoint, key):
            values = {column: take(values, block) for column, values in known.items()}
            spreads = {column: take(values, block) for column, values in unsure.items()}
            maps = here._estimate_block(data[block], values, take(noise, block), spreads)
            results.put(block, maps)
        return replace(results.estimate(), std_kind=self.std_kind)

    def covariance(
        self, data: Tensor, supplied: Mapping[str, Tensor] | None = None, *, sigma: float | Tensor
    ) -> Tensor:
        """Covariance of the errors of ``error_names``, ``(V, O, O)``, as the network learnt it.

        Parameters
        ----------
        data, supplied
            As for :meth:`estimate`; every voxel must be usable.
        sigma
            Noise standard deviation per channel, scalar or ``(V,)``.

        Raises
        ------
        DataError
            If the network has not learnt its errors, or the data do not fit.
        """
        if self.errors is None:
            raise DataError("this network has not learnt its errors; train it with brnn train")
        check_data(data, self.n_values)
        here = self._on(data.device)
        known = {c: v.float() for c, v in known_values(self.parameters, supplied, data).items()}
        coefficients, size = unit_coefficients(data, self.rotation, self.amplitude)
        wide = {column: values.expand(len(data)) for column, values in known.items()}
        features = here._theta(coefficients, wide)[2]
        noise = (noise_levels(sigma, data).expand(len(data)).to(size.dtype) / size).float()
        with torch.no_grad():
            found: Tensor = here.errors.covariance(features, noise)  # type: ignore[union-attr]
        return found

    @cached_property
    def _copies(self) -> dict[torch.device, NetworkEstimator]:
        return {}

    def _on(self, device: torch.device) -> NetworkEstimator:
        """The same estimator with its weights on ``device``."""
        if device not in self._copies:
            parts = {"network": self.network, "model": self.model, "errors": self.errors}
            moved = {name: on_device(part, device) for name, part in parts.items()}
            self._copies[device] = replace(self, **moved)  # type: ignore[arg-type]
        return self._copies[device]

    def _estimate_block(
        self,
        data: Tensor,
        known: Mapping[int, Tensor],
        noise: Tensor,
        spread: Mapping[int, Tensor],
    ) -> dict[str, Tensor]:
        """Maps of the voxels ``data`` ``(v, R)``; ``noise`` ``(v,)`` is 0 where not known."""
        coefficients, size = unit_coefficients(data, self.rotation, self.amplitude)
        narrow = {column: values.float() for column, values in known.items()}
        theta, inputs, features = self._theta(coefficients, narrow)
        nuisances = [c for c in self.parameters.columns("nuisance") if c not in known]
        theta, signal = refine_nuisances(
            self.model, coefficients, theta, nuisances, steps=self.nuisance_steps
        )
        m0, rest = least_squares_scale(signal, coefficients, self.amplitude)
        sigma = (noise.to(size.dtype) / size).float()
        free = self._free(known)
        found = Findings(coefficients, theta, m0, rest, sigma, inputs, features, tuple(free))
        maps = {
            "theta": with_known(theta, known),
            "m0": m0.to(data.dtype) * size,
            "residual": rest / coefficients.abs().square().sum(-1).sqrt(),
            "distance": self._distrust.distance(found),
        }
        if self.spread != "none":
            degrees = degrees_of_freedom(self.amplitude, signal.shape[-1], len(free))
            told = torch.where(sigma > 0, sigma, residual_noise(rest, degrees))
            std = self._std(coefficients, theta, narrow, m0, told, features)
            moved = self._moved(coefficients, narrow, spread)
            maps["std"] = with_spread(std, moved)
            if self._tells_covariance:
                maps["covariance"] = self._covariance(features, told, moved)
        maps["edge"] = self._distrust.edge(theta, maps.get("std"))
        return maps

    @property
    def amplitude(self) -> Amplitude:
        """What is unknown of M0 in the data."""
        return self.network.spec.scale

    @property
    def _tells_covariance(self) -> bool:
        """Whether maps that follow from several parameters are to have a deviation."""
        return self.spread == "learnt" and self.parameters.needs_covariance

    def _covariance(self, features: Tensor, sigma: Tensor, moved: Sequence[Tensor]) -> Tensor:
        """``(v, P, P)``: of the errors that the network tells, and of what is supplied."""
        columns = torch.tensor(self.parameters.index(self.error_names), device=sigma.device)
        n = len(self.parameters)
        found = sigma.new_zeros((len(sigma), n, n))
        with torch.no_grad():
            found[:, columns[:, None], columns] = self.errors.covariance(  # type: ignore[union-attr]
                features, sigma
            )
        for change in moved:
            found += change[:, :, None] * change[:, None, :]
        return found

    def _moved(
        self, coefficients: Tensor, known: Mapping[int, Tensor], spread: Mapping[int, Tensor]
    ) -> list[Tensor]:
        """What one standard deviation of each supplied value changes, itself included ``(v, P)``.

        Half of the difference of the estimates above and below.
        """
        outputs = list(self.parameters.index(self.network.spec.outputs))
        changes = []
        for column, std in spread.items():
            sides = [
                self._theta(coefficients, {**known, column: known[column] + sign * std.float()})[0]
                for sign in (1, -1)
            ]
            change = torch.zeros_like(sides[0])
            change[:, outputs] = (sides[0] - sides[1])[:, outputs] / 2
            for other in known:
                change[:, other] = 0
            change[:, column] = std.float()
            changes.append(change)
        return changes

    @cached_property
    def _distrust(self) -> Distrust:
        parts = [item.name for item in fields(Distrust)]
        return Distrust(**{name: getattr(self, name) for name in parts})

    def _free(self, known: Mapping[int, Tensor]) -> list[int]:
        wanted = self.parameters.columns("estimated", "nuisance")
        return [column for column in wanted if column not in known]

    def _theta(
        self, coefficients: Tensor, known: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Parameters ``(v, P)`` within their bounds, and inputs and features of the network."""
        names = self.parameters.names
        padding = -len(coefficients) % _MULTIPLE
        padded = torch.cat([coefficients, coefficients[-1:].expand(padding, -1)])
        extra = {
            names[column]: torch.cat([values, values[-1:].expand(padding)])
            for column, values in known.items()
        }
        with torch.no_grad(), self._arithmetic(coefficients):
            inputs = self.network.prepare(padded, self._inputs_known(extra, padded))
            if self.errors is not None:
                outputs, features = self.network.with_features(inputs)
            else:
                outputs, features = self.network(inputs), inputs
        outputs = outputs.float()[: len(coefficients)]
        theta = self.parameters.start(outputs).repeat(len(outputs), 1)
        theta[:, self.parameters.index(self.network.spec.outputs)] = outputs
        for column, values in known.items():
            theta[:, column] = values
        lower, upper = self.parameters.bounds(theta)
        n = len(coefficients)
        return theta.clamp(lower, upper), inputs[:n], features[:n]

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
        features: Tensor,
    ) -> Tensor:
        """Standard deviations ``(v, P)``; 0 where supplied, NaN where the network says nothing."""
        std = torch.full_like(theta, torch.nan)
        if self.spread == "learnt" and self.errors is not None:
            with torch.no_grad():
                std[:, self.parameters.index(self.error_names)] = self.errors.deviations(
                    features, sigma
                )
        elif self.spread == "bound":
            free = self._free(known)
            relative = (sigma / m0.abs())[:, None]
            std[:, free] = bounded(self.model, theta, free, self.amplitude) * relative
        else:
            outputs = self.parameters.index(self.network.spec.outputs)
            std[:, outputs] = self._propagated(coefficients, known) * sigma[:, None]
        for column in known:
            std[:, column] = 0
        return std

    def _propagated(self, coefficients: Tensor, known: Mapping[int, Tensor]) -> Tensor:
        """Standard deviations of the outputs ``(v, outputs)`` at noise of sd 1 per channel."""
        names = self.parameters.names
        extra = {names[column]: values for column, values in known.items()}

        def forward(coefficients: Tensor) -> Tensor:
            inputs = self.network.prepare(coefficients, self._inputs_known(extra, coefficients))
            return self.network(inputs)

        return propagated(forward, coefficients)
