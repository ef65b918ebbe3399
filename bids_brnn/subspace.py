"""Linear subspaces of signals, and models that are observed through one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel


@dataclass(frozen=True, eq=False)
class Subspace:
    """An orthonormal basis of ``rank`` columns; ``coefficients = basis^H signal``."""

    basis: Tensor
    """Shape ``(N, R)``, real or complex."""

    def __post_init__(self) -> None:
        if self.basis.ndim != 2 or self.basis.shape[0] < self.basis.shape[1]:
            raise DataError(f"a basis is (samples, coefficients), got {tuple(self.basis.shape)}")
        wide = self.basis.to(torch.complex128 if self.basis.is_complex() else torch.float64)
        gram = wide.mH @ wide
        error = float((gram - torch.eye(self.rank, dtype=wide.dtype)).abs().max())
        if not error < 1e-4:  # float32 tables reach 1e-6; noise stays white only if this holds
            raise DataError(f"basis columns are not orthonormal (largest error {error:.2g})")

    @property
    def rank(self) -> int:
        """Number of coefficients ``R``."""
        return int(self.basis.shape[1])

    @property
    def n_samples(self) -> int:
        """Number of samples ``N``."""
        return int(self.basis.shape[0])

    @property
    def digest(self) -> str:
        """Hash of the basis rounded to 6 decimals, so that text round trips do not change it."""
        wide = torch.view_as_real(self.basis.to(torch.complex128).contiguous())
        rounded = torch.round(wide * 1e6).to(torch.int64).cpu().numpy()
        return hashlib.sha256(repr(rounded.shape).encode() + rounded.tobytes()).hexdigest()[:16]

    def like(self, tensor: Tensor) -> Tensor:
        """The basis in the precision and on the device of ``tensor``."""
        double = tensor.dtype in (torch.float64, torch.complex128)
        if self.basis.is_complex():
            dtype = torch.complex128 if double else torch.complex64
        else:
            dtype = torch.float64 if double else torch.float32
        return self.basis.to(dtype=dtype, device=tensor.device)

    def compress(self, signal: Tensor) -> Tensor:
        """Project signals ``(..., N)`` to coefficients ``(..., R)``."""
        basis = self.like(signal).conj()
        return signal @ basis.to(signal.dtype)

    def expand(self, coefficients: Tensor) -> Tensor:
        """Signals ``(..., N)`` of coefficients ``(..., R)``."""
        return coefficients @ self.like(coefficients).to(coefficients.dtype).mT


@dataclass(frozen=True, eq=False)
class CompressedSignal:
    """A signal model observed through a subspace; again a signal model."""

    model: SignalModel
    subspace: Subspace

    def __post_init__(self) -> None:
        if self.model.n_samples != self.subspace.n_samples:
            raise DataError(
                f"the basis has {self.subspace.n_samples} rows, "
                f"the pulse train has {self.model.n_samples} samples"
            )

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the underlying model."""
        return self.model.parameters

    @property
    def n_samples(self) -> int:
        """Number of coefficients."""
        return self.subspace.rank

    def _basis(self, theta: Tensor, basis: Tensor | None) -> Tensor:
        own = self.subspace.like(theta)
        return own if basis is None else own @ basis.to(own.dtype)

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Coefficients ``(..., R)`` at M0 = 1."""
        return self.model(theta, self._basis(theta, basis))

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Coefficients ``(..., R)`` and derivatives ``(..., R, P)``."""
        return self.model.linearize(theta, self._basis(theta, basis))
