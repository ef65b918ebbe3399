"""When to distrust what a network says of a voxel: the data are unlike training, or the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock

import torch
from torch import Tensor

from bids_brnn.estimators.network.base import ErrorModel, TrainedNetwork
from bids_brnn.estimators.network.corrected import Corrected
from bids_brnn.estimators.network.findings import Findings
from bids_brnn.estimators.network.fit_test import fit_statistic
from bids_brnn.estimators.network.fluid import Fluid
from bids_brnn.estimators.network.lowest import Task
from bids_brnn.estimators.network.scaling import turned
from bids_brnn.estimators.network.search import HOPELESS, Estimates, Search
from bids_brnn.estimators.network.usual import Usual
from bids_brnn.estimators.series_noise import WHITE, chi_squared_limit, chi_squared_quantile
from bids_brnn.information.noise import degrees_of_freedom
from bids_brnn.signals.base import SignalModel, free_pool_of, train_duration

_ONE_SIDED = 1.645
"""Standard deviations that one estimate in twenty exceeds to one side."""
_WEAKER = 1.5
"""By which a signal at the lowest SNR of training may seem too weak. With 1.25, 1.5, 2 and 3 of
voxels of mere noise in series of tissue (SNR 10 and 40) qmt-demo flags 100, 100, 99.6 and 93 %,
qmt-invivo all; of tissue at SNR 10 as many as with any."""
_NONE_LEFT = 1.0
"""Chi-squared that no fluid leaves: least squares go on to the minimum."""
_USUAL = 0.9
"""Share of the minima of fluid beyond which another one is looked for. If always, the level that
fluid tells is 4 and 2.5 % too low at SNR 10 and 20 (qmt-demo); so it is 1 % too low and right."""
_EXACT = 2**17
"""Samples of exact signals that are computed together, times their derivatives."""
_LOCK = Lock()


@dataclass(frozen=True, eq=False)
class Distrust:
    """Distance from training, and values beyond it; parts as in ``NetworkEstimator``."""

    network: TrainedNetwork
    model: SignalModel
    rotation: Tensor | None
    errors: ErrorModel | None
    error_names: tuple[str, ...]
    exact: SignalModel | None
    lowest_snr: float
    least_signal: float
    """Norm of the weakest signals of training for M0 of 1; 0 where that is not known."""
    support: Mapping[str, tuple[float, float]]
    typical_residual: float
    typical_inputs: float
    freedom: float | None
    precision: str

    def distance(self, found: Findings) -> tuple[Tensor, Tensor]:
        """Distance ``(v,)`` from what the network was trained on; above 1 do not trust.

        Where the noise and the exact signal are known, by the chi-squared of the residual: inputs
        that are rare in training and that noise explains are no reason. Elsewhere by a residual
        that no noise of training explains, and by inputs beyond those of training.

        Also returned is ``(v,)`` int32: 1 where the test explains the data by nuisances beyond
        those of training. What a network estimates there may lie anywhere, within training too.
        """
        known_noise = found.sigma > 0
        excused = torch.where(
            known_noise, found.sigma, self._most_noise(found, found.rest.square())
        )
        distance = torch.maximum(
            self._unexplained(found.rest, excused), self._beyond(found.inputs)
        )
        elsewhere = torch.zeros(len(distance), dtype=torch.int32, device=distance.device)
        if self.exact is None or self.errors is None:
            return distance, elsewhere
        tested, elsewhere = self._tested(found)
        return torch.where(known_noise, tested, distance), elsewhere

    def edge(
        self, theta: Tensor, std: Tensor | None, columns: Sequence[int] | None = None
    ) -> Tensor:
        """1 where a value lies beyond those of training by more than its noise explains.

        Parameters
        ----------
        theta, std
            ``(v, P)``: values and their deviations, NaN or None where unknown.
        columns
            Those that are looked at; all by default.

        Returns
        -------
        Tensor
            ``(v,)`` int32.
        """
        noise = torch.zeros_like(theta) if std is None else std.nan_to_num(0.0) * _ONE_SIDED
        beyond = torch.zeros(len(theta), dtype=torch.bool, device=theta.device)
        for name, (low, high) in self.support.items():
            column = self.model.parameters.index((name,))[0]
            if columns is not None and column not in columns:
                continue
            values, slack = theta[:, column], 1e-4 * (high - low) + noise[:, column]
            beyond |= (values < low - slack) | (values > high + slack)
        return beyond.to(torch.int32)

    def _tested(self, found: Findings) -> tuple[Tensor, Tensor]:
        """Root of chi-squared over its limit ``(v,)``; the exact signal only where it decides.

        And where nuisances that explain the data lie beyond training, ``(v,)``.
        """
        # Noise is no excuse for signals that nothing else tells from it.
        noise = self._channels * found.sigma.square()
        sigma = torch.minimum(found.sigma, self._most_noise(found, noise, _WEAKER))
        limit = self._limit(found, len(found.free))
        tiny = torch.finfo(sigma.dtype).tiny
        statistic = (found.rest / sigma.clamp_min(tiny)).double().square()
        rows = ((statistic > limit) & (found.sigma > 0)).nonzero()[:, 0]
        statistic[rows], where = self.statistic(found, sigma, rows)
        elsewhere = torch.zeros(len(sigma), dtype=torch.int32, device=sigma.device)
        # Least squares may end on a bound of what the data hardly tell, and be right.
        nuisances = self.edge(where, None, self._columns(found)[1])
        elsewhere[rows] = nuisances * (statistic[rows] <= limit)
        return (statistic / limit).sqrt().to(found.rest.dtype), elsewhere

    def _most_noise(self, found: Findings, noise: Tensor, weaker: float = 1.0) -> Tensor:
        """``(v,)``: noise at the lowest SNR of training, of signals as strong as in the data.

        Not by M0: at low SNR it is known to 25 % only, and of mere noise networks say that it is
        tissue of almost no signal and of a large M0.

        Parameters
        ----------
        found
            Of the voxels.
        noise
            ``(v,)``: squared norm of what is no signal in the data.
        weaker
            By which the signal may seem too weak.
        """
        if self.least_signal <= 0 or self.network.spec.scale == "one":
            return found.m0.abs() * (weaker / self.lowest_snr)
        energy = found.coefficients.abs().square().sum(-1) - noise
        signal = energy.clamp_min(torch.finfo(energy.dtype).eps).sqrt()
        return signal * (weaker / (self.lowest_snr * self.least_signal))

    @property
    def _channels(self) -> int:
        """Real numbers that a voxel is."""
        return (2 if self.network.spec.scale == "complex" else 1) * self.model.n_samples

    def degrees(self, found: Findings) -> int:
        """Degrees of freedom of the residual in white noise."""
        return degrees_of_freedom(self.network.spec.scale, self.model.n_samples, len(found.free))

    def _limit(self, found: Findings, n_free: int) -> float:
        """Of chi-squared, where ``n_free`` parameters are fitted to the data."""
        fewer = len(found.free) - n_free
        effective = None if self.freedom is None else self.freedom + fewer
        return chi_squared_limit(self.degrees(found) + fewer, effective)

    def statistic(
        self, found: Findings, sigma: Tensor, rows: Tensor, *, scan: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Chi-squared of the residual of ``rows`` ``(r,)``, errors of the network taken out.

        And the parameters ``(r, P)`` of the signal that leaves it.

        By the exact signal and the error network where there are such, else as it is. With
        ``scan`` what is above the limit is that of least squares, from other starts too
        (:mod:`bids_brnn.estimators.network.search`), where M0 is complex; this costs time.
        """
        if self.exact is None or self.errors is None:
            return (found.rest[rows] / sigma[rows]).double().square(), found.theta[rows]
        n_values = self.model.n_samples if self.rotation is None else len(self.rotation)
        limit = self._limit(found, len(found.free))
        parts = [(sigma.new_zeros(0, dtype=torch.float64), found.theta[:0])]
        if not len(rows):  # the first exact signal has its kernel compiled, a second or two
            return parts[0]
        for some in rows.split(max(1, _EXACT // n_values)):
            if scan and self.network.spec.scale == "complex":
                parts.append(self._searched(found, sigma, some, limit))
            else:
                theta = found.theta[some]
                parts.append(self._minimum(found, sigma, some, theta, limit))
        left, where = zip(*parts, strict=True)
        return torch.cat(left), torch.cat(where)

    def _searched(
        self, found: Findings, sigma: Tensor, some: Tensor, limit: float
    ) -> tuple[Tensor, Tensor]:
        """What least squares leave of ``some``, and where: nearby, then elsewhere."""
        theta, others = found.theta[some], self._columns(found)[1]
        bounds = self.model.parameters.bounds(theta)
        data, noise = found.coefficients[some], sigma[some]
        task = Task(data, noise, list(found.free), bounds, limit, HOPELESS * limit)

        def excused(rows: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
            return self._minimum(found, sigma, some[rows], start, limit)

        white = self.freedom is None or self.freedom >= WHITE * self.degrees(found)
        voxels = Estimates(
            theta, found.rest[some], others, excused, white, partial(self._limit, found)
        )
        least = self._search(task, voxels)
        return least.left, least.best

    def fluid(self, found: Findings) -> Tensor:
        """Chi-squared ``(v,)`` of fluid at its minimum, as if all parameters had been fitted."""
        free, bounds = list(found.free), self.model.parameters.bounds(found.theta)
        task = Task(found.coefficients, found.sigma, free, bounds, _NONE_LEFT, torch.inf)
        degrees = self.degrees(found) + len(free)

        def quantile(share: float, fitted: int) -> float:
            return float(chi_squared_quantile(share, degrees - fitted))

        left, fitted = self._search.fluid_alone(task, found.theta, partial(quantile, _USUAL))
        return left * (quantile(0.5, len(free)) / quantile(0.5, fitted))

    @property
    def looks_for_fluid(self) -> bool:
        """Whether there are valleys of fluid, and exact signals to find them with."""
        able = self.exact is not None and self.errors is not None
        return (
            able and self.network.spec.scale == "complex" and "w0" in self.model.parameters.names
        )

    @property
    def _search(self) -> Search:
        with _LOCK:  # one, and its atoms once, however many threads ask first
            return self._searches

    @cached_property
    def _searches(self) -> Search:
        corrected = Corrected(self.model, self._signal, self.precision == "bf16")
        usual = Usual(self.linearize, self.model.parameters)
        return Search(
            self.model, self.linearize, corrected, usual, self._fluids(), self.lowest_snr
        )

    def _fluids(self) -> list[Fluid]:
        """As :class:`Search` wants them, the cheapest first."""
        names = self.model.parameters.names
        found: list[Fluid] = []
        if "w0" not in names:
            return found
        for model in (free_pool_of(self.exact), self.exact):  # type: ignore[arg-type]
            if model is None:
                continue
            columns = self.model.parameters.index(model.parameters.names)
            empty = [c for c, name in enumerate(names) if name == "m0s" and c not in columns]
            linearize = partial(self._derivatives, model)
            item = model.parameters["w0"]
            folds = getattr(self.model, "conjugate", False) and item.lower == -item.upper
            places = (tuple(columns), tuple(empty))
            duration = train_duration(model)
            found.append(Fluid(linearize, model.parameters, *places, folds, duration))
        return found

    def _columns(self, found: Findings) -> tuple[list[int], list[int]]:
        """Of the parameters that the network tells, and of all others that are free."""
        told = [c for c in self.model.parameters.index(self.error_names) if c in found.free]
        return told, [column for column in found.free if column not in told]

    def _minimum(
        self, found: Findings, sigma: Tensor, some: Tensor, theta: Tensor, limit: float
    ) -> tuple[Tensor, Tensor]:
        """``T`` of :mod:`.fit_test`, and where it is least."""
        told, others = self._columns(found)
        names = self.model.parameters.names
        chosen = [self.error_names.index(names[column]) for column in told]
        std = self.errors.deviations(found.features[some], sigma[some])  # type: ignore[union-attr]
        bounds = self.model.parameters.bounds(theta.double())
        return fit_statistic(
            self.linearize, found.coefficients[some], theta, (told, others), std[:, chosen],
            sigma[some].double(), limit, bounds, self.network.spec.scale,
        )  # fmt: skip

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The exact signal and its derivatives in the basis of training."""
        return self._derivatives(self.exact, theta)  # type: ignore[arg-type]

    def _derivatives(self, model: SignalModel, theta: Tensor) -> tuple[Tensor, Tensor]:
        """A signal and its derivatives in the basis of training."""
        # Errors of single precision (1e-5 of the signal) are far below any noise.
        signal, slopes = model.linearize(theta.float())
        return turned(signal, self.rotation), turned(slopes.mT, self.rotation).mT

    def _signal(self, theta: Tensor) -> Tensor:
        """The exact signal in the basis of training."""
        return turned(self.exact(theta.float()), self.rotation)  # type: ignore[misc]

    def _unexplained(self, rest: Tensor, sigma: Tensor) -> Tensor:
        """1 at the 99th percentile of the training data; ``rest`` and ``sigma`` are relative."""
        channels = self._channels
        expected = (sigma**2 * channels + self.typical_residual**2).sqrt()
        # A chi distribution with this many channels rarely exceeds its root mean square by more.
        limit = expected * (1 + 1.65 / channels**0.5)
        unexplained: Tensor = rest / limit.clamp_min(torch.finfo(rest.dtype).tiny)
        return unexplained

    def _beyond(self, inputs: Tensor) -> Tensor:
        """How far the inputs lie from those of training; 1 is the most remote percent."""
        if self.typical_inputs <= 0:
            return inputs.new_zeros(len(inputs))
        level = self.network.standardised(inputs).square().mean(-1)
        return (level / self.typical_inputs).sqrt()
