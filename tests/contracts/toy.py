"""A signal model, an estimator and a quality map as another package would bring them.

Everything that the program needs to know of the three stands here; ``register`` is the one call.
``pytest -p toy`` runs the contract suites over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bids_brnn.errors import SequenceError
from bids_brnn.estimators import EstimatorEntry, register_estimator
from bids_brnn.estimators.base import Estimate
from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.maps import Flag, QualityMap, Summary, register_map
from bids_brnn.parameters import RELAXATION, MapItem, Parameter, ParameterSet
from bids_brnn.priors import Prior, TissueClass, uniform
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import ModelEntry, SeriesKind, register_model
from bids_brnn.signals.base import check_basis, check_parameters, forward_derivatives

TWO_RATES = ParameterSet(
    (
        RELAXATION["R2"],
        Parameter(
            MapItem("myelin", "1", "TOYmap", "Share of water that decays four times as fast"),
            0.0, 0.6, 0.2, "estimated",
        ),
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TwoRates:
    """Decay after an excitation with two rates, R2 and 4 R2, at the samples of a train."""

    sequence: PulseSequence
    ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.sequence.inversion.any():
            raise SequenceError("a decay knows no inversion pulses")

    @property
    def parameters(self) -> ParameterSet:
        return TWO_RATES

    @property
    def n_samples(self) -> int:
        return self.sequence.n_samples

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        check_parameters(theta, self.parameters)
        check_basis(basis, self.n_samples)
        times = np.cumsum(self.sequence.repetition_time[0])
        rate, share = theta[..., :1], theta[..., 1:]
        slow = torch.exp(-rate * torch.as_tensor(times).to(theta))
        signal = (1 - share) * slow + share * slow**self.ratio
        signal = torch.complex(signal, torch.zeros_like(signal))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return forward_derivatives(lambda values: self(values, basis), theta)


def echoes() -> PulseSequence:
    """24 echoes, 8 ms apart."""
    shape = (1, 24)
    return PulseSequence(
        flip_angle=np.full(shape, 0.5),
        rf_duration=np.zeros(shape),
        rf_phase=np.zeros(shape),
        repetition_time=np.full(shape, 8e-3),
        echo_time=np.full((*shape, 1), 4e-3),
        gradient=np.full(shape, "balanced"),
        inversion=np.zeros(shape, dtype=bool),
        start="thermal",
    )


def two_rates_prior(parameters: ParameterSet) -> Prior:
    ranges = {"R2": uniform(5.0, 25.0), "myelin": uniform(0.0, 0.4)}
    return Prior(parameters, (TissueClass("all", 1.0, ranges),), name="toy")


@dataclass(frozen=True, eq=False)
class Guess:
    """The best of some points, and what it thinks of itself."""

    model: TwoRates
    points: Tensor | None = None
    block_size: int = 4096
    name: str = field(default="guess", init=False)

    @property
    def parameters(self) -> ParameterSet:
        return self.model.parameters

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
        **options: object,
    ) -> Estimate:
        matched = DictionaryEstimator(self.model, self.points, block_size=self.block_size)
        found = matched.estimate(data, supplied, sigma=sigma, **options)
        return replace(found, quality={"luck": 1 - found.residual})


def register() -> None:
    """Make all three known."""
    register_model(
        ModelEntry(
            name="tworates",
            home=TwoRates,
            kind=SeriesKind("toy", "Toy", "TOY"),
            label="toy",
            url="https://example.org/toy",
            parameters=TWO_RATES,
            prior=two_rates_prior,
            reference="guess",
            train=echoes,
            methods="Signals were described by a toy.",
            cites=("toy",),
            bibliography={
                "toy": {"author": "Doe J", "title": "Toys", "journal": "J Toys", "year": 2026,
                        "doi": "10.1/toy"}
            },
        )
    )  # fmt: skip
    register_estimator(
        EstimatorEntry(
            name="guess",
            home=Guess,
            title="Guess",
            noun="guess",
            algorithm="guessing",
            url="https://example.org/guess",
            words="A guess",
            std_words="Standard deviation of the guess",
            methods="Estimates were guessed.",
            points="points",
        )
    )
    register_map(
        QualityMap(
            name="luck",
            description="How lucky the guess was",
            values=lambda voxels: voxels.quality.get("luck"),
            display=(0.0, 1.0),
            flag=Flag(
                32,
                "the guess was out of luck",
                lambda voxels: voxels.quality["luck"] < 0.5 if "luck" in voxels.quality else None,
            ),
            summary=Summary("median_luck", "Median luck over the mask", "Median luck"),
        )
    )


def pytest_configure() -> None:
    """As a plugin of pytest: the contract suites run over all three."""
    register()
