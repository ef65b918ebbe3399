"""Where the fit of each voxel starts: a coarse dictionary that knows its own derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.nlls.box import box_step, decrease
from bids_brnn.estimators.nlls.cost import stack
from bids_brnn.estimators.voxels import blocks
from bids_brnn.signals.base import SignalModel

_ATOM_BLOCK = 4608
"""Atoms that are matched at a time: half of three cells of fluid. Products of more leave the cache
where two threads share it, and take a fifth longer."""
TOGETHER = 64
"""Voxels that are matched together: products of matrices of one size err the same, bit for bit."""
_POINTS = 2**13
"""Steps that are made together, at most: each holds the derivatives of its atom."""
_GROUP = 8
"""Atoms of which the best one decides whether any is among the most parallel."""
_NEAR = 0.1
"""Atoms are neighbours when no coordinate differs by more than this share of its bounds."""
_STEP_DAMPING = 0.03
"""Atoms are coarse: a full Gauss-Newton step from one would leave the range of its tangent."""


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

    def take_best_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same of some voxels."""
        some = self.rows(rows)
        point, cost = some.take_best()
        self.cost[rows] = some.cost
        return point, cost

    def discard(self, points: Tensor) -> None:
        """Put the points that are flagged ``(B, K)`` out of use."""
        self.cost[points] = torch.inf

    def discard_of(self, rows: Tensor, points: Tensor) -> None:
        """The same of some voxels."""
        self.cost[rows] = self.cost[rows].masked_fill(points, torch.inf)

    def rows(self, rows: Tensor) -> Starts:
        """Those of some voxels."""
        return Starts(self.unit[rows], self.cost[rows])

    def none_of(self, n: int) -> Starts:
        """As many points as here for ``n`` voxels, none of which is of use yet."""
        unit = self.unit.new_zeros((n, *self.unit.shape[1:]))
        return Starts(unit, self.cost.new_full((n, self.cost.shape[1]), torch.inf))

    def put(self, rows: Tensor, other: Starts) -> None:
        """Overwrite those of some voxels."""
        self.unit[rows], self.cost[rows] = other.unit, other.cost


