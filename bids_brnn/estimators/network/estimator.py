"""Maps from a trained network, with the uncertainty of that network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.ahead import ahead, cut, threads_for
from bids_brnn.estimators.base import Estimate, Progress
from bids_brnn.estimators.checkpoint import Checkpoint, run_key
from bids_brnn.estimators.network.base import ErrorModel, TrainedNetwork
from bids_brnn.estimators.network.devices import on_device, precision_on
from bids_brnn.estimators.network.distrust import Distrust
from bids_brnn.estimators.network.findings import Findings, find, joined
from bids_brnn.estimators.network.forward import Forward, Precision
from bids_brnn.estimators.network.heard import heard_values, refuse_unheard
from bids_brnn.estimators.network.scaling import unit_coefficients, whole_norm, with_known
from bids_brnn.estimators.network.spread import bounded, moved_by, with_causes, with_spread
from bids_brnn.estimators.results import Results
from bids_brnn.estimators.voxels import (
    check_data,
    known_spreads,
    noise_levels,
    take,
    voxels_to_estimate,
)
from bids_brnn.information.noise import residual_noise
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import Amplitude, SignalModel

Spread = Literal["learnt", "jacobian", "bound", "none"]

_TOGETHER = 4096
"""Voxels that go through the networks together: activations of a layer stay in the cache."""
_BLOCK, _LEAST = 8 * _TOGETHER, 1024
"""Most and least voxels of a block on each thread. Those of a block that need exact signals are
tested together: an evaluation of few takes as long as of many."""
_QUALITY: Mapping[str, torch.dtype | None] = {"distance": None, "edge": torch.int32}


@dataclass(frozen=True, eq=False)
class NetworkEstimator:
    """Estimate parameters with a trained network.

    What can be supplied are the inputs of the network (:meth:`takes`); one that is not supplied,
    and a parameter that the network does not return, takes its start value;
    nuisances are then fitted to the signal (:mod:`bids_brnn.estimators.network.nuisances`).
    Estimates are clipped to the bounds of the model's parameters.

    ``quality`` holds ``(V,)`` maps: ``edge``, 1 where a value, or a nuisance that explains the
    data, lies beyond ``support``, and ``distance`` from what the network was trained on; above 1 a
    map should not be trusted there (:mod:`bids_brnn.estimators.network.distrust`).
    """

    network: TrainedNetwork
    model: SignalModel
    """Of the same coefficients, for M0, residual and bounds; from the zoo, a surrogate."""
    rotation: Tensor | None = None
    """``(R', R)``: turns coefficients of another basis of the same span into those of training."""
    precision: Precision = "float32"
    """Of the hidden blocks; see the card of a model for the error of ``bf16``, which is used on
    devices that have arithmetic for it."""
    spread: Spread = "jacobian"
    """``std``: what the network of ``errors`` says (nothing of nuisances), noise propagated by the
    Jacobian of the network (of its outputs only), the bound at the estimate, or none."""
    std_kind: str = "std"
    """What the deviations are: root mean square errors of a network with bias."""
    errors: ErrorModel | None = None
    """What knows the errors of the network, for ``spread="learnt"``."""
    error_names: tuple[str, ...] = ()
    """Its outputs."""
    exact: SignalModel | None = None
    """Of the data, for residuals that ``model`` and noise do not explain; needs ``errors``."""
    lowest_snr: float = 10.0
    """Lowest SNR in training: without ``sigma`` a residual that such noise explains is no reason
    for distrust."""
    least_signal: float = 0.0
    """1st percentile of the norm of signals in training, for M0 of 1; 0: not known."""
    support: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and largest value of parameters in training."""
    typical_residual: float = 0.0
    """99th percentile of the residual that is not noise in training (model errors)."""
    typical_inputs: float = 0.0
    """99th percentile of the mean squared standardised input in training; 0: not used."""
    freedom: float | None = None
    """Effective ones of a residual, where those of the series told the noise; None: white."""
    nuisance_steps: int = 1
    """Gauss-Newton steps; a second one lowers residuals little."""
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
        told = self.network.spec.outputs
        known_only = self.parameters.select("supplied").names
        refuse_unheard(self.network.spec, [name for name in known_only if name in told])
        for what, word, known in (
            ("spread", self.spread, get_args(Spread)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if word not in known:
                raise DataError(f'{what} "{word}" is unknown; use {", ".join(known)}')
        if self.spread == "learnt" and self.errors is None:
            raise DataError('there is no network of errors; use spread="jacobian"')
        if self.block_size is not None and self.block_size < 1:
            raise DataError("block_size must be at least 1")

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the signal model."""
        return self.model.parameters

    def takes(self, name: str) -> bool:
        """Whether a parameter can be supplied: estimates follow what is an input, and no other."""
        return name in self.network.spec.supplied

    def _known(self, data: Tensor, supplied: Mapping[str, Tensor] | None) -> dict[int, Tensor]:
        return heard_values(self.network.spec, self.parameters, supplied, data)

    @property
    def _block(self) -> int:
        return self.block_size or _BLOCK

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
        test_noise: Tensor | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
        spread: Mapping[str, Tensor] | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex, in float32 or below.

        ``test_noise`` ``(V,)`` takes the place of ``sigma`` in the test of the residual;
        ``spread`` holds the standard deviation ``(V,)`` of supplied values by name, and what these
        change of the outputs is part of the deviations. See
        :meth:`Estimator.estimate <bids_brnn.estimators.base.Estimator.estimate>`.

        Raises
        ------
        DataError
            If the data have another number of coefficients, a supplied map has another length, or
            the network has no input for it (:meth:`takes`).
        ParameterError
            If a supplied map belongs to no parameter.
        """
        check_data(data, self.n_values)
        known = self._known(data, supplied)
        noise = noise_levels(sigma, data)
        tested = noise if test_noise is None else noise_levels(test_noise, data)
        unsure = known_spreads(self.parameters, spread, known, data)
        voxels = voxels_to_estimate(self.parameters, known, data)
        here = self._on(data.device)
        parts = (part for item in sorted(unsure.items()) for part in item)
        key = "" if checkpoint is None else run_key(self, data, known, noise, tested, *parts)
        results = Results(
            data, len(self.parameters), _QUALITY,
            with_std=self.spread != "none", with_covariance=self._tells_covariance,
        )  # fmt: skip
        distrust = here._distrust  # one for all threads
        blocks = cut(voxels, len(data), self._block, _LEAST)

        def maps_of(block: Tensor) -> dict[str, Tensor]:
            parts = []
            for rows in block.split(_TOGETHER):
                given, spreads = (
                    {column: take(values, rows) for column, values in held.items()}
                    for held in (known, unsure)
                )
                levels = take(noise, rows), take(tested, rows)
                parts.append(here._maps(data[rows], given, *levels, spreads))
            maps = {name: torch.cat([part[name] for part, _ in parts]) for name in parts[0][0]}
            found = joined([found for _, found in parts])
            maps["distance"], beyond = distrust.distance(found)
            maps["edge"] |= beyond
            return maps

        with ahead(maps_of, blocks, threads_for(data.device)) as found:
            for number, block in results.remaining(blocks, progress, checkpoint, key):
                results.put(block, found(number))
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
            If the network has not learnt its errors, the data or what is supplied do not fit, or
            ``sigma`` is not above 0.
        """
        if self.errors is None:
            raise DataError("this network has not learnt its errors; train it with brnn train")
        check_data(data, self.n_values)
        here = self._on(data.device)
        known = self._known(data, supplied)
        coefficients, size = unit_coefficients(data, self.rotation, self.amplitude)
        wide = {c: v.float().expand(len(data)) for c, v in known.items()}
        features = here._forward(coefficients, wide)[2]
        level = noise_levels(sigma, data)
        if not bool((level > 0).all()):
            raise DataError("errors follow from the noise: give a sigma above 0 for every voxel")
        noise = (level.expand(len(data)).to(size.dtype) / size).float()
        with torch.no_grad():
            found: Tensor = here.errors.covariance(features, noise)  # type: ignore[union-attr]
        return found

    @cached_property
    def _copies(self) -> dict[torch.device, NetworkEstimator]:
        return {}

    def _on(self, device: torch.device) -> NetworkEstimator:
        """The same estimator with its weights on ``device``, and in arithmetic that it has."""
        if device not in self._copies:
            names = ("network", "model", "errors", "exact")
            moved = {name: on_device(getattr(self, name), device) for name in names}
            precision = precision_on(device, self.precision)
            self._copies[device] = replace(self, precision=precision, **moved)
        return self._copies[device]

    def _found(
        self, data: Tensor, known: Mapping[int, Tensor], noise: Tensor
    ) -> tuple[Findings, Tensor]:
        """What is found of ``data`` ``(v, R)``, and their norms."""
        unit = unit_coefficients(data, self.rotation, self.amplitude)
        found = find(
            self._forward, self.model, unit, known, noise, self.amplitude,
            steps=self.nuisance_steps, half=self.precision == "bf16",
        )  # fmt: skip
        return found, unit[1]

    def _maps(
        self,
        data: Tensor,
        known: Mapping[int, Tensor],
        noise: Tensor,
        test_noise: Tensor,
        spread: Mapping[int, Tensor],
    ) -> tuple[dict[str, Tensor], Findings]:
        """Maps of the voxels ``data`` ``(v, R)``, and what is to be tested in ``test_noise``.

        Noise ``(v,)`` is 0 where not known.
        """
        narrow = {column: values.float() for column, values in known.items()}
        found, size = self._found(data, narrow, noise)
        tested = replace(found, sigma=(test_noise.to(size.dtype) / size).float())
        maps = {
            "theta": with_known(found.theta, known),
            "m0": found.m0.to(data.dtype) * size,
            "residual": found.rest / whole_norm(found.coefficients, self.amplitude),
        }
        if self.spread != "none":
            told = residual_noise(found.rest, self._distrust.degrees(found))
            sigma = torch.where(found.sigma > 0, found.sigma, told)
            moved = moved_by(
                lambda values: self._forward(found.coefficients, values)[0],
                narrow,
                spread,
                self.parameters.index(self.network.spec.outputs),
            )
            maps["std"] = with_spread(self._std(replace(found, sigma=sigma), narrow), moved)
            if self._tells_covariance:
                with torch.no_grad():
                    own = self.errors.covariance(found.features, sigma)  # type: ignore[union-attr]
                columns = self.parameters.index(self.error_names)
                maps["covariance"] = with_causes(own, columns, moved, len(self.parameters))
        maps["edge"] = self._distrust.edge(found.theta, maps.get("std"))
        return maps, tested

    @property
    def amplitude(self) -> Amplitude:
        """What is unknown of M0 in the data."""
        return self.network.spec.scale

    def norms(self, data: Tensor) -> Tensor:
        """``(V,)``: what residuals of ``data`` ``(V, R)`` are relative to."""
        coefficients, size = unit_coefficients(data, self.rotation, self.amplitude)
        return size * whole_norm(coefficients, self.amplitude)

    @property
    def looks_for_fluid(self) -> bool:
        """Whether the minimum of fluid can be looked for among its valleys of off-resonance."""
        return self._distrust.looks_for_fluid

    @property
    def _tells_covariance(self) -> bool:
        """Whether maps that follow from several parameters are to have a deviation."""
        return self.spread == "learnt" and self.parameters.needs_covariance

    def residual_energy(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float,
        scan: bool = False,
        fluid: bool = False,
    ) -> Tensor:
        """Squared norm ``(V,)`` of what the exact signal at the estimate leaves of ``data``.

        What the errors of the network explain at noise ``sigma`` is taken out, as least squares
        would; NaN where nothing can be estimated. With ``scan`` from other starts too. With
        ``fluid`` it is what fluid leaves at its minimum (``sigma``: the noise, or a little more),
        times the share that a fit of all parameters would leave of it.
        """
        check_data(data, self.n_values)
        known = self._known(data, supplied)
        here = self._on(data.device)
        energy = torch.full(data.shape[:1], torch.nan, dtype=torch.float64, device=data.device)

        def energy_of(block: Tensor) -> Tensor:
            values = {column: take(values, block).float() for column, values in known.items()}
            found, _ = here._found(data[block], values, data.real.new_full(block.shape, sigma))
            if fluid:
                return distrust.fluid(found) * sigma**2
            rows = torch.arange(len(block), device=data.device)
            return distrust.statistic(found, found.sigma, rows, scan=scan)[0] * sigma**2

        distrust = here._distrust
        voxels = voxels_to_estimate(self.parameters, known, data)
        whole = cut(voxels, len(data), min(_TOGETHER, self._block), _LEAST)
        blocks = [block for block in whole if len(block)]
        with ahead(energy_of, blocks, threads_for(data.device)) as found:
            for number, block in enumerate(blocks):
                energy[block] = found(number)
        return energy

    @cached_property
    def _forward(self) -> Forward:
        return Forward(self.network, self.parameters, self.precision, self.errors is not None)

    @cached_property
    def _distrust(self) -> Distrust:
        parts = [item.name for item in fields(Distrust)]
        return Distrust(**{name: getattr(self, name) for name in parts})

    def _std(self, found: Findings, known: Mapping[int, Tensor]) -> Tensor:
        """Standard deviations ``(v, P)``; 0 where supplied, NaN where the network says nothing."""
        theta, sigma = found.theta, found.sigma
        std = torch.full_like(theta, torch.nan)
        if self.spread == "learnt" and self.errors is not None:
            with torch.no_grad():
                std[:, self.parameters.index(self.error_names)] = self.errors.deviations(
                    found.features, sigma
                )
        elif self.spread == "bound":
            free = list(found.free)
            relative = (sigma / found.m0.abs())[:, None]
            std[:, free] = bounded(self.model, theta, free, self.amplitude) * relative
        else:
            outputs = self.parameters.index(self.network.spec.outputs)
            std[:, outputs] = self._forward.propagated(found.coefficients, known) * sigma[:, None]
        for column in known:
            std[:, column] = 0
        return std
