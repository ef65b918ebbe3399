"""Training of a surrogate signal, on the prior and on all that lies between the bounds.

Estimates are not draws from a prior: those of fluid, of fat and of noise lie near the bounds of
the parameters, often on them, and least squares pass anywhere. There a network that has seen the
prior alone is off by half of the signal, and so are M0 and the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.learning.config import Stage
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

_TINY = 1e-8
"""Square of the relative residual below which there is no more to gain: 1e-4."""


def train_surrogate(
    data: TrainingSet,
    parameters: ParameterSet,
    anywhere: tuple[Tensor, Tensor],
    *,
    conjugate: bool = False,
    width: int = 128,
    blocks: int = 3,
    harmonics: int = 0,
    steps: int = 3000,
    batch: int = 1024,
    learning_rate: float = 2e-3,
    seed: int = 0,
    log: Callable[[int, float], None] | None = None,
) -> SurrogateModel:
    """Fit a surrogate to the noise-free coefficients of ``data``, and of what lies elsewhere.

    The loss is the relative residual of each fingerprint; Muon with a cosine schedule.

    Parameters
    ----------
    data
        Draws from a prior: half of every batch.
    parameters
        Of the model.
    anywhere
        Parameters ``(m, P)`` between all bounds and their coefficients ``(m, R)``: the other half.
    conjugate
        Whether the signal at ``-w0`` is the conjugate of that at ``w0``.
    width, blocks, harmonics, steps, batch, learning_rate, seed
        Of the network and its training.
    log
        Called with the step and the mean relative residual.

    Raises
    ------
    DataError
        If the loss becomes NaN.
    """
    with seeded(seed):
        rank = data.coefficients.shape[-1]
        network = SurrogateNetwork.of(parameters, rank, width, blocks, harmonics=harmonics)
    network.to(data.theta.device)
    model = SurrogateModel(network, parameters, conjugate)
    halves = [
        _channels(theta, coefficients, parameters.index(("w0",)) if conjugate else [])
        for theta, coefficients in ((data.theta, data.coefficients), anywhere)
    ]
    n = min(len(theta) for theta, _ in halves)
    network.standardise(*(torch.cat([part[i][:n] for part in halves]) for i in (0, 1)))
    stage = Stage(Loss("mse"), steps, batch, learning_rate=learning_rate, warmup=min(100, steps))
    optimisers = build_optimisers(network, stage)
    rng = torch.Generator(data.theta.device).manual_seed(seed)
    half = max(1, batch // 2)
    for step in range(steps):
        drawn = []
        for theta, channels in halves:
            rows = torch.randint(len(theta), (half,), generator=rng, device=theta.device)
            drawn.append((theta[rows], channels[rows]))
        theta, channels = (torch.cat(part) for part in zip(*drawn, strict=True))
        error = network(theta) - channels
        # Of squares, the few that are far off would decide alone.
        share = error.square().sum(-1) / channels.square().sum(-1)
        loss = (share + _TINY).sqrt().mean()
        network.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = stage.rate(step)
            optimiser.step()
        if log is not None and (step + 1) % 200 == 0:
            log(step + 1, float(loss.detach()))
    if not bool(torch.isfinite(loss)):
        raise DataError("the training of the surrogate signal diverged; lower its learning_rate")
    network.eval().requires_grad_(False)
    return model


def _channels(
    theta: Tensor, coefficients: Tensor, folding: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Parameters ``(n, P)``, and real beside imaginary parts ``(n, 2R)``; columns are folded."""
    theta, imaginary = theta.clone(), coefficients.imag
    for column in folding:
        sign = torch.where(theta[:, column] < 0, -1.0, 1.0)
        theta[:, column] *= sign
        imaginary = imaginary * sign[:, None]
    return theta, torch.cat([coefficients.real, imaginary], dim=-1)
