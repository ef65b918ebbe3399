"""The numbers of a model card: how a stored model does against the Cramer-Rao bound and fits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bids_brnn.errors import ParameterError
from bids_brnn.estimators.base import Estimator
from bids_brnn.estimators.network.estimator import Spread
from bids_brnn.estimators.network.forward import Precision
from bids_brnn.evaluation.functions import as_measured, estimator_function, network_function
from bids_brnn.evaluation.moments import (
    in_band,
    moments,
    precision_error,
    snr_curves,
    summarise,
    sweep,
    uniform_snr,
)
from bids_brnn.evaluation.tissue_sets import LEVELS, SetEffort, judge_tissue_sets
from bids_brnn.information.bounds import known_bound
from bids_brnn.information.noise import add_noise
from bids_brnn.information.second_order import second_order_bounds
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import TISSUE_SETS, TISSUES, tissue_values
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.system.processor import has_bf16
from bids_brnn.zoo.quality import HELD_OUT
from bids_brnn.zoo.store import StoredModel

SNR_LEVELS = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0)
FIXED_LEVELS = (20.0, 50.0)
_HIGHEST = 160.0
"""Of tissue sets, where a training reaches so far (Z-spectra)."""
_TIMED = 65536
_MORE = 4
"""Times the draws, for half the standard errors."""


@dataclass(frozen=True)
class Effort:
    """How many fingerprints and draws; the defaults are those of the cards."""

    fingerprints: int = 4096
    """Held-out ones: few of them hold much of the squared bias, so that fewer know it badly."""
    in_band: int = 2000
    draws: int = 1000
    tissue_draws: int = 20000
    peer_draws: int = 200
    """Draws per SNR of estimators that are slow."""


def assess(
    stored: StoredModel,
    model: SignalModel,
    held_out: TrainingSet,
    *,
    effort: Effort | None = None,
    peers: Mapping[str, Estimator] | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Evaluate a stored model on held-out fingerprints and on tissues.

    Parameters
    ----------
    stored
        From :func:`bids_brnn.zoo.store.load_model`.
    model
        The exact signal model, in the coefficients of training.
    held_out
        Fingerprints that were not trained with.
    effort
        Numbers of fingerprints and draws.
    peers
        Other estimators by name for the curves against SNR, on fewer draws.
    seed
        Of all noise.

    Returns
    -------
    dict
        ``held_out`` (SNR uniform as in training), ``in_band`` at fixed SNR (where the model has
        off-resonance), ``tissues`` (curves against SNR, by estimator), ``sweep``,
        ``tissue_sets`` (:mod:`bids_brnn.evaluation.tissue_sets`), ``outside_training``,
        ``bf16_error_over_crb_std`` and ``voxels_per_core_second``.
    """
    effort = effort or Effort()
    judge = _Judge(stored, model, seed)
    result = judge.overall(held_out[: effort.fingerprints], effort.draws)
    # Clipping changes little; a fifth of the draws shows where it does.
    result["held_out_clipped"] = judge.overall(
        held_out[: effort.fingerprints], max(2, effort.draws // 5), clipped=True
    )["held_out"]
    if "w0" in judge.parameters.names:
        band = in_band(held_out, judge.parameters)[: effort.in_band]
        result["in_band_fingerprints"] = len(band)
        result["in_band"] = {
            f"{level:g}": judge.summary(band, torch.full((len(band),), level), effort.draws)
            for level in FIXED_LEVELS
            if level >= stored.card.snr_range[0]
        }
    result["tissues"] = {
        name: {"network": judge.curves(fingerprint, effort.tissue_draws)}
        for name, fingerprint in judge.tissues().items()
    }
    for peer, estimator in (peers or {}).items():
        for name, fingerprint in judge.tissues().items():
            result["tissues"][name][peer] = judge.curves(
                fingerprint, effort.peer_draws, estimator=estimator
            )
    result["sweep"] = judge.sweep(effort.draws)
    levels = [*LEVELS, *_levels(stored.card.snr_range)]
    result["tissue_sets"] = judge.tissue_sets(
        SetEffort(draws=effort.draws, levels=sorted(set(levels))), held_out
    )
    result["outside_training"] = judge.outside()
    result["bf16_error_over_crb_std"] = judge.precision(held_out)
    result["voxels_per_core_second"] = judge.speed(held_out)
    return result


def assess_quickly(
    stored: StoredModel,
    model: SignalModel,
    held_out: TrainingSet,
    seed: int = 7,
    *,
    draws: int = 200,
) -> dict[str, Any]:
    """The part of :func:`assess` that decides whether a network may serve, in seconds.

    Half of ``draws`` know the squared bias of one fingerprint to about a tenth of the bound, and
    its mean over fingerprints far better. Where chance decides (a few draws hold most of the
    deviation of what a protocol hardly tells), draws are multiplied by :data:`_MORE`, once or
    twice, and nowhere else: figures of all others stay.
    """
    judge = _Judge(stored, model, seed)
    levels = _levels(stored.card.snr_range)

    def sets(draws: int, levels: Sequence[float], *tissues: str) -> dict[str, Any]:
        effort = SetEffort(fingerprints=8, draws=draws, levels=levels, second_order=False)
        return judge.tissue_sets(effort, held_out, tissues or TISSUE_SETS)

    found = {
        **judge.overall(held_out[:1000], draws // 2),
        "tissue_sets": sets(draws, levels),
        "outside_training": judge.outside(),
    }
    for count in (_MORE * draws, _MORE**2 * draws):
        doubtful = stored.card.with_evaluation(found).verdict.in_doubt
        if not doubtful:
            break
        if HELD_OUT in doubtful:
            found |= judge.overall(held_out[:1000], count // 2)
        for tissue, table in found["tissue_sets"].items():
            again = [level for level in levels if (tissue, f"{level:g}") in doubtful]
            if again:
                table |= sets(count, again, tissue)[tissue]
    return found


def _levels(snr_range: tuple[float, float]) -> list[float]:
    """SNRs of training at which tissue sets are judged, at least one."""
    low, high = snr_range
    middle = float(f"{math.sqrt(low * high):.3g}")
    return [level for level in (*LEVELS, _HIGHEST) if low <= level <= high] or [middle]


class _Judge:
    """A stored model with everything that its evaluation needs again and again."""

    def __init__(self, stored: StoredModel, model: SignalModel, seed: int) -> None:
        self.stored, self.model, self.seed = stored, model, seed
        self.parameters: ParameterSet = stored.surrogate.parameters
        self.names = self.parameters.select("estimated").names
        self.columns = self.parameters.index(self.names)
        self.network = network_function(stored)

    def rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def clipped(self, coefficients: Tensor, theta: Tensor) -> Tensor:
        """As delivered in maps: within the bounds of the parameters."""
        lower, upper = self.parameters.bounds(theta)
        return self.network(coefficients, theta).clamp(lower[self.columns], upper[self.columns])

    def summary(
        self, data: TrainingSet, snr: Tensor, draws: int, *, clipped: bool = False
    ) -> dict[str, Any]:
        estimate = self.clipped if clipped else self.network
        found = moments(estimate, data, self.columns, snr, draws=draws, rng=self.rng())
        return summarise(found, self.names)

    def overall(self, data: TrainingSet, draws: int, *, clipped: bool = False) -> dict[str, Any]:
        """Held-out fingerprints, SNR uniform as in training."""
        snr = uniform_snr(len(data), self.stored.card.snr_range, self.rng())
        table = self.summary(data, snr, draws, clipped=clipped)
        return {"fingerprints": len(data), "draws": draws, "held_out": table}

    def fingerprints(self, theta: Tensor) -> TrainingSet:
        """Exact coefficients and bounds of ``theta`` ``(n, P)``."""
        wide = theta.double()
        signal, derivatives = self.model.linearize(wide)
        bound = known_bound(self.parameters, signal, derivatives, amplitude_of(self.model))
        return TrainingSet(signal.to(torch.complex64), theta.float(), bound.float())

    def tissues(self) -> dict[str, TrainingSet]:
        found = {}
        for name in TISSUES:
            try:
                theta = tissue_values(self.parameters, name, torch.zeros(1, dtype=torch.float64))
            except ParameterError:
                continue
            found[name] = self.fingerprints(theta.reshape(1, -1))
        return found

    def curves(
        self, tissue: TrainingSet, draws: int, *, estimator: Estimator | None = None
    ) -> dict[str, Any]:
        amplitude = amplitude_of(self.model)
        estimate = self.network if estimator is None else estimator_function(estimator, amplitude)
        least = second_order_bounds(self.model, tissue.theta[0], SNR_LEVELS)[:, self.columns]
        return snr_curves(
            estimate,
            tissue,
            self.columns,
            self.names,
            SNR_LEVELS,
            draws=draws,
            rng=self.rng(),
            unbiased=least,
        )

    def sweep(self, draws: int) -> dict[str, Any]:
        """The transverse rate from 5 to 19 1/s, all others at white matter, SNR 20."""
        swept = next(name for name in ("R2f", "R2") if name in self.parameters.names)
        column = self.parameters.index((swept,))[0]
        theta = tissue_values(self.parameters, "WM", torch.zeros(1, dtype=torch.float64))
        theta = theta.reshape(1, -1).repeat(15, 1)
        theta[:, column] = torch.linspace(5, 19, 15, dtype=torch.float64)
        table = sweep(
            self.network,
            self.fingerprints(theta),
            column,
            self.columns,
            self.names,
            20.0,
            draws=draws,
            rng=self.rng(),
        )
        return {"parameter": swept, **table}

    def tissue_sets(
        self, effort: SetEffort, held_out: TrainingSet, tissues: Iterable[str] = TISSUE_SETS
    ) -> dict[str, Any]:
        """Healthy and changed tissue; fingerprints and noise of their own."""
        spread = held_out.theta[:, list(self.columns)].double().std(0)
        estimator = self.stored.estimator_in_training_basis(precision="float32")
        return judge_tissue_sets(
            self.network, estimator, self.model, self.columns, effort=effort, spread=spread,
            seed=self.seed, tissues=tissues,
        )  # fmt: skip

    def outside(self) -> dict[str, Any]:
        """White matter below and above the SNRs of training, and signals that are only noise."""
        estimator = self.stored.estimator_in_training_basis()
        low, high = self.stored.card.snr_range
        white = self.tissues()["WM"]
        table: dict[str, Any] = {}
        # Without a noise level, noise as at the lowest SNR of training is no reason for distrust;
        # exactly there one voxel in twenty is beyond that by chance.
        quiet = max(20.0, 2 * low)
        known = {
            name: white.theta[:1, column].expand(2000)
            for name, column in zip(
                self.parameters.select("supplied").names,
                self.parameters.columns("supplied"),
                strict=True,
            )
        }
        for label, level in (("half_of_lowest_snr", low / 2), ("twice_highest_snr", high * 2)):
            found = moments(
                self.network, white, self.columns, torch.tensor([level]), draws=2000,
                rng=self.rng(),
            )  # fmt: skip
            table[label] = {
                "snr": level,
                "squared_bias_over_crb": dict(
                    zip(self.names, found.squared_bias_over_bound[0].tolist(), strict=True)
                ),
            }
        shape = (2000, self.model.n_samples)
        noise = torch.randn((*shape, 2), generator=self.rng())
        for label, data in (
            ("noise_only", torch.view_as_complex(noise)),
            (
                "white_matter_snr_20",
                add_noise(white.coefficients.expand(shape), quiet, rng=self.rng()),
            ),
        ):
            given = as_measured(data, amplitude_of(self.model))
            distance = estimator.estimate(given, known or None).quality["distance"]
            table[f"flagged_{label}"] = round(float((distance > 1).double().mean()), 4)
        return table

    def precision(self, held_out: TrainingSet) -> float:
        """Error of bf16 arithmetic in Cramer-Rao standard deviations."""

        def half(coefficients: Tensor, theta: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.network(coefficients, theta)

        error = precision_error(half, self.network, held_out, self.columns, 50.0, rng=self.rng())
        return round(error["rms"], 4)

    def speed(self, held_out: TrainingSet) -> dict[str, float]:
        rows = torch.arange(_TIMED) % len(held_out)
        data = held_out.coefficients[rows]
        rates: dict[str, float] = {}
        choices: dict[str, tuple[Precision, Spread]] = {
            "float32": ("float32", "none"),
            "float32_with_std": ("float32", "jacobian"),
        }
        if has_bf16():  # else it is not used
            choices = {"bf16": ("bf16", "none"), **choices}
        for label, (precision, spread) in choices.items():
            estimator = self.stored.estimator_in_training_basis(precision=precision, spread=spread)
            estimator.estimate(data[:4096])
            began = time.process_time()  # of all threads: other programs may be running
            estimator.estimate(data)
            rates[label] = float(f"{_TIMED / (time.process_time() - began):.3g}")
        return rates
