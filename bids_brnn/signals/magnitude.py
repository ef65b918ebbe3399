"""The magnitude of another model's signal: what is left where the phase was thrown away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.signals.around import Around
from bids_brnn.signals.base import Amplitude, check_basis


@dataclass(frozen=True, eq=False)
class MagnitudeSignal(Around):
    """``|s|`` of time frames; again a signal model, with an imaginary part of zero.

    For time frames only: the magnitude of a coefficient depends on the basis. A basis is applied
    to magnitudes, so that a dictionary of them is compressed by its own singular vectors.
    """

    @property
    def amplitude(self) -> Amplitude:
        """M0 is its size, and real."""
        return "real"

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Magnitudes ``(..., N)`` at M0 = 1, complex dtype, or ``(..., R)`` with ``basis``."""
        signal = self.model(theta)
        return self._projected(signal.abs().to(signal.dtype), basis)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Magnitudes and derivatives ``(..., N, P)``, 0 where the signal itself is 0.

        ``d|s| = Re(conj(s) ds) / |s|``; at a zero crossing the derivative jumps, and one frame
        there weighs nothing.
        """
        signal, derivatives = self.model.linearize(theta)
        size = signal.abs()
        direction = torch.sgn(signal)[..., None]
        slopes = (direction.conj() * derivatives).real.to(signal.dtype)
        magnitudes = size.to(signal.dtype)
        if basis is None:
            return magnitudes, slopes
        return self._projected(magnitudes, basis), self._projected(slopes.mT, basis).mT

    def _projected(self, values: Tensor, basis: Tensor | None) -> Tensor:
        check_basis(basis, self.n_samples)
        return values if basis is None else values @ basis.conj().to(values.dtype)
