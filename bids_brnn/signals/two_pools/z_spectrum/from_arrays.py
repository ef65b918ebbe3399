"""Signal models that are computed as arrays of real numbers, in double precision on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bids_brnn.signals.base import Array, check_basis, check_parameters

if TYPE_CHECKING:
    from bids_brnn.parameters import ParameterSet


class FromArrays(ABC):
    """Makes a ``SignalModel`` of :meth:`arrays`, for subclasses with parameters and samples."""

    if TYPE_CHECKING:  # told by the subclass, in whatever way

        @property
        def parameters(self) -> ParameterSet: ...  # noqa: D102
        @property
        def n_samples(self) -> int: ...  # noqa: D102

    @abstractmethod
    def arrays(self, theta: Array, *, derivatives: bool) -> tuple[Array, Array]:
        """See :func:`bids_brnn.signals.base.arrays_of`."""

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Signal ``(..., N)`` with zero imaginary part, or coefficients ``(..., R)``."""
        return self._tensors(theta, basis, derivatives=False)[0]

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signal and derivatives ``(..., N, P)``."""
        return self._tensors(theta, basis, derivatives=True)

    def _tensors(
        self, theta: Tensor, basis: Tensor | None, *, derivatives: bool
    ) -> tuple[Tensor, Tensor]:
        check_parameters(theta, self.parameters)
        check_basis(basis, self.n_samples)
        wide = theta.detach().reshape(-1, theta.shape[-1]).double().cpu().numpy()
        found = self.arrays(np.ascontiguousarray(wide), derivatives=derivatives)
        kind = torch.complex64 if theta.dtype == torch.float32 else torch.complex128
        signal, slopes = (torch.from_numpy(part).to(theta.device, kind) for part in found)
        signal = signal.reshape(*theta.shape[:-1], self.n_samples)
        if derivatives:
            slopes = slopes.reshape(*signal.shape, theta.shape[-1])
        if basis is None:
            return signal, slopes
        project = basis.conj().to(signal)
        return signal @ project, (slopes.mT @ project).mT if derivatives else slopes
