"""The atom that explains each voxel best: by a tree pruned by angle (CPU), or among all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.estimators.voxels import blocks

Array = NDArray[Any]

_VOXELS = 1024
"""Voxels of one task."""


@dataclass(frozen=True, eq=False)
class SearchTree:
    """Atoms in leaves of nearly parallel ones."""

    atoms: tuple[Array, Array]
    members: Array
    centres: tuple[Array, Array]
    cosine: Array
    sine: Array

    @classmethod
    def build(cls, unit: Tensor) -> SearchTree:
        """Sort atoms ``(A, R)`` of norm 1, real or complex, into leaves.

        The set is halved at the median along its widest direction until it fits into leaves; a
        leaf's centre is the leading singular vector of its atoms.
        """
        from bids_brnn.estimators.dictionary.search_kernel import LEAF

        values = unit.detach().resolve_conj().numpy()
        members = _leaves(values.astype(np.result_type(values.dtype, np.float64)), LEAF)
        leaves = values[members]
        wide = leaves.astype(np.result_type(values.dtype, np.float64))
        gram = np.swapaxes(wide, 1, 2) @ wide.conj()
        centres = np.linalg.eigh(gram)[1][:, :, -1]
        overlap = np.abs(np.einsum("lar,lr->la", wide.conj(), centres)).min(1)
        # Near 1 the cosine of an angle loses half of the digits.
        margin = 4 * np.sqrt(np.finfo(unit.real.numpy().dtype).eps)
        radius = np.minimum(np.arccos(np.minimum(overlap, 1)) + margin, np.pi / 2)
        n_groups = -(-len(members) // LEAF)
        padded = np.zeros((n_groups * LEAF, values.shape[1]), values.dtype)
        padded[: len(members)] = centres
        angle = np.zeros(n_groups * LEAF)
        angle[: len(members)] = radius
        real = values.real.dtype
        return cls(
            _lanes_last(leaves),
            members,
            _lanes_last(padded.reshape(n_groups, LEAF, -1)),
            np.cos(angle).astype(real),
            np.sin(angle).astype(real),
        )

    def best(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the best atom and its ``|<d, y>|``, for ``data`` ``(V, R)`` complex."""
        from bids_brnn.estimators.dictionary.search_kernel import search

        parts = torch.view_as_real(data.detach().resolve_conj()).numpy()
        index = np.empty(len(data), np.int64)
        match = np.empty(len(data), self.cosine.dtype)

        def work(rows: slice) -> None:
            real, imag = (np.ascontiguousarray(parts[rows, :, part]) for part in (0, 1))
            scratch = np.empty((3, max(self.cosine.size, 1)), real.dtype)
            axes = tuple(np.empty(size, real.dtype) for size in (*2 * (real.shape[1],), 2))
            search(
                real, imag, self.atoms, self.members, self.centres, self.cosine, self.sine,
                scratch, axes, index[rows], match[rows],
            )  # fmt: skip

        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
            for task in [threads.submit(work, rows) for rows in blocks(len(data), _VOXELS)]:
                task.result()
        return torch.from_numpy(index), torch.from_numpy(np.sqrt(match))


def _lanes_last(values: Array) -> tuple[Array, Array]:
    """``(blocks, LEAF, R)`` to contiguous ``(blocks, R, LEAF)``: real part, imaginary part."""
    turned = np.swapaxes(values, 1, 2)
    real = np.ascontiguousarray(turned.real)
    return real, np.ascontiguousarray(turned.imag) if np.iscomplexobj(values) else real[:0]


def _leaves(values: Array, size: int) -> NDArray[np.int64]:
    """``(leaves, size)``: indices of near-parallel atoms; a short leaf repeats its first atom."""
    # One phase for all: that which makes the product with the common direction positive.
    common = np.linalg.eigh(values.T @ values.conj())[1][:, -1]
    product = values @ common.conj()
    safe = np.where(np.abs(product) > 0, product, 1)
    turned = values * (safe.conj() / np.abs(safe))[:, None]
    points = np.concatenate([turned.real, turned.imag], 1) if np.iscomplexobj(values) else turned
    done = []
    waiting = [np.arange(len(values))]
    while waiting:
        index = waiting.pop()
        if len(index) <= size:
            done.append(np.concatenate([index, np.repeat(index[:1], size - len(index))]))
            continue
        some = points[index] - points[index].mean(0)
        direction = np.linalg.eigh(some.T @ some)[1][:, -1]
        order = index[np.argsort(some @ direction, kind="stable")]
        # Whole leaves on the left, so that only the last one is short.
        half = (len(index) // 2 + size - 1) // size * size
        waiting += [order[half:], order[:half]]
    return np.stack(done)


_DENSE_VOXELS = 2048


_DENSE_ATOMS = 4096


def best_atoms(data: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Largest ``|<d, y>|`` of each voxel.

    Parameters
    ----------
    data
        ``(V, R)`` complex, of comparable norm.
    unit
        ``(A, R)`` atoms of norm 1, real or complex.

    Returns
    -------
    index, match
        ``(V,)`` each: the first of the best atoms, and its ``|<d, y>|``.
    """
    index = torch.empty(len(data), dtype=torch.int64, device=data.device)
    match = torch.empty(len(data), dtype=unit.real.dtype, device=data.device)
    for voxels in blocks(len(data), _DENSE_VOXELS):
        best = torch.full_like(match[voxels], -1)
        where = torch.zeros_like(index[voxels])
        for atoms in blocks(len(unit), _DENSE_ATOMS):
            score, place = _scores(data[voxels], unit[atoms]).max(dim=1)
            better = score > best
            best = torch.where(better, score, best)
            where = torch.where(better, place + atoms.start, where)
        index[voxels], match[voxels] = where, best.clamp_min(0).sqrt()
    return index, match


def _scores(data: Tensor, unit: Tensor) -> Tensor:
    """``|<d, y>|^2``, ``(V, A)``."""
    if unit.is_complex():
        product = data @ unit.mH
        return product.real.square().addcmul_(product.imag, product.imag)
    real, imag = data.real @ unit.mT, data.imag @ unit.mT
    return real.square_().addcmul_(imag, imag)
