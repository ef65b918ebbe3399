"""A network that imitates a signal model: signal, residual and bounds at the speed of a network.

One evaluation of the generalized Bloch model costs about as much as a hundred of the estimating
network. The surrogate gives the model signal at the estimate of every voxel, from which follow M0,
the residual and, by differentiation, the Cramer-Rao bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bids_brnn.learning.bodies import ResidualBody
from bids_brnn.parameters import ParameterSet

_ROWS = {torch.float32: 256, torch.bfloat16: 512}
"""Sets of parameters linearised together: what is between two layers stays in the cache."""
_MULTIPLE = 64
"""Sets linearised in bfloat16 are padded to multiples of this, so that the arithmetic of one does
not depend on how many others there are."""


class SurrogateNetwork(nn.Module):
    """Real and imaginary parts of coefficients at M0 = 1 as a function of standardised theta.

    Parameters
    ----------
    n_parameters, n_coefficients, width, blocks
        Its shape.
    logarithmic
        Columns of theta whose logarithm it takes.
    turning
        Column of off-resonance, what it reaches to (rad/s), and how many sines and cosines the
        network is given of it: signals of a balanced train are a Fourier series of it.
    """

    centre: Tensor
    scale: Tensor
    level: Tensor
    spread: Tensor

    def __init__(
        self,
        n_parameters: int,
        n_coefficients: int,
        width: int,
        blocks: int,
        logarithmic: Sequence[int] = (),
        turning: tuple[int, float, int] = (0, 1.0, 0),
    ) -> None:
        super().__init__()
        self.logarithmic = tuple(logarithmic)
        self.turning = turning
        self.register_buffer("centre", torch.zeros(n_parameters))
        self.register_buffer("scale", torch.ones(n_parameters))
        self.register_buffer("level", torch.zeros(2 * n_coefficients))
        self.register_buffer("spread", torch.ones(2 * n_coefficients))
        n_inputs = n_parameters + 2 * turning[2]
        self.body = ResidualBody(n_inputs, 2 * n_coefficients, width, blocks)

    @classmethod
    def of(
        cls,
        parameters: ParameterSet,
        n_coefficients: int,
        width: int,
        blocks: int,
        *,
        logarithmic: Sequence[str] | None = None,
        harmonics: int = 0,
    ) -> SurrogateNetwork:
        """One of a model; by default what has a wide range is ``logarithmic``.

        ``harmonics`` are those of off-resonance, without effect where that is no parameter.
        """
        if logarithmic is None:
            logarithmic = [item.name for item in parameters if item.is_wide]
        turning = (0, 1.0, 0)
        if "w0" in parameters.names:
            item = parameters["w0"]
            reach = max(abs(item.lower), abs(item.upper))
            turning = (parameters.index(("w0",))[0], reach, harmonics)
        columns = parameters.index(logarithmic)
        return cls(len(parameters), n_coefficients, width, blocks, columns, turning)

    def standardise(self, theta: Tensor, channels: Tensor) -> None:
        """Set the scales at both ends from ``(n, P)`` and ``(n, 2R)``."""
        for values, centre, scale in (
            (self._scaled(theta), self.centre, self.scale),
            (channels, self.level, self.spread),
        ):
            std = values.double().std(0)
            centre.copy_(values.double().mean(0))
            scale.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def _scaled(self, theta: Tensor) -> Tensor:
        """``theta`` ``(..., P)`` with logarithms where it takes them."""
        if not self.logarithmic:
            return theta
        columns = list(self.logarithmic)
        scaled = theta.clone()
        scaled[..., columns] = theta[..., columns].clamp_min(torch.finfo(theta.dtype).tiny).log()
        return scaled

    def _inputs(self, theta: Tensor) -> Tensor:
        """Of the body, ``(..., I)``."""
        standardised = (self._scaled(theta) - self.centre) / self.scale
        if self.turning[2] == 0:
            return standardised
        angles = theta[..., self.turning[0], None] * self._steps
        return torch.cat([standardised, angles.sin(), angles.cos()], dim=-1)

    def _directions(
        self, theta: Tensor, columns: Sequence[int]
    ) -> tuple[Tensor, tuple[int, Tensor] | None]:
        """What ``columns`` change of the inputs, ``(D, I)``; off-resonance of each row its own."""
        column, _, harmonics = self.turning
        directions = torch.diag(1 / self.scale)[list(columns)]
        directions = nn.functional.pad(directions, (0, 2 * harmonics))
        if harmonics == 0 or column not in columns:
            return directions, None
        place = list(columns).index(column)
        angles = theta[:, column, None] * self._steps
        linear = directions[place, : -2 * harmonics].expand(len(theta), -1)
        waves = [self._steps * angles.cos(), -self._steps * angles.sin()]
        return directions, (place, torch.cat([linear, *waves], dim=-1))

    @property
    def _steps(self) -> Tensor:
        """Angles ``(H,)`` of the harmonics at 1 rad/s."""
        _, reach, harmonics = self.turning
        return torch.arange(1, harmonics + 1, device=self.centre.device) * (torch.pi / reach)

    def forward(self, theta: Tensor) -> Tensor:
        """``(..., 2R)``."""
        outputs: Tensor = self.body(self._inputs(theta))
        return self.level + self.spread * outputs

    def linearize(
        self, theta: Tensor, columns: Sequence[int], *, half: bool = False
    ) -> tuple[Tensor, Tensor]:
        """``(v, 2R)`` of ``theta`` ``(v, P)``, and derivatives ``(v, len(columns), 2R)``.

        With ``half`` the derivatives are computed in bfloat16: 1 % of their norm is lost, and
        half of the time is saved.
        """
        padded = theta
        if half:
            padded = torch.cat([theta, theta[-1:].expand(-len(theta) % _MULTIPLE, -1)])
        kind = torch.bfloat16 if half else torch.float32
        with torch.autocast(theta.device.type, enabled=False):
            parts = [
                self.body.along(self._inputs(part), *self._directions(part, columns), kind=kind)
                for part in padded.split(_ROWS[kind])
            ]
        values, slopes = (torch.cat(part)[: len(theta)] for part in zip(*parts, strict=True))
        for place, column in enumerate(columns):
            if column in self.logarithmic:
                slopes[:, place] /= theta[:, column, None]
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
