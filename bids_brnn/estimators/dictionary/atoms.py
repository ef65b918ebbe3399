"""Atoms of a dictionary: where they lie, their signals, and the subspace they span."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.estimators.dictionary.search import SearchTree, best_atoms
from bids_brnn.estimators.voxels import blocks
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import CompressedSignal, Subspace

LOST_ENERGY = 1e-5
"""Share of the atoms' energy that an automatic rank leaves out."""
_LARGEST_AUTOMATIC_RANK = 64
_SUBSPACE_ATOMS = 4096
"""Atoms that determine the subspace; a dense grid is thinned, its span is smooth."""
_BLOCK_NUMBERS = 2**21
"""Real numbers of signals and derivatives that are simulated together (16 MB as double)."""


def log_grid(
    n_atoms: int = 10_000,
    *,
    t1_range: tuple[float, float] = (0.1, 5.0),
    t2_range: tuple[float, float] = (0.01, 2.5),
) -> Tensor:
    """Pairs (R1, R2) on a grid of equal ratios with T2 <= T1.

    Parameters
    ----------
    n_atoms
        Least number of atoms; 10,000 give steps of 4.1 % in T1 and T2, whose quantisation (1.2 %
        standard deviation) is below a third of the noise in brain tissue at |M0|/sigma = 20.
    t1_range, t2_range
        Seconds.

    Returns
    -------
    Tensor
        ``(A, 2)`` float64, 1/s.
    """
    logs = [math.log(t1_range[1] / t1_range[0]), math.log(t2_range[1] / t2_range[0])]
    ratio = math.sqrt(logs[0] * logs[1] / n_atoms)
    while True:
        t1, t2 = (
            torch.logspace(
                math.log10(low),
                math.log10(high),
                max(2, math.ceil(math.log(high / low) / ratio) + 1),
                dtype=torch.float64,
            )
            for low, high in (t1_range, t2_range)
        )
        pairs = torch.cartesian_prod(t1, t2)
        pairs = pairs[pairs[:, 1] <= pairs[:, 0] * (1 + 1e-9)]
        if len(pairs) >= n_atoms:
            return 1 / pairs
        ratio *= 0.99


def is_grid(parameters: ParameterSet) -> bool:
    """Whether the default atoms of a model are a grid: R1 and R2 alone are free."""
    free = parameters.columns("estimated", "nuisance")
    return [parameters.names[column] for column in free] == ["R1", "R2"]


