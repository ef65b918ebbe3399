"""A signal model whose samples are scaled such that the noise of all is that of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_brnn.information.noise import whitened
from bids_brnn.signals.around import Around

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Whitened(Around):
    """Samples times the root of the images averaged in each; again a signal model.

    What draws white noise (training, evaluation) or knows nothing of averages takes this one.
    """

    @property
    def weights(self) -> Tensor | None:
        """None: the noise of all samples is the same now."""
        return None

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)``, or coefficients ``(..., R)``."""
        signal = whitened(self.model, self.model(theta))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal ``(..., N)`` and derivatives ``(..., N, P)``."""
        signal, slopes = self.model.linearize(theta)
        signal, slopes = whitened(self.model, signal), whitened(self.model, slopes, -2)
        if basis is None:
            return signal, slopes
        turn = basis.conj().to(signal.dtype)
        return signal @ turn, (slopes.mT @ turn).mT
