"""The least-squares problem of a block of voxels, and what is reported of its solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_brnn.estimators.nlls.cost import expand_real, stack
from bids_brnn.estimators.nlls.solver import (
    Iteration,
    Measured,
    Solution,
    StoppingRule,
    noise_variance,
)
from bids_brnn.estimators.voxels import take
from bids_brnn.information.bounds import images_of, inverse_information, project_out_scale
from bids_brnn.information.noise import degrees_of_freedom, whitened
from bids_brnn.signals.base import SignalModel, amplitude_of, arrays_of, for_voxels, silent_of

Array = NDArray[Any]
_ROUND_OFF = 8.0
"""Epsilons by which a model may err from point to point."""


@dataclass(frozen=True)
class Problem:
    """Voxels estimated together, whitened and scaled to unit norm."""

    model: SignalModel
    data: Tensor
    known: dict[int, Tensor]
    variance: Tensor
    precision: torch.dtype
    """In which the model is evaluated; everything else is done in double precision."""
    m0: Tensor | None = None
    """``(B,)`` float64: M0 where nothing of it is unknown, in units of the data."""

    @cached_property
    def _of_voxels(self) -> Callable[[Tensor], SignalModel]:
        names, n = self.model.parameters.names, len(self.data)
        known = {names[column]: values.expand(n) for column, values in self.known.items()}
        return for_voxels(self.model, known)

    @property
    def free(self) -> list[int]:
        """Columns of ``theta`` that are estimated."""
        return [column for column in range(len(self.model.parameters)) if column not in self.known]

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the residual."""
        return degrees_of_freedom(amplitude_of(self.model), self.model.n_samples, len(self.free))

    def theta(self, unit: Tensor, voxels: Tensor) -> Tensor:
        """Model parameters of unit coordinates ``(B, F)`` of the free columns."""
        lower, span, upper = self._box
        theta = self._known[voxels]
        # Round-off must not lead out of the bounds that the model checks.
        theta[:, self._columns] = torch.minimum(lower + unit * span, upper)
        return theta

    def _simulated(
        self, unit: Tensor, voxels: Tensor, *, derivatives: bool
    ) -> tuple[Tensor, Tensor]:
        """Signal at M0 = 1 and, if wanted, its derivatives, in the precision chosen."""
        model = self._of_voxels(voxels)
        simulate = arrays_of(model) if self.precision == torch.float64 else None
        if simulate is None or unit.device.type != "cpu":
            theta = self.theta(unit, voxels).to(self.precision)
            return model.linearize(theta) if derivatives else (model(theta), theta)
        # Of the time that a cheap model takes, tensors would be the greater part.
        signal, slopes = simulate(self._points(unit, voxels), derivatives=derivatives)
        return torch.from_numpy(signal), torch.from_numpy(slopes)

    def _points(self, unit: Tensor, voxels: Tensor) -> Array:
        """:meth:`theta` as an array."""
        from bids_brnn.estimators.nlls.point_kernel import points

        known = self._known.numpy()
        theta = np.empty((len(unit), known.shape[1]))
        lower, span, upper = (part.numpy() for part in self._box)
        places = np.ascontiguousarray(unit.numpy())
        points(places, voxels.numpy(), known, self._columns.numpy(), lower, span, upper, theta)
        return theta

    @cached_property
    def _box(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lower bounds, widths and upper bounds ``(F,)`` of what is estimated."""
        lower, upper = (part[self.free] for part in self.model.parameters.bounds(self.variance))
        return lower, upper - lower, upper

    @cached_property
    def _columns(self) -> Tensor:
        return torch.tensor(self.free, dtype=torch.long, device=self.variance.device)

    @cached_property
    def _known(self) -> Tensor:
        """``(V, P)``: values that are known of each voxel, and 0."""
        theta = self.variance.new_zeros((len(self.data), len(self.model.parameters)))
        for column, values in self.known.items():
            theta[:, column] = values
        return theta

    def linearize(self, unit: Tensor, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """Signal at M0 = 1 and its derivatives by all parameters, in the precision chosen."""
        return self._simulated(unit, voxels, derivatives=True)

    def measured(self, voxels: Tensor) -> Measured:
        """What the solver is to know of some voxels."""
        lower, upper = self.model.parameters.bounds(self.variance)
        data, weight, m0 = self._host
        free, rows = self.free, voxels.cpu().numpy()
        return Measured(
            data[rows],
            weight,
            amplitude_of(self.model) == "complex",
            m0[rows],
            take(self.variance, voxels).cpu().contiguous().numpy(),
            self.degrees,
            _ROUND_OFF * torch.finfo(self.precision).eps,
            np.array(free, dtype=np.int64),
            (upper - lower)[free].cpu().to(torch.float64).numpy(),
        )

    @cached_property
    def _host(self) -> tuple[Array, Array, Array]:
        """Data ``(V, R)``, what whitens signals ``(R,)``, and M0 ``(V,)`` if known, else NaN."""
        ones = torch.ones(self.model.n_samples, dtype=torch.float64)
        m0 = torch.full((len(self.data),), torch.nan) if self.m0 is None else self.m0
        parts = (self.data.resolve_conj(), whitened(self.model, ones), m0.to(torch.float64))
        data, weight, known = (part.cpu().contiguous().numpy() for part in parts)
        return data, weight, known

    def part(self, voxels: Tensor, model: SignalModel | None = None) -> Problem:
        """The problem of some voxels, or that of another model of the same parameters."""
        known = {column: take(values, voxels) for column, values in self.known.items()}
        m0 = None if self.m0 is None else self.m0[voxels]
        parts = (self.data[voxels], known, take(self.variance, voxels), self.precision, m0)
        return Problem(self.model if model is None else model, *parts)

    def signal(self, unit: Tensor, voxels: Tensor) -> Tensor:
        """Signal at M0 = 1 in the precision chosen."""
        return self._simulated(unit, voxels, derivatives=False)[0]

    def cost(self, unit: Tensor, voxels: Tensor) -> Tensor:
        """Cost ``(B,)`` alone, of real signals."""
        from bids_brnn.estimators.nlls.point_kernel import costs

        signal = self.signal(unit, voxels).real.to("cpu", torch.float64).contiguous().numpy()
        found = np.empty(len(signal))
        costs(signal, voxels.cpu().numpy(), *self._host, found)
        return torch.from_numpy(found).to(unit.device)

    def sensitivity(self, solution: Solution, spread: dict[int, Tensor]) -> dict[int, Tensor]:
        """What one standard deviation of a supplied value moves the estimate by.

        To first order, ``d x / d p = -(J^T J + noise)^-1 J^T dS / dp`` with M0 projected out of
        both derivatives; ``noise`` stands for the bounds, as in standard deviations.

        Parameters
        ----------
        solution
            Of all voxels.
        spread
            ``(B,)`` standard deviations by column of ``theta``.

        Returns
        -------
        dict
            ``(B, F)`` in unit coordinates by the same columns.
        """
        lower, upper = self.model.parameters.bounds(solution.unit)
        voxels = torch.arange(len(solution.unit), device=solution.unit.device)
        theta = self.theta(solution.unit, voxels)
        model, names = self._of_voxels(voxels), self.model.parameters.names
        if silent_of(model) & {names[column] for column in spread}:
            model = self.model
        signal, slopes = images_of(model, theta)
        scale = torch.cat([(upper - lower)[self.free], lower.new_ones(len(spread))])
        slopes = slopes[..., [*self.free, *spread]] * scale
        if amplitude_of(self.model) == "complex":
            m0 = solution.quadratic.m0[:, None, None]
            moved = stack(m0 * project_out_scale(signal, slopes))
        else:
            moved = expand_real(signal, slopes, self.data, torch.ones_like(scale), self.m0).slopes
        own, known = moved[..., : len(self.free)], moved[..., len(self.free) :]
        noise = noise_variance(solution.quadratic.cost, self.variance, self.degrees)
        matrix = own.mT @ own
        matrix.diagonal(dim1=-2, dim2=-1).add_(noise[:, None])
        answer = -(inverse_information(matrix) @ (own.mT @ known))
        return {
            column: answer[..., place] * spread[column][:, None]
            for place, column in enumerate(spread)
        }

    def iteration(self, voxels: Tensor, rule: StoppingRule) -> Iteration:
        """Of some voxels, none of which has started."""
        return Iteration(
            lambda unit, rows: self.linearize(unit, voxels[rows]),
            self.measured(voxels),
            rule,
            voxels.device,
        )

    def minimise(
        self, voxels: Tensor, start: Tensor, rule: StoppingRule, rival: Solution | None = None
    ) -> Solution:
        """Best fit of some voxels from ``start`` ``(B, F)``; see :class:`.solver.Iteration`."""
        iteration, rows = self.iteration(voxels, rule), torch.arange(len(voxels))
        iteration.begin(rows, start, rival)
        while len(iteration.active):
            iteration.step()
        return iteration.solution(rows)

    def reached(self, solution: Solution, voxels: Tensor, points: Tensor) -> Tensor:
        """Which ``points`` ``(B, K, F)`` lie within the noise of the ``solution`` of ``voxels``.

        That is, within five standard deviations: a start from there would end there again.
        """
        cost, information = solution.quadratic.cost, solution.quadratic.information
        noise = noise_variance(cost, self.variance[voxels], self.degrees)
        away = points - solution.unit[:, None]
        return ((away @ information) * away).sum(-1) < 25 * noise[:, None]
