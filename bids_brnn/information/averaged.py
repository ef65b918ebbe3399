"""A signal model whose samples are scaled such that the noise of all is that of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_brnn.information.noise import whitened

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.parameters import ParameterSet
    from bids_brnn.signals.base import Amplitude, SignalModel


@dataclass(frozen=True, eq=False)
class Whitened:
    """Samples times the root of the images averaged in each; again a signal model.

    What draws white noise (training, evaluation) or knows nothing of averages takes this one.
    """

    model: SignalModel

    @property
    def parameters(self) -> ParameterSet:
        """Of the model."""
        return self.model.parameters

    @property
    def n_samples(self) -> int:
        """Of the model."""
        return self.model.n_samples

    @property
    def amplitude(self) -> Amplitude:
        """Of the model."""
        from bids_brnn.signals.base import amplitude_of  # torch is loaded where it is used

        return amplitude_of(self.model)

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
