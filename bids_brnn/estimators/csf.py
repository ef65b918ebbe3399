"""A second compartment of cerebrospinal fluid, where one compartment does not explain the data.

Everything else stays as the estimator of one compartment says it: a fraction that is fitted
everywhere would cost precision where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from bids_brnn.estimators.base import Estimate, Progress
from bids_brnn.estimators.checkpoint import Checkpoint
from bids_brnn.estimators.fluid_test import (
    GAIN,
    TAKEN_BY_CHANCE,
    share_beside_fluid,
    usual_gain,
)
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.network.unmixing import promise, unmix
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.estimators.series_noise import (
    MOST_TOLD,
    SeriesNoise,
    chi_squared_limit,
    series_noise,
)
from bids_brnn.estimators.voxels import noise_levels
from bids_brnn.information.noise import degrees_of_freedom
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUE_SETS, tissue_set, tissue_values
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.mixture import FluidMixture

_SURE = float(norm.ppf(1 - TAKEN_BY_CHANCE))
"""Standard deviations by which a fraction differs from zero: chi-squared also falls where one
compartment was not estimated well."""
LEAST_GAIN = 2.0
"""Fall to first order from which on two compartments are tried: 1 in 13 voxels of tissue alone,
and 99 of 100 of those that reach :data:`GAIN`."""
_BENT = 2.0
"""Times the limit: what is promised to first order, of voxels that end below it."""
_STARTS = 12
"""Kinds of tissue of each set, times fractions, that least squares begins with."""
_FRACTIONS = (0.1, 0.3, 0.5, 0.7)


def fluid_mixture(model: SignalModel, suffix: str) -> FluidMixture:
    """Tissue of ``model`` and cerebrospinal fluid of the priors (3 T)."""
    like = torch.zeros((), dtype=torch.float64)
    return FluidMixture(model, tissue_values(model.parameters, "CSF", like), suffix)


@dataclass(frozen=True, eq=False)
class CsfEstimator:
    """An estimator that explains misfits by a share of cerebrospinal fluid.

    ``quality["csf"]`` is 1 where there are two compartments; parameters are then those of the
    tissue, and standard deviations those of the Fisher information of all, the fraction included.
    """

    base: NetworkEstimator | NllsEstimator
    """For one compartment."""
    mixture: FluidMixture
    """Of the exact signal model."""

    @property
    def name(self) -> str:
        """Of the estimator."""
        return self.base.name

    @property
    def model(self) -> SignalModel:
        """Of one compartment."""
        return self.base.model

    @property
    def parameters(self) -> ParameterSet:
        """Those of the model, and the fraction of fluid."""
        return self.mixture.parameters

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
        test_noise: Tensor | None = None,
        places: Tensor | None = None,
        spread: Mapping[str, Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        ``places`` ``(V, 3)`` are indices of the voxels, so that the noise of residuals may vary
        over space; ``test_noise`` as for a network; what ``spread`` changes is part of the
        deviations, of one and of two compartments. See
        :meth:`Estimator.estimate <bids_brnn.estimators.base.Estimator.estimate>`.

        Raises
        ------
        DataError
            If a shape or dtype does not fit the model.
        ParameterError
            If a supplied name is no parameter of the model.
        """
        further: dict[str, Any] = {"progress": progress, "checkpoint": checkpoint}
        if isinstance(self.base, NetworkEstimator):
            further["test_noise"] = test_noise
        if spread:
            further["spread"] = spread
        first = self.base.estimate(data, supplied, sigma=sigma, **further)
        noise = self._noise(first, data, supplied or {}, sigma, test_noise, places)
        wide = _widened(first)
        if noise is None:
            return wide
        known = dict(supplied or {})
        level, degrees = noise.sigma.to(data.device), self._degrees(known)
        stretch = degrees / noise.freedom
        limit = chi_squared_limit(degrees, noise.freedom)
        rows = (first.theta.isfinite().all(-1) & (level > 0)).nonzero()[:, 0]
        near, gain = self._promise(first, data, rows, known, level)
        declared = noise_levels(sigma, data).expand(len(data)).double()
        share = torch.ones_like(level)
        if self._told_by_residuals(declared):
            share = share_beside_fluid(near, gain, level, (rows, places), degrees)
        level, declared = level * share, declared * share
        near, gain = (part / share[rows].square() for part in (near, gain))
        usual = usual_gain(near, gain.sqrt(), level[rows], degrees, limit)
        before = near if "distance" not in first.quality else torch.minimum(
            near, (first.quality["distance"][rows] / share[rows]).double().square() * limit
        )  # fmt: skip
        chosen = (before > limit) | (gain.sqrt() > (LEAST_GAIN * stretch) ** 0.5 + usual)
        # A region of mixtures raises the level that residuals tell, and would hide itself. Where
        # two compartments leave no more than the declared noise does, that is the level.
        raised = _raised(level, declared)[rows]
        left = (near - gain) * raised / chi_squared_limit(degrees)
        chosen |= (raised > 1) & (gain * raised > LEAST_GAIN) & (left < _BENT)
        rows, before, raised = rows[chosen], before[chosen], raised[chosen]
        if not len(rows):
            return wide
        some = {name: values[rows] for name, values in known.items()}
        told = torch.where(declared > 0, declared, level)
        unsure = {name: values[rows] for name, values in (spread or {}).items()}
        found, after = self._second(data[rows], some, told[rows], level[rows], unsure)
        assert found.std is not None
        least = chi_squared_limit(degrees - 1, max(noise.freedom - 1, 1.0))
        distance = (after / least).clamp_min(0).sqrt()
        # What two compartments leave beyond noise is no noise that one of them may be tested with.
        needed = (GAIN * stretch) ** 0.5 * distance.clamp_min(1) + usual
        sure = found.theta[:, -1] > (_SURE + usual) * found.std[:, -1]
        gained = ((before - after).clamp_min(0).sqrt() > needed) & sure
        white = (raised > 1) & (after * raised < chi_squared_limit(degrees - 1))
        sure = found.theta[:, -1] > _SURE * found.std[:, -1]
        gained |= white & ((before - after) * raised > GAIN) & sure
        return _merged(wide, found, rows, gained, distance)

    def _promise(
        self,
        first: Estimate,
        data: Tensor,
        rows: Tensor,
        known: Mapping[str, Tensor],
        level: Tensor,
    ) -> tuple[Tensor, Tensor]:
        some = {name: values[rows] for name, values in known.items()}
        return promise(self.mixture, first.theta[rows], data[rows], some, level[rows])

    def _told_by_residuals(self, declared: Tensor) -> bool:
        """Whether all that is known of the noise is what one compartment leaves."""
        return getattr(self.base, "freedom", None) is not None or not bool((declared > 0).all())

    def _degrees(self, supplied: Mapping[str, Tensor] | None) -> int:
        own = self.base.model.parameters
        free = set(own.select("estimated", "nuisance").names) - set(supplied or {})
        return degrees_of_freedom("complex", self.base.model.n_samples, len(free))

    def _noise(
        self,
        first: Estimate,
        data: Tensor,
        supplied: Mapping[str, Tensor],
        sigma: float | Tensor | None,
        test_noise: Tensor | None,
        places: Tensor | None,
    ) -> SeriesNoise | None:
        """Noise of each voxel: what is given, else what residuals tell."""
        degrees = self._degrees(supplied)
        declared = noise_levels(sigma, data)
        if isinstance(self.base, NetworkEstimator) or (
            places is None and bool((declared > 0).all())
        ):
            given = noise_levels(sigma if test_noise is None else test_noise, data)
            if not bool((given > 0).any()):
                return None
            freedom = getattr(self.base, "freedom", None) or float(degrees)
            return SeriesNoise(given.expand(len(data)).double(), freedom)
        energy = _energy(first, data)
        if degrees < 2 or not bool((energy > 0).any()):
            return None
        at = data.real.new_zeros(len(data), 3) if places is None else places
        some = slice(None, None, max(1, len(data) // MOST_TOLD))
        told = series_noise(energy[some], at[some], degrees, at)
        if not bool((declared > 0).all()):
            return told
        return SeriesNoise(told.near(declared), float(degrees))

    def _second(
        self,
        data: Tensor,
        known: Mapping[str, Tensor],
        sigma: Tensor,
        level: Tensor,
        spread: Mapping[str, Tensor],
    ) -> tuple[Estimate, Tensor]:
        """Two compartments, and chi-squared ``(v,)`` of what they leave.

        Deviations are of noise ``sigma`` ``(v,)`` and of ``spread``, chi-squared is of noise
        ``level`` ``(v,)``.
        """
        if isinstance(self.base, NetworkEstimator):
            return unmix(self.base, self.mixture, data, known, sigma, level, spread)
        again = NllsEstimator(
            self.mixture,
            start=self._starts(),
            max_iterations=self.base.max_iterations,
            n_starts=max(3, self.base.n_starts),
            retry_residual=0.0,
            block_size=self.base.block_size,
            seed=self.base.seed,
        )
        found = again.estimate(data, known or None, sigma=sigma, spread=spread or None)
        return found, (_energy(found, data) / level.square()).double()

    def _starts(self) -> Tensor:
        rng = torch.Generator().manual_seed(getattr(self.base, "seed", 1))
        own = self.base.model.parameters
        tissue = torch.cat([tissue_set(own, name, _STARTS, rng=rng) for name in TISSUE_SETS])
        shares = tissue.new_tensor(_FRACTIONS).repeat(len(tissue))[:, None]
        return torch.cat([tissue.repeat_interleave(len(_FRACTIONS), 0), shares], dim=-1)


def _raised(level: Tensor, declared: Tensor) -> Tensor:
    """``(V,)``: square of the noise that residuals tell over that declared, at least 1."""
    ratio = torch.where(declared > 0, level / declared, 1.0)
    return ratio.clamp_min(1.0).square()


def _energy(found: Estimate, data: Tensor) -> Tensor:
    """Squared norm ``(V,)`` of the residual."""
    energy: Tensor = found.residual.double().square() * data.abs().double().square().sum(-1)
    return energy


def _widened(first: Estimate) -> Estimate:
    """With a fraction of 0, of which nothing is known."""
    theta = torch.cat([first.theta, torch.zeros_like(first.theta[:, :1])], dim=-1)
    theta[:, -1][~first.theta.isfinite().all(-1)] = torch.nan
    std = first.std
    if std is not None:
        std = torch.cat([std, torch.full_like(std[:, :1], torch.nan)], dim=-1)
    covariance = first.covariance
    if covariance is not None:
        covariance = torch.nn.functional.pad(covariance, (0, 1, 0, 1))
    quality = dict(first.quality)
    quality["csf"] = torch.zeros_like(first.residual, dtype=torch.int32)
    if "at_bound" in quality:
        n, bits = first.theta.shape[-1], quality["at_bound"]
        quality["at_bound"] = (bits & ((1 << n) - 1)) | (bits >> n << (n + 1))
    return replace(first, theta=theta, std=std, covariance=covariance, quality=quality)


def _merged(
    wide: Estimate, found: Estimate, rows: Tensor, gained: Tensor, distance: Tensor
) -> Estimate:
    """The estimate of two compartments where it ``gained``."""
    chosen = rows[gained]

    def put(old: Tensor | None, new: Tensor | None) -> Tensor | None:
        if old is None or new is None:
            return old
        old = old.clone()
        old[chosen] = new[gained].to(old.dtype)
        return old

    quality = {name: put(values, found.quality.get(name)) for name, values in wide.quality.items()}
    quality["csf"] = put(wide.quality["csf"], torch.ones_like(rows))
    if "distance" in quality:
        quality["distance"] = put(wide.quality["distance"], distance)
    theta, m0, residual = (
        put(getattr(wide, name), getattr(found, name)) for name in ("theta", "m0", "residual")
    )
    assert theta is not None
    assert m0 is not None
    assert residual is not None
    told = {name: values for name, values in quality.items() if values is not None}
    std, covariance = put(wide.std, found.std), put(wide.covariance, found.covariance)
    return Estimate(theta, m0, residual, std, told, covariance, wide.std_kind)