def default_atoms(parameters: ParameterSet, n_atoms: int = 10_000, seed: int = 1) -> Tensor:
    """Atoms ``(A, P)`` float64 for a model.

    A logarithmic grid where R1 and R2 alone are free; otherwise low-discrepancy points between
    the bounds, without R2 < R1. Supplied parameters take their start value.
    """
    free = parameters.columns("estimated", "nuisance")
    names = [parameters.names[column] for column in free]
    if is_grid(parameters):
        grid = log_grid(n_atoms)
        atoms = parameters.start(grid).repeat(len(grid), 1)
        atoms[:, free] = grid
        lower, upper = parameters.bounds(atoms)
        return atoms[((atoms >= lower) & (atoms <= upper)).all(-1)]
    atoms = spread_candidates(parameters, n_atoms, seed)
    for column in parameters.columns("supplied"):
        atoms[:, column] = parameters.items[column].start
    if "R1" in names and "R2" in names:
        r1, r2 = parameters.index(("R1", "R2"))
        atoms = atoms[atoms[:, r2] >= atoms[:, r1]]
    return atoms


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Simulated atoms."""

    theta: Tensor
    """``(A, P)`` float64."""
    coefficients: Tensor
    """``(A, R)`` complex: signals at M0 = 1, compressed where there is a ``basis``."""
    basis: Tensor | None
    """``(N, R)`` orthonormal, or None where the model's samples are used as they are."""

    @cached_property
    def unit(self) -> Tensor:
        """``(A, R)``: coefficients of norm 1, real where a phase factor per atom makes them so."""
        values = self.coefficients / self.coefficients.norm(dim=-1, keepdim=True)
        # The sum of squares turns with twice the phase; |<d, y>| does not depend on that phase.
        total = (values**2).sum(-1, keepdim=True)
        turned = values * torch.exp(-0.5j * total.angle())
        limit = 64 * torch.finfo(values.real.dtype).eps
        is_real = bool(turned.imag.abs().max() < limit)
        unit: Tensor = turned.real.contiguous() if is_real else values
        return unit

    def best(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the best atom of each voxel ``(V, R)`` and its ``|<d, y>|``."""
        if data.device.type == "cpu":
            return self._tree.best(data)
        return best_atoms(data, self.unit)

    @cached_property
    def _tree(self) -> SearchTree:
        return SearchTree.build(self.unit)

    def model(self, model: SignalModel) -> SignalModel:
        """``model`` as the atoms see it."""
        return model if self.basis is None else CompressedSignal(model, Subspace(self.basis))


def simulate(
    model: SignalModel,
    theta: Tensor,
    *,
    rank: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Dictionary:
    """Simulate atoms ``theta`` ``(A, P)`` in blocks of fixed memory.

    Parameters
    ----------
    rank
        Coefficients of the subspace spanned by the atoms; None: as many as leave out
        :data:`LOST_ENERGY`, or no compression at all of a model that is compressed already.
    dtype
        Real.

    Raises
    ------
    DataError
        If an atom has no finite signal, or all signals vanish.
    """
    _refuse(~torch.isfinite(theta).all(-1), theta, "is not finite")
    points = theta.to(dtype=dtype, device=device)
    basis = None
    if rank is not None or not isinstance(model, CompressedSignal):
        basis = _subspace(model, points, rank)
    size = max(1, _BLOCK_NUMBERS // (model.n_samples * 2))
    signals = [model(points[rows], basis) for rows in blocks(len(points), size)]
    coefficients = torch.cat(signals)
    norm = coefficients.norm(dim=-1)
    _refuse(~torch.isfinite(norm) | (norm == 0), theta, "has no finite signal above zero")
    return Dictionary(theta, coefficients, basis)


class Tangents:
    """Derivatives of atoms, made for those that are asked for and then kept."""

    def __init__(self, model: SignalModel, dictionary: Dictionary) -> None:
        shape = (*dictionary.coefficients.shape, dictionary.theta.shape[1])
        self._model = dictionary.model(model)
        self._theta = dictionary.theta.to(dictionary.coefficients.real.dtype)
        self._values = dictionary.coefficients.new_zeros(shape)
        self._known = torch.zeros(shape[0], dtype=torch.bool, device=self._values.device)

    def of(self, index: Tensor) -> Tensor:
        """``(V, R, P)`` for atoms ``index`` ``(V,)``."""
        missing = torch.unique(index[~self._known[index]])
        if len(missing):
            self._values[missing] = self._model.linearize(self._theta[missing])[1]
            self._known[missing] = True
        return self._values[index]


def _refuse(bad: Tensor, theta: Tensor, why: str) -> None:
    if bool(bad.any()):
        row = int(torch.nonzero(bad)[0, 0])
        values = ", ".join(f"{value:.4g}" for value in theta[row].tolist())
        raise DataError(f"atom {row + 1} of the dictionary ({values}) {why}; remove it")


def _subspace(model: SignalModel, points: Tensor, rank: int | None) -> Tensor:
    """Leading left singular vectors of the atoms' signals, from their Gram matrix."""
    n = model.n_samples
    gram = torch.zeros((2, n, n), dtype=torch.float64, device=points.device)
    some = points[:: max(1, math.ceil(len(points) / _SUBSPACE_ATOMS))]
    for rows in blocks(len(some), max(1, _BLOCK_NUMBERS // (2 * n))):
        parts = torch.view_as_real(model(some[rows]).resolve_conj()).unbind(-1)
        used = [part.mT.contiguous() for part in parts if bool(part.any())]
        for part in used:
            gram[0] += part @ part.mT
        if len(used) == 2:
            gram[1] += used[1] @ used[0].mT - used[0] @ used[1].mT
    is_real = bool(gram[1].abs().max() <= 1e-6 * gram[0].abs().max())
    matrix = gram[0] if is_real else torch.complex(*gram)
    energy, vectors = leading_eigenvectors(matrix, rank or _LARGEST_AUTOMATIC_RANK)
    if rank is None:
        lost = 1 - torch.cumsum(energy, 0) / matrix.diagonal().real.sum()
        rank = min(int((lost > LOST_ENERGY).sum()) + 1, _LARGEST_AUTOMATIC_RANK)
    basis = vectors[:, : min(rank, len(energy))]
    dtype = points.dtype if not basis.is_complex() else (points[0, 0] * 1j).dtype
    result: Tensor = basis.to(dtype).contiguous()
    return result


def leading_eigenvectors(matrix: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """At least ``n`` largest eigenvalues of a Gram matrix, falling, and their vectors.

    Block power iteration where that is cheaper than all eigenvalues: those of signals fall so
    fast that every round of the block gains several digits.
    """
    width = n + 16
    if 4 * width < len(matrix):
        start = torch.randn(
            len(matrix), width, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        block = start.to(matrix)
        for _ in range(4):
            block = torch.linalg.qr(matrix @ block)[0]
        energy, turn = torch.linalg.eigh(block.mH @ matrix @ block)
        vectors = block @ turn
    else:
        energy, vectors = torch.linalg.eigh(matrix)
    return energy.flip(0).clamp_min(0), vectors.flip(1)
