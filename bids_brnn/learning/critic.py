"""A small network that knows the variance of the estimator, to open the hinge exactly.

The published loss charges ``max(variance - slack, 0)``. With few realisations the sample variance
is noisy, the hinge opens for estimators that keep below the slack, and they stay biased: for a
linear Gaussian problem with eight realisations the loss then has its minimum at 0.82 instead of
1.0 of the true slope. The critic regresses variance over bound on parameters and SNR, across all
fingerprints, while the estimator is trained; the hinge opens where the *critic* lies above the
slack and charges the (unbiased) sample variance. Its gradient is then that of the exact hinge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LOG_RANGE = 12.0
"""Limit of the log-variance: parameters that cannot be seen have a ratio of zero."""


class VarianceCritic(nn.Module):
    """Variance over bound of each output, as a function of all parameters and the SNR."""

    centre: Tensor
    scale: Tensor

    def __init__(self, n_parameters: int, n_outputs: int, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_parameters))
        self.register_buffer("scale", torch.ones(n_parameters))
        self.layers = nn.Sequential(
            nn.Linear(n_parameters + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, n_outputs),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def standardise(self, theta: Tensor) -> None:
        """Set the input scale from parameters ``(n, P)``."""
        spread = theta.double().std(0)
        self.centre.copy_(theta.double().mean(0))
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, theta: Tensor, snr: Tensor) -> Tensor:
        """Expected variance over bound ``(B, outputs)`` for ``theta`` ``(B, P)`` at ``snr``."""
        known = (theta - self.centre) / self.scale
        inputs = torch.cat([known, torch.log(snr / 20)[:, None]], dim=-1)
        logarithm: Tensor = self.layers(inputs).clamp(-_LOG_RANGE, _LOG_RANGE)
        return logarithm.exp()

    @staticmethod
    def loss(expected: Tensor, seen: Tensor) -> Tensor:
        """Deviance whose minimum is the mean of the noisy sample variances ``seen``."""
        return (expected.log() + seen / expected).mean()
