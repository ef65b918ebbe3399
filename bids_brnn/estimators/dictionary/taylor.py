"""Signals and derivatives between the points of a lattice, by Taylor polynomials stored there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from bids_brnn.estimators.dictionary.interpolant import Axis, Interpolant

_ORDER = 3
_FINENESS = 2
"""Points of the lattice per polynomial of the interpolant: what the third order leaves is then
below 1e-6 of the signal, and below 1e-4 of derivatives."""
_LARGEST = 2**25
"""Numbers in one table (128 MB as float32), beyond which there is none."""
_UNSEEN = 4.0
"""Error of an interpolant over what its last eighth of polynomials adds: where they fall slowly,
those that are left out add several times as much."""

_SLACK = 1e-5
"""Round-off of coordinates in single precision; also of a value that is the same everywhere."""


@dataclass(frozen=True, eq=False)
class TaylorTable:
    """Taylor polynomials of signals on a lattice in the coordinates of the axes."""

    axes: tuple[Axis, ...]
    first: Tensor
    """``(P,)``: coordinates of the first point."""
    spacing: Tensor
    """``(P,)``; 1 along an axis with a single point."""
    counts: tuple[int, ...]
    reach: Tensor
    """``(P,)``: how far from a point its polynomial is used."""
    values: Tensor
    """``(L, terms, R)``, without ``phase``."""
    phase: complex
    errors: Tensor
    """``(L,)``: of signals near a point, relative to their norm."""
    powers: Tensor
    """``(terms, P)``: exponents of the terms."""

    def coordinates(self, theta: Tensor) -> Tensor:
        """Of parameters ``(V, P)``."""
        parts = [axis.coordinate(theta[:, k]) for k, axis in enumerate(self.axes)]
        return torch.stack(parts, 1)

    def parameters(self, coordinates: Tensor) -> Tensor:
        """Inverse of :meth:`coordinates`."""
        parts = [axis.value(coordinates[:, k]) for k, axis in enumerate(self.axes)]
        return torch.stack(parts, 1)

    def slopes(self, theta: Tensor) -> Tensor:
        """Derivatives of coordinates with respect to parameters, ``(V, P)``."""
        parts = [
            1 / theta[:, k] if axis.logarithmic else torch.ones_like(theta[:, k])
            for k, axis in enumerate(self.axes)
        ]
        return torch.stack(parts, 1)

    def near(self, coordinates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Index ``(V,)`` of the nearest point, offset ``(V, P)`` from it, whether it serves."""
        place = torch.round((coordinates - self.first) / self.spacing).nan_to_num(0.0)
        last = torch.tensor(self.counts, device=place.device) - 1
        steps = torch.minimum(place.clamp_min(0), last.to(place)).long()
        offset = coordinates - (self.first + steps.to(coordinates) * self.spacing)
        inside = (offset.abs() <= self.reach).all(-1)
        index = torch.zeros_like(steps[:, 0])
        for column, count in enumerate(self.counts):
            index = index * count + steps[:, column]
        return index, offset, inside

    def signal(self, index: Tensor, offset: Tensor) -> Tensor:
        """``(V, R)``, real or complex, without ``phase``."""
        terms = self._terms(offset)[:, None]
        signal: Tensor = (terms.to(self.values.dtype) @ self.values[index])[:, 0]
        return signal

    def linearize(self, index: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Signal ``(V, R)``, and derivatives ``(V, P, R)`` by coordinates, without ``phase``."""
        columns = [self._terms(offset)]
        for column in range(len(self.axes)):
            power = self.powers[:, column]
            lower = self.powers.clone()
            lower[:, column] = (power - 1).clamp_min(0)
            columns.append(power * self._monomials(offset, lower))
        terms = torch.stack(columns, 1).to(self.values.dtype)
        all_values = terms @ self.values[index]
        return all_values[:, 0], all_values[:, 1:]

    def derivatives(self, theta: Tensor) -> Tensor:
        """``(V, R, P)`` complex, by parameters ``(V, P)``."""
        index, offset, _ = self.near(self.coordinates(theta))
        slopes = self.linearize(index, offset)[1] * self.slopes(theta)[..., None]
        derivatives: Tensor = slopes.mT * self.phase
        return derivatives

    def _terms(self, offset: Tensor) -> Tensor:
        return self._monomials(offset, self.powers)

    @staticmethod
    def _monomials(offset: Tensor, powers: Tensor) -> Tensor:
        ladder = [torch.ones_like(offset)]
        for _ in range(_ORDER):
            ladder.append(ladder[-1] * offset)
        steps = torch.stack(ladder, -1)  # (V, P, order)
        parts = [steps[:, column, powers[:, column]] for column in range(offset.shape[1])]
        return reduce(torch.mul, parts)


def tabulate(
    made: Interpolant,
    basis: Tensor | None,
    ranges: dict[int, tuple[float, float]],
    dtype: torch.dtype,
    device: torch.device,
) -> TaylorTable | None:
    """The table of an interpolant, or None where it would be too large.

    Parameters
    ----------
    made
        The interpolant.
    basis
        ``(N, R)`` of the coefficients; None for those of the interpolant.
    ranges
        Of parameters that lie in a part of their axis, by column.
    dtype
        Real.
    """
    series = made.within(basis)
    points = [
        _lattice(axis, n, ranges.get(column))
        for column, (axis, n) in enumerate(zip(made.axes, series.shape, strict=False))
    ]
    counts = tuple(len(part) for part in points)
    powers = [
        power
        for power in itertools.product(range(_ORDER + 1), repeat=len(points))
        if sum(power) <= _ORDER
    ]
    n_points = int(torch.tensor(counts).prod())
    if n_points * len(powers) * series.shape[-1] > _LARGEST:
        return None
    values = torch.stack([_derivative(made, series, points, power) for power in powers], 1)
    size = values[:, powers.index((0,) * len(points))].norm(dim=-1)
    errors = _UNSEEN * _unseen(made, series, points) / size
    several = [len(part) > 1 for part in points]
    spacing = [float(part[1] - part[0]) if len(part) > 1 else 1.0 for part in points]
    reach = [0.51 * step * many + _SLACK for step, many in zip(spacing, several, strict=True)]

    def real(values: Tensor) -> Tensor:
        return values.to(dtype=dtype, device=device)

    wide = values.to(torch.promote_types(dtype, torch.complex32)) if values.is_complex() else None
    return TaylorTable(
        made.axes,
        real(torch.tensor([float(part[0]) for part in points], dtype=torch.float64)),
        real(torch.tensor(spacing, dtype=torch.float64)),
        counts,
        real(torch.tensor(reach, dtype=torch.float64)),
        (real(values) if wide is None else wide.to(device)).contiguous(),
        made.phase,
        real(errors),
        torch.tensor(powers, device=device),
    )


def _lattice(axis: Axis, n: int, part: tuple[float, float] | None) -> Tensor:
    """Coordinates of the points along one axis, evenly spaced."""
    if axis.fixed:
        return torch.tensor([axis.low], dtype=torch.float64)
    low, high = (axis.low, axis.high) if part is None else _coordinates(axis, part)
    step = (axis.high - axis.low) / (_FINENESS * n)
    count = max(1, int((high - low) / step + 1 - 1e-9))
    # In the middle of cells that cover the range.
    width = (high - low) / count
    return low + width * (torch.arange(max(count, 2), dtype=torch.float64) + 0.5)


def _coordinates(axis: Axis, part: tuple[float, float]) -> tuple[float, float]:
    ends = axis.coordinate(torch.tensor(part, dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def _derivative(
    made: Interpolant, series: Tensor, points: list[Tensor], power: tuple[int, ...]
) -> Tensor:
    """``(L, R)``: one Taylor coefficient at all points."""
    # The axis that shrinks most goes first.
    order = sorted(range(len(points)), key=lambda k: len(points[k]) / series.shape[k])
    for k in order:
        terms = made.axes[k].polynomials(points[k], series.shape[k], power[k]).to(series.dtype)
        series = torch.movedim(torch.tensordot(terms, series, ([1], [k])), 0, k)
    return series.reshape(-1, series.shape[-1])


def _unseen(made: Interpolant, series: Tensor, points: list[Tensor]) -> Tensor:
    """``(L,)``: norm of what the last eighth of the polynomials of each axis adds."""
    total = torch.zeros([len(part) for part in points], dtype=torch.float64)
    for k, axis in enumerate(made.axes):
        if axis.fixed:
            continue
        last = max(3, series.shape[k] // 8)
        tail = series.narrow(k, series.shape[k] - last, last)
        for j, other in enumerate(made.axes):
            if j != k:
                terms = other.polynomials(points[j], series.shape[j], 0).to(tail.dtype)
                tail = torch.movedim(torch.tensordot(terms, tail, ([1], [j])), 0, j)
        total += tail.abs().square().sum((k, -1), keepdim=True)[..., 0]
    return total.sqrt().reshape(-1)
