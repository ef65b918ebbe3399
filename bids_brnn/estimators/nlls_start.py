"""Where the fit of each voxel starts: a coarse dictionary that knows its own derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.common import blocks
from bids_brnn.estimators.nlls_solver import box_step, decrease, expand_cost
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

_ATOM_BLOCK = 8192
_NEAR = 0.1
"""Atoms are neighbours when no coordinate differs by more than this share of its bounds."""
_STEP_DAMPING = 0.03
"""Atoms are coarse: a full Gauss-Newton step from one would leave the range of its tangent."""


def spread_candidates(parameters: ParameterSet, n: int | None = None) -> Tensor:
    """Low-discrepancy points between the bounds, ``(n, P)`` float64.

    By default ``n`` doubles with every parameter, up to 4096.

    Rates and times whose bounds are positive and span more than a factor 4 are spread
    logarithmically, all others evenly.
    """
    n_parameters = len(parameters)
    if n is None:
        n = min(64 * 2**n_parameters, 4096)
    unit = torch.quasirandom.SobolEngine(n_parameters, scramble=True, seed=1).draw(
        n, dtype=torch.float64
    )
    points = parameters.from_unit(unit)
    for column, item in enumerate(parameters):
        if item.lower > 0 and item.upper > 4 * item.lower:
            ratio = math.log(item.upper / item.lower)
            points[:, column] = item.lower * torch.exp(unit[:, column] * ratio)
    return points


@dataclass(frozen=True)
class Candidates:
    """``S`` simulated signals, of unit norm, with derivatives in unit coordinates."""

    unit: Tensor
    """``(S, P)`` in [0, 1], float64."""
    signal: Tensor
    """``(S, N)`` complex64."""
    derivatives: Tensor | None
    """``(S, N, P)`` complex64; None where they would take too much memory."""

    @classmethod
    def simulate(
        cls, model: SignalModel, theta: Tensor, *, memory_limit: int = 256 * 2**20
    ) -> Candidates:
        """Simulate ``theta`` ``(S, P)``, clamped to the bounds, in blocks.

        Raises
        ------
        DataError
            If no candidate gives a finite, non-zero signal.
        """
        parameters = model.parameters
        unit = parameters.to_unit(theta.to(torch.float64)).clamp(0, 1)
        wide = model.n_samples * (len(parameters) + 1) * 8 * len(unit) > memory_limit
        lower, upper = parameters.bounds(unit)
        signals, derivatives = [], []
        size = max(1, memory_limit // (64 * model.n_samples * (len(parameters) + 1)))
        for rows in blocks(len(unit), min(size, 1024)):
            points = parameters.from_unit(unit[rows]).clamp(lower, upper)
            if wide:
                signal = model(points)
            else:
                signal, slope = model.linearize(points)
                norm = signal.norm(dim=-1)[:, None, None]
                derivatives.append((slope * (upper - lower) / norm).to(torch.complex64))
            signals.append((signal / signal.norm(dim=-1, keepdim=True)).to(torch.complex64))
        signal = torch.cat(signals)
        good = torch.isfinite(torch.view_as_real(signal)).all(-1).all(-1)
        if derivatives:
            slopes = torch.cat(derivatives)
            good &= torch.isfinite(torch.view_as_real(slopes)).flatten(1).all(-1)
        if not bool(good.any()):
            raise DataError("no start candidate gives a finite signal; check their units")
        return cls(unit[good], signal[good], slopes[good] if derivatives else None)

    def starts(
        self, data: Tensor, known: dict[int, Tensor], n_starts: int, *, n_tried: int = 16
    ) -> Tensor:
        """Promising, mutually distant starting points of each voxel, best first.

        Parameters
        ----------
        data
            ``(B, N)`` complex of unit norm.
        known
            Unit coordinates ``(B,)`` that are not estimated, by column.
        n_starts, n_tried
            Points returned; atoms compared after one step along their tangent.

        Returns
        -------
        Tensor
            ``(B, n_starts, P)`` in [0, 1]. Points repeat where there are fewer distant ones.
        """
        match, atoms = self._match(data, known, min(n_tried, len(self.unit)))
        unit = self.unit[atoms]
        cost = 1 - match.to(torch.float64) ** 2
        if self.derivatives is not None:
            unit, cost = self._step(data, known, atoms, unit)
        for column, values in known.items():
            unit[..., column] = values[:, None]
        return _distant(unit, cost, n_starts)

    def _match(self, data: Tensor, known: dict[int, Tensor], n: int) -> tuple[Tensor, Tensor]:
        """The ``n`` atoms most parallel to each voxel: inner products and indices, ``(B, n)``."""
        narrow = data.to(torch.complex64)
        best = torch.empty(len(data), 0, device=data.device)
        index = torch.empty(len(data), 0, dtype=torch.long, device=data.device)
        for rows in blocks(len(self.unit), _ATOM_BLOCK):
            match = (narrow @ self.signal[rows].mH).abs()
            for column, values in known.items():
                away = (self.unit[rows, column] - values[:, None]).abs()
                # Atoms with another value of what is known come last, the farther the later.
                match = match - torch.where(away <= _NEAR, 0, 1 + away).to(match.dtype)
            here = torch.arange(rows.start, rows.stop, device=data.device).expand_as(match)
            best, order = torch.cat([best, match], 1).topk(min(n, rows.stop), dim=1)
            index = torch.cat([index, here], 1).gather(1, order)
        return best, index

    def _step(
        self, data: Tensor, known: dict[int, Tensor], atoms: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One damped Gauss-Newton step from each atom: new points and costs expected there."""
        assert self.derivatives is not None
        free = [column for column in range(unit.shape[-1]) if column not in known]
        slopes = self.derivatives[atoms].to(torch.complex128)
        signal = self.signal[atoms].to(torch.complex128)
        for column, values in known.items():
            shift = values[:, None] - unit[..., column]
            signal = signal + slopes[..., column] * shift[..., None]
        expansion = expand_cost(signal, slopes[..., free], data[:, None, :])
        flat = type(expansion)(
            expansion.cost.flatten(),
            expansion.m0.flatten(),
            expansion.gradient.flatten(0, 1),
            expansion.information.flatten(0, 1),
        )
        matrix = flat.information.clone()
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        diagonal += _STEP_DAMPING * (diagonal + flat.cost[:, None]) + 1e-12
        here = unit[..., free].flatten(0, 1)
        step = box_step(matrix, flat.gradient, -here, 1 - here)
        cost = flat.cost - decrease(flat, step)
        moved = unit.clone()
        moved[..., free] = (here + step).clamp(0, 1).reshape(unit[..., free].shape)
        return moved, cost.reshape(atoms.shape)


def _distant(unit: Tensor, cost: Tensor, n: int) -> Tensor:
    """The best point, then the best point that is far from all points chosen before."""
    cost = torch.nan_to_num(cost, nan=torch.inf)
    chosen = []
    voxel = torch.arange(len(unit), device=unit.device)
    for _ in range(n):
        best = cost.argmin(1)
        point = unit[voxel, best]
        chosen.append(point)
        near = (unit - point[:, None]).abs().amax(-1) < _NEAR
        # Far points first; near ones stay usable, in order, should there be no far one.
        cost = torch.where(near, cost + 1e3, cost)
        cost[voxel, best] += 1e6
    return torch.stack(chosen, 1)
