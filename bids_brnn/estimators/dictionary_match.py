"""The atom that explains each voxel best, in blocks of voxels and atoms of fixed memory."""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.estimators.voxels import blocks

_VOXELS = 2048
_ATOMS = 4096


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
    for voxels in blocks(len(data), _VOXELS):
        best = torch.full_like(match[voxels], -1)
        where = torch.zeros_like(index[voxels])
        for atoms in blocks(len(unit), _ATOMS):
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
