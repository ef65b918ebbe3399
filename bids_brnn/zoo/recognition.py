"""Recognise a subspace, and find the rotation into it, without storing its basis.

The basis of a pulse train has thousands of rows. Some dozens of fixed linear combinations of its
rows (a sketch) tell as much: if ``U = V Q`` then ``S U = (S V) Q``, and with more combinations
than columns both ``Q`` and the failure to find one show.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.signals.subspace import Subspace

_ROWS_PER_COLUMN = 4
_GOLDEN = (math.sqrt(5) - 1) / 2
SAME_SPAN = 1e-3
"""Largest relative part of a basis outside the span of the other; tables in text reach 1e-5."""


def sketch(subspace: Subspace) -> Tensor:
    """``(4 R, R)`` complex128 combinations of the rows of a basis ``(N, R)``.

    The combinations are a formula of row and sample (cosines of a Weyl sequence), not the output
    of a random generator that another version of a library may change.
    """
    n, rank = subspace.basis.shape
    row = np.arange(1, _ROWS_PER_COLUMN * rank + 1, dtype=np.float64)[:, None]
    sample = np.arange(1, n + 1, dtype=np.float64)[None]
    phase = np.mod(np.mod(sample * sample * _GOLDEN, 1.0) * row * math.sqrt(2), 1.0)
    mixing = torch.from_numpy(np.cos(2 * math.pi * phase) * math.sqrt(2 / n))
    return mixing.to(torch.complex128) @ subspace.basis.to(torch.complex128)


def rotation_from(subspace: Subspace, known: Tensor, what: str) -> Tensor:
    """``Q`` ``(R, R)`` so that coefficients in ``subspace`` times ``Q`` are those of training.

    Parameters
    ----------
    subspace
        Basis ``U`` of the data.
    known
        Sketch of the basis ``V`` of training.
    what
        Name of the model, for the message.

    Raises
    ------
    DataError
        If the spans differ; ``V = U Q`` then has no solution.
    """
    if known.shape[1] != subspace.rank:
        raise DataError(
            f"{what} was trained with {known.shape[1]} coefficients, the basis has "
            f"{subspace.rank} columns"
        )
    here = sketch(subspace)
    rotation = torch.linalg.lstsq(here, known).solution
    outside = float((known - here @ rotation).norm() / known.norm())
    if not outside < SAME_SPAN:
        raise DataError(
            f"the basis spans another subspace than that of {what} "
            f"({100 * outside:.2g} % of it lies outside)"
        )
    # c = U^H s and V = U Q give V^H s = Q^H c; as a row vector c^T times conj(Q).
    result: Tensor = rotation.conj().resolve_conj()
    return result
