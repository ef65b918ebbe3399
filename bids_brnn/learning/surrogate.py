"""A network that imitates a signal model: signal, residual and bounds at the speed of a network.

One evaluation of the generalized Bloch model costs about as much as a hundred of the estimating
network. The surrogate gives the model signal at the estimate of every voxel, from which follow M0,
the residual and, by differentiation, the Cramer-Rao bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.learning.bodies import ResidualBody
from bids_brnn.learning.config import Stage
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

_ROWS = {torch.float32: 128, torch.bfloat16: 512}
"""Sets of parameters linearised together: what is between two layers stays in the cache."""
_MULTIPLE = 64
"""Sets linearised in bfloat16 are padded to multiples of this, so that the arithmetic of one does
not depend on how many others there are."""


class SurrogateNetwork(nn.Module):
    """Real and imaginary parts of coefficients at M0 = 1 as a function of standardised theta."""

    centre: Tensor
    scale: Tensor
    level: Tensor
    spread: Tensor

    def __init__(self, n_parameters: int, n_coefficients: int, width: int, blocks: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_parameters))
        self.register_buffer("scale", torch.ones(n_parameters))
        self.register_buffer("level", torch.zeros(2 * n_coefficients))
        self.register_buffer("spread", torch.ones(2 * n_coefficients))
        self.body = ResidualBody(n_parameters, 2 * n_coefficients, width, blocks)

    def standardise(self, theta: Tensor, channels: Tensor) -> None:
        """Set the scales at both ends from ``(n, P)`` and ``(n, 2R)``."""
        for values, centre, scale in (
            (theta, self.centre, self.scale),
            (channels, self.level, self.spread),
        ):
            std = values.double().std(0)
            centre.copy_(values.double().mean(0))
            scale.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def forward(self, theta: Tensor) -> Tensor:
        """``(..., 2R)``."""
        outputs: Tensor = self.body((theta - self.centre) / self.scale)
        return self.level + self.spread * outputs

    def linearize(
        self, theta: Tensor, columns: Sequence[int], *, half: bool = False
    ) -> tuple[Tensor, Tensor]:
        """``(v, 2R)`` of ``theta`` ``(v, P)``, and derivatives ``(v, len(columns), 2R)``.

        With ``half`` the derivatives are computed in bfloat16: 1 % of their norm is lost, and
        half of the time is saved.
        """
        directions = torch.diag(1 / self.scale)[list(columns)]
        inputs = (theta - self.centre) / self.scale
        kind = torch.bfloat16 if half else torch.float32
        if half:
            inputs = torch.cat([inputs, inputs[-1:].expand(-len(inputs) % _MULTIPLE, -1)])
        with torch.autocast(theta.device.type, enabled=False):
            parts = [
                self.body.along(part, directions, kind=kind) for part in inputs.split(_ROWS[kind])
            ]
        values, slopes = (torch.cat(part)[: len(theta)] for part in zip(*parts, strict=True))
        return self.level + self.spread * values, self.spread * slopes


@dataclass(frozen=True, eq=False)
class SurrogateModel:
    """A :class:`~bids_brnn.signals.base.SignalModel` made of a :class:`SurrogateNetwork`."""

    network: SurrogateNetwork
    parameters: ParameterSet
    conjugate: bool = False
    """The signal at ``-w0`` is the conjugate of that at ``w0``: then only ``|w0|`` is learnt."""

    @property
    def n_samples(self) -> int:
        """Number of coefficients."""
        return len(self.network.level) // 2

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Coefficients ``(..., R)`` at M0 = 1."""
        known, sign = self._folded(theta)
        real, imaginary = self.network(known).chunk(2, dim=-1)
        signal = torch.complex(real, imaginary * sign)
        if theta.dtype == torch.float64:
            signal = signal.to(torch.complex128)
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Coefficients and their derivatives ``(..., R, P)``; without a graph for backward."""
        signal, slopes = self.along(theta.reshape(-1, theta.shape[-1]), range(theta.shape[-1]))
        kind = torch.complex128 if theta.dtype == torch.float64 else torch.complex64
        signal, slopes = signal.to(kind), slopes.to(kind)
        if basis is not None:
            turn = basis.conj().to(kind)
            signal, slopes = signal @ turn, (slopes.mT @ turn).mT
        return signal.unflatten(0, theta.shape[:-1]), slopes.unflatten(0, theta.shape[:-1])

    def along(
        self, theta: Tensor, columns: Sequence[int], *, half: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Coefficients ``(v, R)`` of ``theta`` ``(v, P)``, and derivatives by some ``columns``.

        These are ``(v, R, len(columns))``; both in single precision, or derivatives in half of it.
        """
        known, sign = self._folded(theta)
        with torch.no_grad():
            values, slopes = self.network.linearize(known, columns, half=half)
        real, imaginary = values.chunk(2, dim=-1)
        rising, turning = slopes.chunk(2, dim=-1)
        if self.conjugate:
            imaginary, turning = imaginary * sign, turning * sign[:, None]
            for place, column in enumerate(columns):
                if column == self._folding:
                    rising[:, place] *= sign
                    turning[:, place] *= sign
        return torch.complex(real, imaginary), torch.complex(rising, turning).mT

    @property
    def _folding(self) -> int:
        return self.parameters.index(("w0",))[0]

    def _folded(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters at ``|w0|``, and the sign ``(..., 1)`` of imaginary parts."""
        known = theta.to(torch.float32)
        if not self.conjugate:
            return known, known.new_ones(())
        column = self._folding
        sign = torch.where(known[..., column] < 0, -1.0, 1.0)[..., None]
        folded = [known[..., :column], known[..., column : column + 1] * sign]
        return torch.cat([*folded, known[..., column + 1 :]], dim=-1), sign


def train_surrogate(
    data: TrainingSet,
    parameters: ParameterSet,
    *,
    conjugate: bool = False,
    width: int = 128,
    blocks: int = 3,
    steps: int = 3000,
    batch: int = 1024,
    learning_rate: float = 2e-3,
    seed: int = 0,
    log: Callable[[int, float], None] | None = None,
) -> SurrogateModel:
    """Fit a surrogate to the noise-free coefficients of ``data``.

    The loss is the squared error over the energy of each fingerprint, so that its root is a
    relative residual; Muon with a cosine schedule.

    Raises
    ------
    DataError
        If the loss becomes NaN.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SurrogateNetwork(len(parameters), data.coefficients.shape[-1], width, blocks)
    network.to(data.theta.device)
    model = SurrogateModel(network, parameters, conjugate)
    theta, coefficients = data.theta, data.coefficients
    if conjugate:
        folded = data.conjugated(theta[:, parameters.index(("w0",))[0]] < 0, parameters)
        theta, coefficients = folded.theta, folded.coefficients
    channels = torch.cat([coefficients.real, coefficients.imag], dim=-1)
    network.standardise(theta, channels)
    stage = Stage(Loss("mse"), steps, batch, learning_rate=learning_rate, warmup=min(100, steps))
    optimisers = build_optimisers(network, stage)
    rng = torch.Generator(theta.device).manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(len(theta), (batch,), generator=rng, device=theta.device)
        error = network(theta[rows]) - channels[rows]
        loss = (error.square().sum(-1) / channels[rows].square().sum(-1)).mean()
        network.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = stage.rate(step)
            optimiser.step()
        if log is not None and (step + 1) % 200 == 0:
            log(step + 1, float(loss.detach()) ** 0.5)
    if not bool(torch.isfinite(loss)):
        raise DataError("the training of the surrogate signal diverged; lower its learning_rate")
    network.eval().requires_grad_(False)
    return model
