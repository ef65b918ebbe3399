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

    Parameters that are estimated lie around their start value (the cube of an even distribution
    reaches to the bounds), all others are even on both sides of it. Rates and times whose bounds
    are positive and span more than a factor 4 are spread logarithmically. By default ``n`` doubles
    with every parameter, up to 4096.
    """
    n_parameters = len(parameters)
    if n is None:
        n = min(256 * 2**n_parameters, 4096)
    sobol = torch.quasirandom.SobolEngine(n_parameters, scramble=True, seed=1)
    even = 2 * sobol.draw(n, dtype=torch.float64) - 1
    points = torch.empty_like(even)
    for column, item in enumerate(parameters):
        shift = even[:, column] ** 3 if item.role == "estimated" else even[:, column]
        wide = item.lower > 0 and item.upper > 4 * item.lower
        low, middle, high = (
            math.log(value) if wide else value for value in (item.lower, item.start, item.upper)
        )
        point = middle + torch.where(shift > 0, shift * (high - middle), shift * (middle - low))
        points[:, column] = torch.exp(point) if wide else point
    return points


@dataclass(frozen=True)
class Starts:
    """Points to start from, in unit coordinates, and what they promise."""

    unit: Tensor
    """``(B, K, P)`` in [0, 1]."""
    cost: Tensor
    """``(B, K)``: expected cost; infinite where used up."""

    def take_best(self) -> tuple[Tensor, Tensor]:
        """Point of the lowest cost ``(B, P)``, and that cost ``(B,)``; it is then used up."""
        cost, index = self.cost.min(1)
        voxel = torch.arange(len(cost), device=cost.device)
        self.cost[voxel, index] = torch.inf
        return self.unit[voxel, index], cost

    def discard(self, points: Tensor) -> None:
        """Put the points that are flagged ``(B, K)`` out of use."""
        self.cost[points] = torch.inf

    def rows(self, rows: Tensor) -> Starts:
        """Those of some voxels."""
        return Starts(self.unit[rows], self.cost[rows])


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

    def starts(self, data: Tensor, known: dict[int, Tensor], n: int = 32) -> Starts:
        """Promising points of each voxel.

        Parameters
        ----------
        data
            ``(B, N)`` complex of unit norm.
        known
            Unit coordinates ``(B,)`` that are not estimated, by column.
        n
            The most parallel atoms; each makes one step along its tangent.
        """
        match, atoms = self._match(data, known, min(n, len(self.unit)))
        unit = self.unit[atoms]
        cost = 1 - match.to(torch.float64) ** 2
        if self.derivatives is not None:
            unit, cost = self._step(data, known, atoms, unit)
        for column, values in known.items():
            unit[..., column] = values[:, None]
        return Starts(unit, torch.nan_to_num(cost, nan=torch.inf))

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
