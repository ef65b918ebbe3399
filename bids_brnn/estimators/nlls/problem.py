"""The least-squares problem of a block of voxels, and what is reported of its solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bids_brnn.estimators.nlls.cost import Quadratic, expand_cost, expand_real, stack
from bids_brnn.estimators.nlls.solver import Solution, StoppingRule, minimise, noise_variance
from bids_brnn.information.bounds import images_of, inverse_information, project_out_scale
from bids_brnn.information.noise import degrees_of_freedom, whitened
from bids_brnn.signals.base import SignalModel, amplitude_of


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
        lower, upper = self.model.parameters.bounds(unit)
        theta = unit.new_empty((len(unit), len(lower)))
        free = self.free
        # Round-off must not lead out of the bounds that the model checks.
        span = upper - lower
        theta[:, free] = torch.minimum(lower[free] + unit * span[free], upper[free])
        for column, values in self.known.items():
            theta[:, column] = values[voxels]
        return theta

    def expand(self, unit: Tensor, voxels: Tensor) -> Quadratic:
        """Cost and its expansion in unit coordinates."""
        lower, upper = self.model.parameters.bounds(unit)
        signal, slopes = self.model.linearize(self.theta(unit, voxels).to(self.precision))
        free = self.free
        if len(free) < slopes.shape[-1]:
            slopes = slopes[..., free]
        return expand_cost(
            whitened(self.model, signal),
            whitened(self.model, slopes, -2),
            self.data[voxels],
            (upper - lower)[free],
            amplitude_of(self.model),
            None if self.m0 is None else self.m0[voxels],
        )

    def cost(self, unit: Tensor, voxels: Tensor) -> Tensor:
        """Cost ``(B,)`` alone, of real signals."""
        signal = self.model(self.theta(unit, voxels).to(self.precision))
        signal = whitened(self.model, signal)
        given = None if self.m0 is None else self.m0[voxels]
        none = signal.real[..., None][..., :0]
        empty = none.new_empty(0, dtype=torch.float64)
        found = expand_real(signal, none, self.data[voxels], empty, given)
        return found.residual.square().sum(-1)

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
        signal, slopes = images_of(self.model, theta)
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

    def minimise(self, voxels: Tensor, start: Tensor, rule: StoppingRule) -> Solution:
        """Best fit of some voxels from ``start`` ``(B, F)``."""
        return minimise(
            lambda unit, rows: self.expand(unit, voxels[rows]),
            start,
            self.variance[voxels],
            self.degrees,
            rule,
        )

    def reached(self, solution: Solution, voxels: Tensor, points: Tensor) -> Tensor:
        """Which ``points`` ``(B, K, F)`` lie within the noise of the ``solution`` of ``voxels``.

        That is, within five standard deviations: a start from there would end there again.
        """
        cost, information = solution.quadratic.cost, solution.quadratic.information
        noise = noise_variance(cost, self.variance[voxels], self.degrees)
        away = points - solution.unit[:, None]
        return ((away @ information) * away).sum(-1) < 25 * noise[:, None]
