"""Noisy fingerprints of one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.information.noise import add_noise
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.networks import Network
from bids_brnn.learning.statistics import mirrored_noise
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet


@dataclass(frozen=True)
class Draw:
    """Noisy fingerprints of one step."""

    coefficients: Tensor
    """``(K, B, R)``."""
    truth: Tensor
    """``(B, outputs)``."""
    bound: Tensor
    """``(B, outputs)``: at the SNR of the fingerprint, nuisances with their floor."""
    theta: Tensor
    """``(B, P)``."""
    snr: Tensor
    """``(B,)``."""
    efficient: Tensor | None = None
    """``(K, B, outputs)``: what an efficient estimator would return, where the gain is known."""


def draw_batch(
    data: TrainingSet,
    focus: TrainingSet | None,
    batch: int,
    share: float,
    *,
    rng: torch.Generator,
) -> TrainingSet:
    """``batch`` fingerprints, with repetition; the last ``share`` of them out of ``focus``."""
    in_focus = 0 if focus is None else round(share * batch)

    def some(source: TrainingSet, n: int) -> TrainingSet:
        rows = torch.randint(len(source), (n,), generator=rng, device=source.theta.device)
        return source[rows]

    drawn = some(data, batch - in_focus)
    return drawn if focus is None or in_focus == 0 else drawn.with_others(some(focus, in_focus))


def draw_noisy(
    data: TrainingSet,
    realisations: int,
    config: TrainingConfig,
    parameters: ParameterSet,
    columns: Sequence[int],
    *,
    rng: torch.Generator,
    mirrored: bool,
    floor: Tensor,
) -> Draw:
    """Draw an SNR per fingerprint and ``realisations`` of noise at that SNR.

    ``columns`` are the outputs of the network, ``floor`` ``(outputs,)`` their smallest bound.
    """
    batch, device = len(data), data.theta.device
    low, high = config.snr_range
    unit = torch.rand(batch, generator=rng, device=device)
    is_log = config.snr_spacing == "log"
    snr = low * (high / low) ** unit if is_log else low + (high - low) * unit
    if config.conjugate:
        mirror = torch.rand(batch, generator=rng, device=device) < 0.5
        data = data.conjugated(mirror, parameters)
    zeros = torch.zeros_like(data.coefficients)

    def draw(n: int) -> Tensor:
        return add_noise(zeros.expand(n, *zeros.shape), snr, rng=rng)

    noise = mirrored_noise(draw, realisations, mirrored=mirrored)
    chosen = list(columns)
    bound = torch.maximum(data.bound[:, chosen] / snr[:, None] ** 2, floor)
    truth = data.theta[:, chosen]
    efficient = None
    if data.gain is not None:
        efficient = truth + torch.einsum("bpr,kbr->kbp", data.gain[:, chosen], noise).real
    return Draw(data.coefficients + noise, truth, bound, data.theta, snr, efficient)


def network_inputs(
    network: Network,
    coefficients: Tensor,
    theta: Tensor,
    parameters: ParameterSet,
) -> Tensor:
    """Inputs of noisy ``coefficients`` ``(..., R)``; ``theta`` holds what is supplied."""
    columns = parameters.index(network.spec.supplied)
    known = {
        name: theta[..., column].expand(coefficients.shape[:-1])
        for name, column in zip(network.spec.supplied, columns, strict=True)
    }
    return network.prepare(coefficients, known)
