"""The cost of a block of voxels and its Gauss-Newton expansion, the scale M0 projected out.

References: Golub & Pereyra, SIAM J Numer Anal 1973;10:413 (variable projection) with Kaufman's
simplified Jacobian (BIT 1975;15:49).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quadratic:
    """The cost ``|y - m0 s|^2`` of ``B`` voxels and its Gauss-Newton expansion.

    ``cost(x + d) ~ cost + 2 gradient.d + d.information.d``
    """

    cost: Tensor
    """``(B,)``."""
    m0: Tensor
    """``(B,)`` complex: best scale."""
    gradient: Tensor
    """``(B, F)``."""
    information: Tensor
    """``(B, F, F)``: Fisher information for noise of standard deviation 1 per channel."""

    def rows(self, rows: Tensor) -> Quadratic:
        """The voxels ``rows`` (indices or flags)."""
        return Quadratic(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: Tensor, other: Quadratic) -> None:
        """Overwrite the voxels ``rows`` in place."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


@dataclass(frozen=True)
class Expansion:
    """What a real model says of ``B`` voxels at a point, M0 projected out."""

    m0: Tensor
    """``(B,)`` complex: best scale, or that which is given."""
    residual: Tensor
    """``(B, N)`` real: data - m0 signal."""
    slopes: Tensor
    """``(B, N, F)`` real: derivatives of the fit, ``m0 P ds/dx``."""


def expand_real(
    signal: Tensor, slopes: Tensor, data: Tensor, scale: Tensor, given: Tensor | None
) -> Expansion:
    """Residual and derivatives of real signals and data; see :mod:`.expansion_kernel`.

    ``given`` None: M0 is real and unknown, and projected out.
    """
    wide = signal.real.to(torch.float64)
    values = data.real.to(torch.float64)
    turned = slopes.real.to(torch.float64) * scale
    m0 = given
    if m0 is None:
        energy = wide.square().sum(-1)
        m0 = (wide * values).sum(-1) / energy
        along = (wide[:, None] @ turned) / energy[:, None, None]
        turned = turned - wide[..., None] * along
    residual = values - m0[:, None] * wide
    return Expansion(m0.to(torch.complex128), residual, turned * m0[:, None, None])


def stack(values: Tensor) -> Tensor:
    """Real above imaginary parts along axis 1."""
    return torch.cat([values.real, values.imag], dim=1)
