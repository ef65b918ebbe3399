"""The cost of a block of voxels and its Gauss-Newton expansion, the scale M0 projected out.

References: Golub & Pereyra, SIAM J Numer Anal 1973;10:413 (variable projection) with Kaufman's
simplified Jacobian (BIT 1975;15:49).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bids_brnn.signals.base import Amplitude


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

    def finite(self) -> Tensor:
        """``(B,)`` flags of voxels whose expansion holds no NaN or infinity."""
        flat = torch.cat([self.gradient, self.information.flatten(1)], dim=-1)
        return torch.isfinite(self.cost) & torch.isfinite(flat).all(-1)


@dataclass(frozen=True)
class Expansion:
    """What a real model says of ``B`` voxels at a point, M0 projected out."""

    m0: Tensor
    """``(B,)`` complex: best scale, or that which is given."""
    residual: Tensor
    """``(B, N)`` real: data - m0 signal."""
    slopes: Tensor
    """``(B, N, F)`` real: derivatives of the fit, ``m0 P ds/dx``."""

    def quadratic(self) -> Quadratic:
        """Cost, half of its gradient, and the information."""
        cost = self.residual.square().sum(-1)
        gradient = -(self.residual[:, None] @ self.slopes)[:, 0]
        return Quadratic(cost, self.m0, gradient, self.slopes.mT @ self.slopes)


def expand_cost(
    signal: Tensor,
    slopes: Tensor,
    data: Tensor,
    scale: Tensor,
    amplitude: Amplitude = "complex",
    given: Tensor | None = None,
) -> Quadratic:
    """Expand the cost around ``signal`` after projection of the scale.

    Parameters
    ----------
    signal, data
        ``(B, N)`` complex; the signal at M0 = 1.
    slopes
        ``(B, N, F)``: derivatives of the signal.
    scale
        ``(F,)``: factors that turn them into derivatives with respect to unit coordinates.
    amplitude
        What is unknown of M0; data and signal are real unless it is ``complex``.
    given
        ``(B,)``: M0 where nothing of it is unknown.

    Notes
    -----
    With ``P`` the projector orthogonal to ``s``, the residual is ``P y`` and Kaufman's Jacobian
    ``-m0 P ds/dx``. What it neglects is orthogonal to the residual, so the gradient is exact; the
    Gram matrix is the Fisher information with M0 unknown. Parameters are real: real parts.
    """
    if amplitude != "complex":
        return expand_real(signal, slopes, data, scale, given).quadratic()
    signal = signal.to(torch.complex128)
    energy = (signal.conj() * signal).real.sum(-1)
    m0 = (signal.conj() * data).sum(-1) / energy
    residual = data - m0[:, None] * signal
    cost = (residual.conj() * residual).real.sum(-1)
    # Re(a^H b) is the inner product of stacked real and imaginary parts: one real product for
    # all, several times faster than complex ones.
    stacked = stack(slopes).to(torch.float64)
    others = torch.stack([stack(m0.conj()[:, None] * residual), stack(signal), stack(1j * signal)])
    products = others.movedim(0, 1) @ stacked * scale
    along = products[:, 1:] / energy.sqrt()[:, None, None]
    gram = stacked.mT @ stacked * (scale[:, None] * scale) - along.mT @ along
    size = (m0.conj() * m0).real
    return Quadratic(cost, m0, -products[:, 0], gram * size[:, None, None])


def expand_real(
    signal: Tensor, slopes: Tensor, data: Tensor, scale: Tensor, given: Tensor | None
) -> Expansion:
    """The same for real signals and data; see :func:`expand_cost`.

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
