"""Linear subspaces of signals, and models that are observed through one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.signals.around import Around
from bids_brnn.signals.base import SignalModel, check_basis

_EXACT_LIMIT = 1500  # smaller side of a matrix up to which a full SVD takes seconds at most


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
        error = float((gram - torch.eye(self.rank).to(wide)).abs().max())
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

    @classmethod
    def from_signals(cls, signals: Tensor, rank: int) -> Subspace:
        """The real subspace that holds most energy of ``signals`` ``(n, N)``.

        Parameters
        ----------
        signals
            Real or complex; a real basis for complex signals treats a signal and its conjugate
            (opposite off-resonance) alike.
        rank
            Number of coefficients to keep.

        Raises
        ------
        DataError
            If there are fewer signals or samples than ``rank``, or values are not finite.
        """
        return cls(_leading_directions(_as_real_rows(signals), rank))

    @classmethod
    def from_derivatives(
        cls,
        signals: Tensor,
        derivatives: Tensor,
        rank: int,
        weight: float = 0.5,
        *,
        columns: list[int] | None = None,
    ) -> Subspace:
        """A real subspace that keeps Cramer-Rao bounds low (Mao, arXiv 2305.00326).

        For each fingerprint and parameter the direction that an efficient estimator reads, the
        derivative made orthogonal to the signal (any complex M0) and to all other derivatives,
        is added to the signal before the singular value decomposition.

        Parameters
        ----------
        signals, derivatives
            ``(n, N)`` and ``(n, N, P)``, with derivatives of *all* unknown parameters.
        rank
            Number of coefficients to keep.
        weight
            0: signals only, 1: derivatives only. All vectors have unit length before weighting.
        columns
            Parameters of interest; all by default. The others are nuisances: their derivatives
            are projected out but not added.

        Raises
        ------
        DataError
            If ``weight`` is outside [0, 1], or as :meth:`from_signals`.
        """
        if not 0 <= weight <= 1:
            raise DataError(f"weight = {weight} of the derivatives is outside [0, 1]")
        directions = efficient_directions(signals, derivatives)
        kept = directions if columns is None else directions[..., columns]
        stacked = torch.cat(
            [
                (1 - weight) * _as_real_rows(_unit(signals)),
                weight * _as_real_rows(kept.mT.reshape(-1, signals.shape[-1])),
            ]
        )
        return cls(_leading_directions(stacked, rank))

    @classmethod
    def from_model(
        cls, model: SignalModel, theta: Tensor, rank: int, weight: float = 0.5
    ) -> Subspace:
        """:meth:`from_derivatives` for the fingerprints ``theta`` ``(n, P)`` of a model.

        Estimated parameters are of interest, nuisances are projected out, supplied ones are known.
        """
        signals, derivatives = model.linearize(theta)
        free = model.parameters.columns("estimated", "nuisance")
        wanted = set(model.parameters.columns("estimated"))
        columns = [position for position, column in enumerate(free) if column in wanted]
        return cls.from_derivatives(signals, derivatives[..., free], rank, weight, columns=columns)

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


@dataclass(frozen=True, eq=False)
class CompressedSignal(Around):
    """A signal model observed through a subspace; again a signal model."""

    subspace: Subspace

    def __post_init__(self) -> None:
        check_basis(self.subspace.basis, self.model.n_samples)

    @property
    def n_samples(self) -> int:
        """Number of coefficients."""
        return self.subspace.rank

    @property
    def weights(self) -> Tensor | None:
        """None: coefficients are sums over frames, whose noise is that of one."""
        return None

    def _basis(self, theta: Tensor, basis: Tensor | None) -> Tensor:
        own = self.subspace.like(theta)
        return own if basis is None else own @ basis.to(own.dtype)

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        """Coefficients ``(..., R)`` at M0 = 1."""
        return self.model(theta, self._basis(theta, basis))

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Coefficients ``(..., R)`` and derivatives ``(..., R, P)``."""
        return self.model.linearize(theta, self._basis(theta, basis))


def _unit(rows: Tensor) -> Tensor:
    norm = (rows.abs() ** 2).sum(-1, keepdim=True).sqrt()
    return rows / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def _as_real_rows(rows: Tensor) -> Tensor:
    """Rows whose real span is that of ``rows`` and their conjugates."""
    if rows.ndim != 2:
        raise DataError(f"signals must be (sets, samples), got {tuple(rows.shape)}")
    return torch.cat([rows.real, rows.imag]) if rows.is_complex() else rows


def efficient_directions(signals: Tensor, derivatives: Tensor) -> Tensor:
    """Unit vectors ``(n, N, P)``: each derivative minus what signal and others explain.

    Parameters are real and M0 is complex: ``s``, ``i s`` and all derivatives are columns over
    the reals; the dual basis of these columns is orthogonal to all but its own.
    """
    signals = signals.to(torch.complex128)
    derivatives = derivatives.to(torch.complex128)
    columns = torch.cat([signals[..., None], 1j * signals[..., None], derivatives], dim=-1)
    real = torch.cat([columns.real, columns.imag], dim=-2)
    real = real / real.norm(dim=-2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    q, r = torch.linalg.qr(real)
    eye = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
    # Rows of the inverse of r; a parameter without effect (zero column) has no direction.
    dead = r.diagonal(dim1=-2, dim2=-1).abs() < 1e-12
    safe = torch.where(dead[..., None, :] & (eye > 0), eye, r)
    inverse = torch.linalg.solve_triangular(safe, eye.expand_as(r), upper=True)
    dual = (q @ inverse.mT)[..., 2:]
    half = dual.shape[-2] // 2
    directions = torch.complex(dual[..., :half, :], dual[..., half:, :])
    norm = (directions.abs() ** 2).sum(-2, keepdim=True).sqrt()
    unit = torch.where(dead[..., None, 2:], 0, directions / norm.clamp_min(1e-300))
    return unit


def _leading_directions(rows: Tensor, rank: int) -> Tensor:
    """Leading right singular vectors ``(N, rank)`` of real ``rows`` ``(n, N)``."""
    rows = rows.to(torch.float64)
    if not 1 <= rank <= min(rows.shape):
        raise DataError(
            f"rank {rank} needs as many signals and samples; there are {rows.shape[0]} signals of "
            f"{rows.shape[1]} samples, so that a basis has 1 to {min(rows.shape)} columns"
        )
    if not bool(torch.isfinite(rows).all()):
        raise DataError("signals contain values that are not finite")
    if min(rows.shape) <= _EXACT_LIMIT:
        basis = torch.linalg.svd(rows, full_matrices=False).Vh[:rank].mT
    else:
        basis = _subspace_iteration(rows, rank)
    # The sign of a singular vector is arbitrary: make the largest entry positive.
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    signed: Tensor = basis * torch.sgn(largest)
    return signed.contiguous()


def _subspace_iteration(rows: Tensor, rank: int, n_iterations: int = 12) -> Tensor:
    """Block power iteration with oversampling: each pass damps the unwanted by (s_m/s_rank)^2."""
    width = min(*rows.shape, 2 * rank + 20)
    # The seed is of the start block only; the result does not depend on it.
    rng = torch.Generator().manual_seed(0)
    block = torch.randn(rows.shape[1], width, generator=rng, dtype=rows.dtype).to(rows.device)
    for _ in range(n_iterations):
        block = torch.linalg.qr(rows.mT @ (rows @ torch.linalg.qr(block).Q)).Q
    vectors = torch.linalg.svd(rows @ block, full_matrices=False).Vh
    leading: Tensor = block @ vectors[:rank].mT
    return leading
