"""A small network that knows the errors of another one: their covariance, without a derivative.

It sees what the estimator sees (standardised coefficients) and the noise level, and returns a
lower triangular factor ``L`` of the covariance ``L L^T`` of the errors ``estimate - truth``. It is
trained by the Gaussian likelihood of the errors that the estimator makes on fingerprints of the
prior, all of them together and each alone. For an estimator without bias these are standard
deviations; for one with bias, root mean square errors over the prior.

The noise enters by two paths: every deviation is proportional to the relative noise, and the
factor before it may depend on the noise too, as it does where the signal is curved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.learning.beside import one_ahead
from bids_brnn.learning.bodies import ResidualBody
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.draws import draw_noisy, network_inputs
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import Network
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

_LOG_LIMIT = 12.0
"""Of logarithms, so that deviations stay finite whatever the input."""
_FAR = 6.0
"""Standardised features beyond this say no more than this."""
_MOST = 200.0
"""Loss of one draw: a handful of wild errors (fluid on another branch) must not decide a step."""
_FIRST = 16384
"""Draws that set the scales."""


class ErrorNetwork(nn.Module):
    """Factor of the covariance of errors, from standardised inputs and relative noise.

    Parameters
    ----------
    n_features
        Of the estimating network.
    n_outputs
        Outputs ``O`` whose errors are known.
    width, blocks
        Of the residual body.
    """

    level: Tensor
    """``(O,)``: usual deviation at a relative noise of 1."""
    noise: Tensor
    """``(2,)``: centre and spread of the logarithm of the relative noise."""

    def __init__(self, n_features: int, n_outputs: int, width: int = 128, blocks: int = 2) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.register_buffer("level", torch.ones(n_outputs))
        self.register_buffer("noise", torch.tensor([0.0, 1.0]))
        n_below = n_outputs * (n_outputs - 1) // 2
        self.body = ResidualBody(n_features + 1, n_outputs + n_below, width, blocks)

    def forward(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Deviations and the direction of each row of the factor.

        Parameters
        ----------
        features
            ``(V, n_features)``: of :meth:`CoefficientNetwork.with_features`.
        noise
            ``(V,)``: standard deviation per channel over the norm of the coefficients.

        Returns
        -------
        std
            ``(V, O)``, in the units of the outputs.
        rows
            ``(V, O, O)``: lower triangular with rows of unit norm; the covariance is
            ``std_i std_j (rows rows^T)_ij``.
        """
        logs, below = self._body(features, noise)
        rows = torch.diag_embed(torch.ones_like(logs))
        i, j = torch.tril_indices(self.n_outputs, self.n_outputs, -1, device=logs.device)
        rows[:, i, j] = below
        return self._size(logs, noise), rows / rows.square().sum(-1, keepdim=True).sqrt()

    def deviations(self, features: Tensor, noise: Tensor) -> Tensor:
        """Only the deviations ``(V, O)``."""
        return self._size(self._body(features, noise)[0], noise)

    def covariance(self, features: Tensor, noise: Tensor) -> Tensor:
        """``(V, O, O)``."""
        std, rows = self(features, noise)
        factor = std[..., None] * rows
        found: Tensor = factor @ factor.mT
        return found

    def _body(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        logarithm = noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
        extra = ((logarithm - self.noise[0]) / self.noise[1]).clamp(-3, 3)
        known = features.float().clamp(-_FAR, _FAR)
        found: Tensor = self.body(torch.cat([known, extra[:, None]], dim=-1)).float()
        return found[:, : self.n_outputs], found[:, self.n_outputs :]

    def _size(self, logs: Tensor, noise: Tensor) -> Tensor:
        size: Tensor = self.level * logs.clamp(-_LOG_LIMIT, _LOG_LIMIT).exp() * noise[:, None]
        return size


def likelihood(std: Tensor, rows: Tensor, errors: Tensor) -> Tensor:
    """Negative logarithm ``(V,)`` of the Gaussian density of errors, together and each alone."""
    scaled = errors / std
    solved = torch.linalg.solve_triangular(rows, scaled[..., None], upper=False)[..., 0]
    logs = std.log()
    joint = 0.5 * solved.square() + rows.diagonal(dim1=-2, dim2=-1).log() + logs
    alone = 0.5 * scaled.square() + logs
    total: Tensor = (joint + alone).sum(-1)
    return total


def train_error_network(
    network: Network,
    data: TrainingSet,
    parameters: ParameterSet,
    config: TrainingConfig,
    names: Sequence[str],
    *,
    width: int = 128,
    blocks: int = 2,
    steps: int = 6000,
    batch: int = 2048,
    learning_rate: float = 3e-3,
    log: Callable[[int, float], None] | None = None,
) -> ErrorNetwork:
    """Learn the errors of a trained network.

    Parameters
    ----------
    network
        The estimator; it stays as it is.
    data
        Fingerprints to draw from, as in its own training.
    parameters
        Of the signal model.
    config
        Of its training: noise levels, symmetry, seed.
    names
        Outputs whose errors are learnt.
    width, blocks, steps, batch, learning_rate
        Of the error network and its training.
    log
        Called with step and mean loss.

    Raises
    ------
    DataError
        If the training diverges.
    """
    with seeded(config.seed):
        found = ErrorNetwork(network.n_features, len(names), width, blocks)
    device = next(network.parameters()).device
    found.to(device)
    source = _Errors(network, parameters, config, names)
    rng = torch.Generator(device).manual_seed(config.seed + 2)
    stage = Stage(Loss("mse"), steps, batch, learning_rate=learning_rate, warmup=min(100, steps))
    return learn_errors(found, lambda n: source.draw(data, n, rng), stage, log)


def learn_errors(
    found: ErrorNetwork,
    draw: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    stage: Stage,
    log: Callable[[int, float], None] | None = None,
) -> ErrorNetwork:
    """Train ``found`` in place; in evaluation mode afterwards.

    Parameters
    ----------
    found
        Not yet standardised.
    draw
        Features, relative noise and errors of so many draws.
    stage
        Steps, batch and learning rate.
    log
        Called with step and mean loss.

    Raises
    ------
    DataError
        If the training diverges.
    """
    _standardise(found, *draw(_FIRST)[1:])
    optimisers = build_optimisers(found, stage)
    loss, total = torch.zeros(()), 0.0
    draws = (draw(stage.batch) for _ in range(stage.steps))
    with one_ahead(draws, found.noise.device) as drawn:
        for step, (features, noise, errors) in enumerate(drawn):
            std, rows = found(features, noise)
            loss = likelihood(std, rows, errors).clamp_max(_MOST).mean()
            found.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(found.parameters(), 1.0)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = stage.rate(step)
                optimiser.step()
            total += float(loss.detach())
            if log is not None and (step + 1) % 200 == 0:
                log(step + 1, total / 200)
                total = 0.0
    if not bool(torch.isfinite(loss)):
        raise DataError("the training of the error network diverged; lower its learning_rate")
    found.eval().requires_grad_(False)
    return found


class _Errors:
    """What a network gets wrong, in random draws."""

    def __init__(
        self,
        network: Network,
        parameters: ParameterSet,
        config: TrainingConfig,
        names: Sequence[str],
    ) -> None:
        self.network, self.parameters, self.config = network, parameters, config
        self.columns = parameters.index(names)
        self.outputs = [network.spec.outputs.index(name) for name in names]
        self.bounds = tuple(
            limit[self.columns] for limit in parameters.bounds(network.output_centre)
        )

    @torch.no_grad()
    def draw(
        self, data: TrainingSet, n: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features, relative noise and errors of ``n`` draws."""
        rows = torch.randint(len(data), (n,), generator=rng, device=rng.device)
        floor = torch.zeros(len(self.columns), device=rng.device)
        some = TrainingSet(data.coefficients, data.theta, data.bound)[rows]
        drawn = draw_noisy(
            some, 1, self.config, self.parameters, self.columns,
            rng=rng, mirrored=False, floor=floor,
        )  # fmt: skip
        coefficients = drawn.coefficients[0]
        inputs = network_inputs(self.network, coefficients, drawn.theta, self.parameters)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self._half):
            outputs, features = self.network.with_features(inputs)
        estimates = outputs[:, self.outputs].float()
        # As delivered: within the bounds of the parameters.
        errors = estimates.clamp(*self.bounds) - drawn.truth
        size = coefficients.abs().square().sum(-1).sqrt()
        if self.network.spec.scale == "one":  # data stay as they are
            size = torch.ones_like(size)
        return features, 1 / (drawn.snr * size), errors

    @property
    def _half(self) -> bool:
        return self.config.precision == "bf16"


def _standardise(found: ErrorNetwork, noise: Tensor, errors: Tensor) -> None:
    logarithm = noise.log()
    found.noise.copy_(torch.stack([logarithm.mean(), logarithm.std().clamp_min(1e-3)]))
    usual = (errors / noise[:, None]).abs().median(0).values
    found.level.copy_(usual.clamp_min(torch.finfo(usual.dtype).tiny))
