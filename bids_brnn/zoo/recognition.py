"""Recognise a subspace, and find the rotation into it, without storing its basis.

The basis of a pulse train has thousands of rows. Some dozens of fixed linear combinations of its
rows (a sketch) tell as much: if ``U = V Q`` then ``S U = (S V) Q``, and with more combinations
than columns both ``Q`` and the failure to find one show.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.span import check_outside, check_rank, mixing


def sketch(subspace: Subspace) -> Tensor:
    """``(4 R, R)`` complex128 combinations of the rows of a basis ``(N, R)``."""
    combinations = torch.from_numpy(mixing(*subspace.basis.shape))
    return combinations.to(torch.complex128) @ subspace.basis.to(torch.complex128)


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
    check_rank(subspace.rank, known.shape[1], what)
    here = sketch(subspace)
    rotation = torch.linalg.lstsq(here, known).solution
    check_outside(float((known - here @ rotation).norm() / known.norm()), what)
    # c = U^H s and V = U Q give V^H s = Q^H c; as a row vector c^T times conj(Q).
    result: Tensor = rotation.conj().resolve_conj()
    return result
