"""Voxels of a measured series with their exact signal model, to compare estimators on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.bids import find_acquisitions, read_coefficients, read_mask, to_voxels
from bids_brnn.signals import build_model
from bids_brnn.signals.subspace import CompressedSignal, Subspace


@dataclass(frozen=True, eq=False)
class Measured:
    """The voxels of a mask."""

    data: Tensor
    """``(V, R)`` complex coefficients."""
    mask: NDArray[np.bool_]
    """``(X, Y, Z)`` with ``V`` true voxels."""
    model: CompressedSignal
    """Exact, in the basis of the series."""


def first_series(root: Path, kind: str) -> Measured:
    """The first series of a kind (``qmt``, ``mrf``) in a BIDS data set, with the masks beside it.

    Raises
    ------
    BidsBrnnError
        As of reading a data set.
    """
    masks = {path.name: path for path in (root / "derivatives").glob("*") if path.is_dir()}
    acquisition = find_acquisitions(root, kinds=(kind,), derivatives=masks).acquisitions[0]
    volume = read_coefficients(acquisition)
    if acquisition.mask is None:
        mask: NDArray[np.bool_] = np.all(abs(volume.data) > 0, axis=-1)
    else:
        mask = read_mask(acquisition.mask, volume)
    data = torch.from_numpy(to_voxels(volume.data, mask))
    model = build_model(acquisition.model, acquisition.sequence)
    basis = torch.tensor(acquisition.basis)
    return Measured(data, mask, CompressedSignal(model, Subspace(basis)))
