"""The signal that a network has learnt, as a model of the data: cheap, and nearly right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.estimators.network.devices import on_device
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.network.scaling import turned
from bids_brnn.signals.around import Passing
from bids_brnn.signals.base import Amplitude, SignalModel, amplitude_of, weights_of


@dataclass(frozen=True, eq=False)
class Imitation(Passing):
    """A :class:`~bids_brnn.signals.base.SignalModel` of the data, on the device of ``theta``."""

    turn: Tensor | None
    """``(R, R)``: coefficients of training, which ``model`` gives, to those of the data."""
    exact: SignalModel
    """What is imitated."""

    @property
    def amplitude(self) -> Amplitude:
        """Of the exact model."""
        return amplitude_of(self.exact)

    @property
    def weights(self) -> Tensor | None:
        """Of the exact model."""
        return weights_of(self.exact)

    @cached_property
    def _copies(self) -> dict[torch.device, SignalModel]:
        return {}

    def _on(self, device: torch.device) -> SignalModel:
        if device not in self._copies:
            self._copies[device] = on_device(self.model, device)
        return self._copies[device]

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(v, R)``; the basis is that of the data."""
        assert basis is None
        with torch.no_grad():
            return turned(self._on(theta.device)(theta), self.turn)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(v, R, P)``."""
        assert basis is None
        with torch.no_grad():
            signal, slopes = self._on(theta.device).linearize(theta)
            return turned(signal, self.turn), turned(slopes.mT, self.turn).mT.contiguous()


def imitation_of(network: NetworkEstimator) -> Imitation | None:
    """What a network imitates its exact signal by; None where it takes time frames.

    Raises
    ------
    AssertionError
        If the network knows no exact signal.
    """
    assert network.exact is not None
    turn = network.rotation
    if turn is not None:
        if turn.shape[0] != turn.shape[1]:
            return None
        turn = torch.linalg.inv(turn)
    return Imitation(network.model, turn, network.exact)
