"""When to distrust what a network says of a voxel: the data are unlike training, or the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.estimators.network.base import ErrorModel, TrainedNetwork
from bids_brnn.estimators.network.fit_test import fit_statistic
from bids_brnn.estimators.network.lowest import Along, Task, lowest
from bids_brnn.estimators.network.nuisances import scanned
from bids_brnn.estimators.network.usual import Kind, Usual, least_from_atoms
from bids_brnn.estimators.series_noise import chi_squared_limit
from bids_brnn.information.noise import degrees_of_freedom
from bids_brnn.signals.base import SignalModel

_ONE_SIDED = 1.645
"""Standard deviations that one estimate in twenty exceeds to one side."""
_HOPELESS = 15.0
"""Times the limit: so much is left by no other valley of off-resonance."""
_FALLS = 1.0
"""Of the residual of the surrogate, in another valley that is worth a try."""
_FAR = 4.0
"""Times the limit: least squares from there ends below it in few voxels."""
_NEAR = 3.0
"""Times the limit: voxels of tissue whose minimum was missed are rarely further above it."""
_FLUID_FAR = 20.0
"""Times the limit: fluid in a wrong valley may leave as much, and end below the limit."""
_WHITE = 0.75
"""Share of the degrees of freedom above which residuals of a series are white."""
_FLUID_R2 = 2.0
"""1/s: below it an estimate is one of fluid."""
_NOISY = 2.5
"""Times the lowest SNR of training: less noise hides no minimum from a network. (Of the real slice
8 of 19,213 flags would change above it, at twice the time.)"""
_LOWEST = 1.5
"""By which M0 of a voxel at the lowest SNR of training may be too small: one voxel in a hundred
of trains that know it to 20 %."""
_GIVEN_UP = 2.0
"""Times the limit: least squares ends where a parabola promises no less. Rarely is less left than
it promises; of 19,000 voxels of a brain five were given up that would have passed."""
_STEPS = 15
"""Of least squares at most."""
_EXACT = 2**15
"""Samples of exact signals that are computed together, times their derivatives."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of ``v`` voxels once they are estimated; data have unit norm."""

    coefficients: Tensor
    """``(v, R)`` complex, in the basis of training."""
    theta: Tensor
    """``(v, P)``."""
    m0: Tensor
    """``(v,)`` complex."""
    rest: Tensor
    """``(v,)``: norm of what the surrogate leaves of the data."""
    sigma: Tensor
    """``(v,)``: noise per channel; 0 where it is not known."""
    inputs: Tensor
    """``(v, I)``: of the network."""
    features: Tensor
    """``(v, F)``: of the error network."""
    free: tuple[int, ...]
    """Columns of ``theta`` that are not known."""


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
    support: Mapping[str, tuple[float, float]]
    typical_residual: float
    typical_inputs: float
    freedom: float | None

    def distance(self, found: Findings) -> Tensor:
        """Distance ``(v,)`` from what the network was trained on; above 1 do not trust.

        Where the noise and the exact signal are known, by the chi-squared of the residual: inputs
        that are rare in training and that noise explains are no reason. Elsewhere by a residual
        that no noise of training explains, and by inputs beyond those of training.
        """
        known_noise = found.sigma > 0
        excused = torch.where(known_noise, found.sigma, found.m0.abs() / self.lowest_snr)
        distance = torch.maximum(
            self._unexplained(found.rest, excused), self._beyond(found.inputs)
        )
        if self.exact is None or self.errors is None:
            return distance
        return torch.where(known_noise, self._tested(found), distance)

    def edge(self, theta: Tensor, std: Tensor | None) -> Tensor:
        """1 where a value lies beyond those of training by more than its noise explains.

        Parameters
        ----------
        theta, std
            ``(v, P)``: values and their deviations, NaN or None where unknown.

        Returns
        -------
        Tensor
            ``(v,)`` int32.
        """
        noise = torch.zeros_like(theta) if std is None else std.nan_to_num(0.0) * _ONE_SIDED
        beyond = torch.zeros(len(theta), dtype=torch.bool, device=theta.device)
        for name, (low, high) in self.support.items():
            column = self.model.parameters.index((name,))[0]
            values, slack = theta[:, column], 1e-4 * (high - low) + noise[:, column]
            beyond |= (values < low - slack) | (values > high + slack)
        return beyond.to(torch.int32)

    def _tested(self, found: Findings) -> Tensor:
        """Root of chi-squared over its limit ``(v,)``; the exact signal only where it decides."""
        sigma = found.sigma
        if self.freedom is not None:
            # Noise that residuals tell is no excuse for signals that nothing else tells from it.
            sigma = torch.minimum(sigma, found.m0.abs() * (_LOWEST / self.lowest_snr))
        limit = chi_squared_limit(self.degrees(found), self.freedom)
        tiny = torch.finfo(sigma.dtype).tiny
        statistic = (found.rest / sigma.clamp_min(tiny)).double().square()
        rows = ((statistic > limit) & (found.sigma > 0)).nonzero()[:, 0]
        statistic[rows] = self.statistic(found, sigma, rows)
        return (statistic / limit).sqrt().to(found.rest.dtype)

    def degrees(self, found: Findings) -> int:
        """Degrees of freedom of the residual in white noise."""
        return degrees_of_freedom(self.network.spec.scale, self.model.n_samples, len(found.free))

    def statistic(
        self, found: Findings, sigma: Tensor, rows: Tensor, *, scan: bool = True
    ) -> Tensor:
        """Chi-squared of the residual of ``rows`` ``(r,)``, errors of the network taken out.

        By the exact signal and the error network where there are such, else as it is. With
        ``scan`` what is above the limit is that of least squares, with nuisances in another
        valley where that is better; this costs time.
        """
        if self.exact is None or self.errors is None:
            return (found.rest[rows] / sigma[rows]).double().square()
        n_values = self.model.n_samples if self.rotation is None else len(self.rotation)
        limit = chi_squared_limit(self.degrees(found), self.freedom)
        parts = [sigma.new_zeros(0, dtype=torch.float64)]
        if not len(rows):  # the first exact signal has its kernel compiled, a second or two
            return parts[0]
        for some in rows.split(max(1, _EXACT // n_values)):
            part, best = self._minimum(found, sigma, some, found.theta[some], limit)
            if scan:
                self._search(found, sigma, some, part, best, limit)
            parts.append(part)
        return torch.cat(parts)

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

    def _search(
        self,
        found: Findings,
        sigma: Tensor,
        some: Tensor,
        part: Tensor,
        best: Tensor,
        limit: float,
    ) -> None:
        """Lower ``part`` ``(r,)`` in another valley of off-resonance, and to least squares."""
        nuisances, names = self._columns(found)[1], self.model.parameters.names
        valleys = [column for column in nuisances if names[column] == "w0"]
        again = ((part > limit) & (part < _HOPELESS * limit)).nonzero()[:, 0]
        if len(again) and valleys:
            rows = some[again]
            data, theta = found.coefficients[rows], found.theta[rows]
            points, left = scanned(self.model, data, theta, valleys[0], nuisances)
            for near, rest in zip(points.unbind(1), left.unbind(1), strict=True):
                other = (rest < _FALLS * found.rest[rows]) & (part[again] > limit)
                tried = again[other]
                value, end = self._minimum(found, sigma, some[tried], near[other], limit)
                lower = value < part[tried]
                part[tried[lower]], best[tried[lower]] = value[lower], end[lower]
        again = ((part > limit) & (part < _FAR * limit)).nonzero()[:, 0]
        if len(again) and self.network.spec.scale == "complex":
            left = self._lowest(found, sigma, some[again], best[again].float(), limit)
            part[again] = torch.fmin(part[again], left)
        if self.network.spec.scale == "complex":
            self._from_usual(found, sigma, some, part, limit)

    def _from_usual(
        self, found: Findings, sigma: Tensor, some: Tensor, part: Tensor, limit: float
    ) -> None:
        """Lower ``part`` ``(r,)`` by least squares from usual tissue, and from fluid.

        Of tissue only at low SNR, near the limit. Wherever the network found fluid, whose valleys
        of off-resonance are narrow at any SNR; but not where residuals are no white noise, so that
        errors of the model decide (of the real slice 6 of 188 voxels, for half of the time).
        """
        nuisances, names = self._columns(found)[1], self.model.parameters.names
        if "w0" not in [names[column] for column in nuisances]:
            return
        norm = self._usual.atoms("tissue", part.device)[1]
        noisy = norm * _NOISY * self.lowest_snr * sigma[some] > 1
        rates = [column for column, name in enumerate(names) if name in ("R2", "R2f")]
        fluid = (found.theta[some][:, rates] < _FLUID_R2).any(-1)
        if self.freedom is not None and self.freedom < _WHITE * self.degrees(found):
            fluid &= False
        kinds: dict[Kind, tuple[Tensor, float]] = {
            "tissue": (noisy & (part < _NEAR * limit), _GIVEN_UP), "fluid": (fluid, _FLUID_FAR)
        }  # fmt: skip
        for kind, (tried, far) in kinds.items():
            rows = (tried & (part > limit)).nonzero()[:, 0]
            if not len(rows):
                continue
            at = some[rows]
            known = {c: found.theta[at, c] for c in range(len(names)) if c not in found.free}
            along, task = self._task(found, sigma, at, limit, far)
            left = least_from_atoms(along, task, known, self._usual, kind, _STEPS)
            part[rows] = torch.fmin(part[rows], left)

    def _lowest(
        self, found: Findings, sigma: Tensor, rows: Tensor, start: Tensor, limit: float
    ) -> Tensor:
        """Chi-squared ``(r,)`` of what least squares leaves of ``rows``, from ``start``."""
        along, task = self._task(found, sigma, rows, limit, _GIVEN_UP)
        return lowest(along, task, start, _STEPS)[0]

    def _task(
        self, found: Findings, sigma: Tensor, rows: Tensor, limit: float, given_up: float
    ) -> tuple[Along, Task]:
        """Least squares of ``rows``, given up where more than so many limits are promised."""
        free = list(found.free)

        def along(theta: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            signal, slopes = self.linearize(theta)
            return signal, slopes[..., free]

        bounds = self.model.parameters.bounds(found.theta)
        data = found.coefficients[rows]
        return along, Task(data, sigma[rows], free, bounds, limit, given_up * limit)

    @cached_property
    def _usual(self) -> Usual:
        item = self.model.parameters["w0"]
        folds = getattr(self.model, "conjugate", False) and item.lower == -item.upper
        return Usual(self.linearize, self.model.parameters, folds)

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The exact signal and its derivatives in the basis of training."""
        # Errors of single precision (1e-5 of the signal) are far below any noise.
        signal, slopes = self.exact.linearize(theta.float())  # type: ignore[union-attr]
        if self.rotation is None:
            return signal, slopes
        turn = self.rotation.to(signal)
        return signal @ turn, (slopes.mT @ turn).mT

    def _unexplained(self, rest: Tensor, sigma: Tensor) -> Tensor:
        """1 at the 99th percentile of the training data; ``rest`` and ``sigma`` are relative."""
        channels = (2 if self.network.spec.scale == "complex" else 1) * self.model.n_samples
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