@dataclass(frozen=True)
class Candidates:
    """``S`` simulated signals, of unit norm, with derivatives in unit coordinates."""

    unit: Tensor
    """``(S, P)`` in [0, 1], float64."""
    signal: Tensor
    """``(S, N)`` complex64."""
    slopes: Tensor | None
    """``(S, 2N, P)`` float32: derivatives, real above imaginary parts; None where they would take
    too much memory."""

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
        # Single precision is plenty for a coarse choice.
        theta = theta.to(torch.float32)
        lower, upper = parameters.bounds(theta)
        theta = torch.minimum(torch.maximum(theta, lower), upper)
        wide = model.n_samples * (len(parameters) + 1) * 8 * len(theta) > memory_limit
        signals, slopes = [], []
        size = max(1, memory_limit // (64 * model.n_samples * (len(parameters) + 1)))
        for rows in blocks(len(theta), min(size, 1024)):
            if wide:
                signal = model(theta[rows])
            else:
                signal, derivatives = model.linearize(theta[rows])
                norm = signal.norm(dim=-1)[:, None, None]
                slopes.append(stack(derivatives) * (upper - lower) / norm)
            signals.append(signal / signal.norm(dim=-1, keepdim=True))
        unit = parameters.to_unit(theta.to(torch.float64)).clamp(0, 1)
        return cls.usable(unit, torch.cat(signals), torch.cat(slopes) if slopes else None)

    @classmethod
    def usable(cls, unit: Tensor, signal: Tensor, slopes: Tensor | None) -> Candidates:
        """Those that are finite: one that is not would look like the best match of every voxel.

        Raises
        ------
        DataError
            If there is none.
        """
        good = torch.isfinite(torch.view_as_real(signal)).all(-1).all(-1)
        if slopes is not None:
            good &= torch.isfinite(slopes).flatten(1).all(-1)
        if not bool(good.any()):
            raise DataError("no start candidate gives a finite signal; check their units")
        return cls(unit[good], signal[good], None if slopes is None else slopes[good])

    def to(self, device: torch.device) -> Candidates:
        """The same on another device."""
        slopes = None if self.slopes is None else self.slopes.to(device)
        return Candidates(self.unit.to(device), self.signal.to(device), slopes)

    @cached_property
    def _turned(self) -> Tensor:
        """The signals, turned by a quarter."""
        return 1j * self.signal

    @cached_property
    def _information(self) -> Tensor:
        """``(S, P, P)``: Fisher information at M0 = 1 with M0 unknown."""
        assert self.slopes is not None
        return _without_m0(stack(self.signal), self.slopes)

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
        n = min(n, len(self.unit))
        unit = self.unit.new_empty((len(data), n, self.unit.shape[1]))
        cost = self.unit.new_empty((len(data), n))
        for rows in blocks(len(data), min(TOGETHER, max(1, _POINTS // n))):
            part = {column: values[rows] for column, values in known.items()}
            unit[rows], cost[rows] = self._promises(data[rows], part, n)
        return Starts(unit, cost)

    def _promises(self, data: Tensor, known: dict[int, Tensor], n: int) -> tuple[Tensor, Tensor]:
        match, atoms = self._match(data, known, n)
        unit = self.unit[atoms]
        cost = 1 - match.to(torch.float64) ** 2
        if self.slopes is not None:
            unit, cost = self._step(data, known, atoms, unit)
        for column, values in known.items():
            unit[..., column] = values[:, None]
        return unit, torch.nan_to_num(cost, nan=torch.inf)

    def _match(self, data: Tensor, known: dict[int, Tensor], n: int) -> tuple[Tensor, Tensor]:
        """The ``n`` atoms most parallel to each voxel: inner products and indices, ``(B, n)``."""
        rows_of = _flat(data.to(torch.complex64))
        best, index = rows_of[:, :0], torch.empty(len(data), 0, dtype=torch.long).to(data.device)
        for rows in blocks(len(self.unit), _ATOM_BLOCK):
            match = _parallel(rows_of, self.signal[rows], self._turned[rows])
            for column, values in known.items():
                away = (self.unit[rows, column] - values[:, None]).abs()
                # Atoms with another value of what is known come last, the farther the later.
                match = match - torch.where(away <= _NEAR, 0, 1 + away).to(match.dtype)
            some, here = _largest(match, min(n, match.shape[1]))
            if rows.start == 0:
                best, index = some, here
                continue
            best, order = torch.cat([best, some], 1).topk(min(n, rows.stop), dim=1)
            index = torch.cat([index, here + rows.start], 1).gather(1, order)
        return best, index

    def _step(
        self, data: Tensor, known: dict[int, Tensor], atoms: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One damped Gauss-Newton step from each atom: new points and costs expected there."""
        assert self.slopes is not None
        free = [column for column in range(unit.shape[-1]) if column not in known]
        flat = atoms.flatten()
        slopes, signal = self.slopes[flat], stack(self.signal[flat])
        for column, values in known.items():
            shift = (values[:, None] - unit[..., column]).flatten().to(signal.dtype)
            signal = signal + slopes[..., column] * shift[:, None]
        if known:  # that of the atom belongs to another signal, and would promise too much
            information = _without_m0(signal / signal.norm(dim=1, keepdim=True), slopes)
        else:
            information = self._information[flat]
        signal = torch.complex(*signal.chunk(2, 1))
        voxels = data.to(signal.dtype).repeat_interleave(atoms.shape[1], 0)
        m0 = (signal.conj() * voxels).sum(-1, keepdim=True)
        m0 = m0 / (signal.conj() * signal).real.sum(-1, keepdim=True)
        residual = voxels - m0 * signal
        cost = (residual.conj() * residual).real.sum(-1)
        gradient = -(stack(m0.conj() * residual)[:, None] @ slopes)[:, 0, free]
        matrix = information[:, free][:, :, free] * (m0.conj() * m0).real[..., None]
        damped = matrix.clone()
        diagonal = damped.diagonal(dim1=-2, dim2=-1)
        diagonal += _STEP_DAMPING * (diagonal + cost[:, None]) + 1e-12
        here = unit[..., free].flatten(0, 1).to(cost.dtype)
        step = box_step(damped, gradient, -here, 1 - here)
        cost = cost - decrease(gradient, matrix, step)
        moved = unit.clone()
        moved[..., free] = (here + step).clamp(0, 1).reshape(unit[..., free].shape).to(unit.dtype)
        return moved, cost.reshape(atoms.shape).to(torch.float64)


def _without_m0(signal: Tensor, slopes: Tensor) -> Tensor:
    """Fisher information ``(S, P, P)`` at M0 = 1 with M0 unknown.

    Of signals of unit norm ``(S, 2N)``, real above imaginary parts, and slopes ``(S, 2N, P)``.
    """
    real, imaginary = signal.chunk(2, 1)
    both = torch.stack([signal, torch.cat([-imaginary, real], 1)], 1)
    along = both @ slopes
    return slopes.mT @ slopes - along.mT @ along


def _flat(values: Tensor) -> Tensor:
    """Parts of complex values ``(B, N)`` one after the other, ``(B, 2N)``."""
    return torch.view_as_real(values).flatten(1)


def _parallel(data: Tensor, signal: Tensor, turned: Tensor) -> Tensor:
    """Absolute inner products ``(B, S)`` of flat data and ``(S, N)``, which come turned too.

    As two real products: absolute values of complex numbers are slow.
    """
    real, imaginary = (data @ _flat(atoms).mT for atoms in (signal, turned))
    return real.square_().add_(imaginary.square_()).sqrt_()


def _largest(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """As ``values.topk(n, dim=1)``; only the groups with the largest maxima are sorted."""
    groups = values.shape[1] // _GROUP
    if groups <= 2 * n or values.shape[1] % _GROUP:
        return values.topk(n, dim=1)
    apart = values.unflatten(1, (_GROUP, groups))  # so that maxima are those of whole vectors
    chosen = apart.amax(1).topk(n, dim=1, sorted=False).indices
    some = apart.gather(2, chosen[:, None].expand(-1, _GROUP, -1)).flatten(1)
    best, place = some.topk(n, dim=1)
    return best, place // n * groups + chosen.gather(1, place % n)
