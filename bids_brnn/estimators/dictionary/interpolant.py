"""Signals of a model anywhere in a box of parameters, from Chebyshev polynomials.

A signal is a smooth function of the logarithms of rates and of B1; polynomials of a degree of
20 to 40 along each parameter hold most of them to a few millionths. They are made from exact
signals at some ten thousand points, far fewer than a dictionary has atoms times B1 bins, and tell
all derivatives. Fluid is less smooth in B1: how much the last polynomials still add says how far
the interpolant is to be trusted there. Where a model is not smooth in most of the box, there is no
interpolant. Trefethen, Approximation Theory and Approximation Practice (2013), chapters 3 and 4.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_brnn.estimators.ahead import one_thread
from bids_brnn.estimators.voxels import blocks
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

_log = logging.getLogger(__name__)

_TAIL = 1e-5
"""What degrees that are left out may add to a signal on half of the lines that are looked at,
relative to its norm."""
_TYPICAL_ERROR = 3e-5
"""Of half of the signals in the box; what is worse is told by :meth:`Interpolant.errors`."""
_PROBE_NODES = 64
_LARGEST_DEGREE = 36
_LINES = 9
_LARGEST_GRID = 2**16
"""Exact signals, beyond which dictionaries are cheaper."""
_CHECKS = 200
"""Points at which the finished interpolant is compared with the model."""
_BLOCK_NUMBERS = 2**21
_WIDEST = 64
"""Samples above which the subspace that signals span is found first."""
_SPAN_POINTS = 400
_TOGETHER = 128
"""Points at which the finished interpolant is evaluated together: 2**23 products (64 MB)."""
_SPAN_LOST = 1e-13
"""Energy outside the subspace in which time frames are kept."""


@dataclass(frozen=True)
class Axis:
    """Range of one parameter, in its logarithm where it is positive throughout."""

    low: float
    high: float
    logarithmic: bool

    @property
    def fixed(self) -> bool:
        """Whether it has one value only."""
        return self.high <= self.low

    def coordinate(self, values: Tensor) -> Tensor:
        """Of values of the parameter."""
        return values.log() if self.logarithmic else values

    def value(self, coordinate: Tensor) -> Tensor:
        """Inverse of :meth:`coordinate`."""
        return coordinate.exp() if self.logarithmic else coordinate

    def nodes(self, n: int) -> Tensor:
        """Coordinates of the ``n`` zeros of the Chebyshev polynomial of that degree."""
        angles = (torch.arange(n, dtype=torch.float64) + 0.5) * (math.pi / n)
        return (self.high + self.low) / 2 + (self.high - self.low) / 2 * torch.cos(angles)

    def polynomials(self, coordinate: Tensor, n: int, order: int) -> Tensor:
        """``(points, n)``: derivatives of the polynomials over the factorial of ``order``."""
        if self.fixed:
            return torch.full((len(coordinate), 1), float(order == 0), dtype=torch.float64)
        half = (self.high - self.low) / 2
        unit = (coordinate.double() - (self.high + self.low) / 2) / half
        series = np.polynomial.chebyshev.chebder(np.eye(n), order) if order else np.eye(n)
        values = np.polynomial.chebyshev.chebval(unit.cpu().numpy(), series)
        return torch.from_numpy(values.T / (half**order * math.factorial(order)))


@dataclass(frozen=True, eq=False)
class Interpolant:
    """Chebyshev series of the coefficients of signals."""

    axes: tuple[Axis, ...]
    series: Tensor
    """``(n_1, ..., n_P, K)`` float64, or complex128 where no common phase makes signals real."""
    phase: complex
    """By which real series are multiplied."""
    basis: Tensor | None
    """``(N, K)`` orthonormal; None where the samples of the model are used as they are."""

    def within(self, basis: Tensor | None) -> Tensor:
        """Series of the coefficients in another basis ``(N, R)``, or of the own ones."""
        if basis is None or self.basis is None:
            turn = basis if basis is None else basis.conj()
        else:
            turn = self.basis.to(torch.complex128).mT @ basis.to(torch.complex128).conj()
        if turn is None:
            return self.series
        if not self.series.is_complex() and not bool(turn.imag.any() if turn.is_complex() else 0):
            return self.series @ (turn.real if turn.is_complex() else turn).to(self.series)
        return self.series.to(torch.complex128) @ turn.to(torch.complex128)

    def __call__(self, theta: Tensor) -> Tensor:
        """Coefficients ``(V, K)`` complex128 of ``theta`` ``(V, P)`` inside the box."""
        flat = self.series.reshape(-1, self.series.shape[-1])
        values = torch.cat(
            [self._terms(part).to(flat.dtype) @ flat for part in theta.split(_TOGETHER)]
        )
        return values * self.phase

    def _terms(self, theta: Tensor) -> Tensor:
        """Products of the polynomials of all axes, ``(V, n_1 ... n_P)``."""
        terms = torch.ones(len(theta), 1, dtype=torch.float64)
        for column, axis in enumerate(self.axes):
            own = axis.polynomials(axis.coordinate(theta[:, column]), self.series.shape[column], 0)
            terms = (terms[:, :, None] * own[:, None]).flatten(1)
        return terms


def axes_of(parameters: ParameterSet, fixed: Mapping[int, float]) -> tuple[Axis, ...]:
    """The box between the bounds of all parameters but those that have one value, by column."""
    axes = []
    for column, item in enumerate(parameters):
        if column in fixed:
            axes.append(Axis(fixed[column], fixed[column], logarithmic=False))
            continue
        ends = item.lower, item.upper
        if item.is_wide:
            ends = math.log(item.lower), math.log(item.upper)
        axes.append(Axis(*ends, logarithmic=item.is_wide))
    return tuple(axes)


def interpolate(
    model: SignalModel, axes: tuple[Axis, ...], device: torch.device
) -> Interpolant | None:
    """The interpolant of a model over a box, or None where the model is not smooth enough.

    Parameters
    ----------
    model
        Signal model; its exact signals are made in double precision.
    axes
        One of each parameter.
    device
        Where the signals are made; the interpolant is made on the CPU.
    """
    rng = torch.Generator().manual_seed(1)
    lines = [_line(axes, column, rng) for column in range(len(axes)) if not axes[column].fixed]
    signals = [model(points.to(device)).cpu() for points in lines]
    if not signals or not all(bool(torch.isfinite(part).all()) for part in signals):
        return None
    phase = _common_phase(torch.cat(signals))
    basis = None
    if model.n_samples > _WIDEST:
        some = model(_random_points(axes, _SPAN_POINTS, rng).to(device)).cpu()
        basis = _span(_turned(torch.cat([*signals, some]), phase))
        signals = [_project(part, basis) for part in signals]
    degrees = iter([_degree(part) for part in signals])
    shape = [1 if axis.fixed else next(degrees) for axis in axes]
    if max(shape) >= _PROBE_NODES:
        return None
    shape = [min(n, _LARGEST_DEGREE) for n in shape]
    if math.prod(shape) > _LARGEST_GRID:
        return None
    values = _at_nodes(model, axes, shape, basis, phase, device)
    for column, n in enumerate(shape):
        values = torch.movedim(
            torch.tensordot(_transform(n).to(values.dtype), values, ([1], [column])), 0, column
        )
    made = Interpolant(axes, values.contiguous(), 1.0 if phase is None else phase, basis)
    error = _error(made, model, rng, device)
    _log.debug("interpolant of %s points, typical error %.1e", shape, error)
    return made if error < _TYPICAL_ERROR else None


def _random_points(axes: tuple[Axis, ...], n: int, rng: torch.Generator) -> Tensor:
    """Anywhere in the box, ``(n, P)``."""
    unit = torch.rand(n, len(axes), dtype=torch.float64, generator=rng)
    columns = [
        axis.value(axis.low + unit[:, column] * (axis.high - axis.low))
        for column, axis in enumerate(axes)
    ]
    return torch.stack(columns, 1)


def _line(axes: tuple[Axis, ...], column: int, rng: torch.Generator) -> Tensor:
    """Nodes along one axis through a few random points, ``(_LINES * nodes, P)``."""
    points = _random_points(axes, _LINES, rng).repeat_interleave(_PROBE_NODES, 0)
    nodes = axes[column].value(axes[column].nodes(_PROBE_NODES))
    points[:, column] = nodes.repeat(_LINES)
    return points


def _degree(signals: Tensor) -> int:
    """Polynomials that half of the lines need, or all if that many do not suffice."""
    values = signals.reshape(_LINES, _PROBE_NODES, -1)
    series = torch.einsum("kn,lnr->lkr", _transform(_PROBE_NODES).to(values.dtype), values)
    size = series.norm(dim=-1) / values.norm(dim=-1).amin(1, keepdim=True)
    tail = size.flip(1).cumsum(1).flip(1).median(0).values
    return int((tail > _TAIL).sum()) + 2


def _transform(n: int) -> Tensor:
    """``(n, n)``: from values at the nodes to coefficients of the polynomials."""
    order = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(order[:, None] * (order[None] + 0.5) * (math.pi / n)) * (2 / n)
    matrix[0] /= 2
    return matrix


def _span(signals: Tensor) -> Tensor:
    """Orthonormal basis ``(N, K)`` of time frames ``(n, N)``."""
    with one_thread():
        energy, vectors = torch.linalg.eigh(signals.mT @ signals.conj())
    lost = 1 - torch.cumsum(energy.flip(0), 0) / energy.sum()
    rank = int((lost > _SPAN_LOST).sum()) + 1
    basis: Tensor = vectors.flip(1)[:, :rank].contiguous()
    return basis


def _common_phase(signals: Tensor) -> complex | None:
    """The factor of size 1 that all signals are real multiples of, if there is one."""
    phase = torch.exp(0.5j * (signals**2).sum().angle())
    turned = signals / phase
    real = float(turned.imag.abs().max()) < 1e-9 * float(turned.abs().max())
    return complex(phase) if real else None


def _turned(signals: Tensor, phase: complex | None) -> Tensor:
    """Real where they have a common phase: half the numbers, a quarter of the products."""
    return signals if phase is None else (signals / phase).real.contiguous()


def _project(signals: Tensor, basis: Tensor) -> Tensor:
    """Coefficients ``(n, K)`` of time frames ``(n, N)``."""
    return signals @ basis.conj().to(signals.dtype)


def _at_nodes(
    model: SignalModel,
    axes: tuple[Axis, ...],
    shape: list[int],
    basis: Tensor | None,
    phase: complex | None,
    device: torch.device,
) -> Tensor:
    """Coefficients at the product of the nodes over ``phase``, ``(*shape, K)``."""
    nodes = [
        axis.value(torch.tensor([axis.low], dtype=torch.float64) if axis.fixed else axis.nodes(n))
        for axis, n in zip(axes, shape, strict=True)
    ]
    points = torch.cartesian_prod(*nodes).reshape(-1, len(axes)).to(device)
    into = None if basis is None else basis.to(device)
    size = max(1, _BLOCK_NUMBERS // (2 * model.n_samples))
    parts = []
    for rows in blocks(len(points), size):
        # A product of matrices: a model that projects as it goes is made for a few coefficients.
        part = _turned(model(points[rows]), phase)
        with one_thread():
            parts.append((part if into is None else _project(part, into)).cpu())
    return torch.cat(parts).reshape(*shape, -1)


def _error(
    made: Interpolant, model: SignalModel, rng: torch.Generator, device: torch.device
) -> float:
    """Median of the relative error at points that were not used; NaN counts as infinite."""
    points = _random_points(made.axes, _CHECKS, rng)
    exact, found = model(points.to(device)).cpu(), made(points)
    if made.basis is not None:
        found = found @ made.basis.to(found.dtype).mT
    error = (found - exact).norm(dim=-1) / exact.norm(dim=-1)
    return float(torch.nan_to_num(error, nan=torch.inf).median())
