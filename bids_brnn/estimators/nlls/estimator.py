"""Non-linear least squares: the estimator every other one is judged against."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

import bids_brnn
from bids_brnn.errors import DataError
from bids_brnn.estimators.base import Estimate, Estimator
from bids_brnn.estimators.candidates import default_candidates
from bids_brnn.estimators.checkpoint import Checkpoint, content_key, model_key
from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.results import (
    STOP_REASONS,
    block_maps,
    bounds_hit,
    done_rows,
    empty_maps,
    on_bound,
    resume,
)
from bids_brnn.estimators.nlls.solver import (
    ITERATION_LIMIT,
    Solution,
    StoppingRule,
    better_of,
)
from bids_brnn.estimators.nlls.starts import Candidates, Starts
from bids_brnn.estimators.voxels import (
    Progress,
    blocks,
    check_data,
    known_values,
    take,
    usable_voxels,
    within_bounds,
)
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel

__all__ = ["STOP_REASONS", "NllsEstimator", "bounds_hit"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class NllsEstimator:
    """Batched Levenberg-Marquardt with bounds, complex M0 projected out and several starts.

    Minimises ``|y - M0 s(theta)|^2`` over complex M0 and all parameters that are not supplied,
    within the bounds of ``model.parameters``. Arithmetic is in double precision.

    Standard deviations are those of the Fisher information at the solution (delta method). A
    bound interval counts as knowledge with a standard deviation of its own width: negligible for
    what the data determine, and the limit for what they do not. A parameter on its bound gets the
    same treatment, as if the bound were not there, and is marked in ``at_bound``.

    ``quality`` holds ``(V,)`` integers: ``iterations`` (model evaluations over all starts),
    ``stop`` (:data:`STOP_REASONS`), ``starts``, and ``at_bound`` (bit ``k``: parameter ``k`` on
    its lower, bit ``P + k``: on its upper bound; see :func:`bounds_hit`).
    """

    model: SignalModel
    start: Tensor | Estimator | None = None
    """Start candidates ``(S, P)`` (a coarse dictionary, for example draws from a prior), another
    estimator, or None for candidates spread between the bounds. Where an estimator leaves NaN,
    and for further starts, such candidates are used as well."""
    max_iterations: int = 50
    """Model evaluations per start."""
    tolerance: float = 0.01
    """A voxel has converged when the step left is below this many standard deviations."""
    n_starts: int = 3
    """Starts of voxels that end on a bound or with a high residual; all others have one."""
    retry_residual: float = 0.05
    """Relative residual that counts as high; where sigma is given, twice what it explains does."""
    single: bool | None = None
    """Whether the model is evaluated in single precision; by default if the data are."""
    block_size: int = 4096
    """Voxels estimated together; does not change the result beyond round-off."""
    seed: int = 1
    """Of the start candidates, where none are given."""
    name: str = field(default="nlls", init=False)

    def __post_init__(self) -> None:
        if self.n_starts < 1 or self.max_iterations < 1 or self.block_size < 1:
            raise DataError("n_starts, max_iterations and block_size must be at least 1")
        start = self.start
        if isinstance(start, Tensor) and (
            start.ndim != 2 or start.shape[0] < 1 or start.shape[1] != len(self.parameters)
        ):
            raise DataError(
                f"start candidates have shape {tuple(start.shape)}; "
                f"(candidates, {len(self.parameters)}) is needed"
            )

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the model, in the order of ``Estimate.theta``."""
        return self.model.parameters

    @cached_property
    def _candidates(self) -> Candidates:
        theta = self.start if isinstance(self.start, Tensor) else None
        if theta is None:
            theta = default_candidates(self.parameters, self.seed)
        return Candidates.simulate(self.model, theta)

    def estimate(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None = None,
        *,
        sigma: float | Tensor | None = None,
        start: Tensor | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        Parameters
        ----------
        data
            Coefficients or time frames, whatever the model produces.
        supplied
            Known values ``(V,)`` by parameter name; any parameter may be supplied. A voxel whose
            value is NaN or out of bounds is not estimated.
        sigma
            Noise standard deviation per channel, scalar or ``(V,)``; by default, and where it is
            not positive, taken from the residual of each voxel.
        start
            Start values ``(V, P)`` in place of those of the estimator; NaN where there is none.
        progress
            Called after every block with the voxels done and their number.
        checkpoint
            Keeps partial results on disk and goes on from those of an interrupted run.

        Raises
        ------
        DataError
            If a shape or dtype does not fit the model.
        ParameterError
            If a supplied name is no parameter of the model.
        """
        inputs = self._inputs(data, supplied, sigma, start)
        usable = usable_voxels(data) & within_bounds(self.parameters, inputs.known, data)
        voxels = torch.nonzero(usable)[:, 0]
        if len(voxels) < len(data):
            _log.warning(
                "%d of %d voxels cannot be estimated",
                len(data) - len(voxels),
                len(data),
            )
        maps = empty_maps(data, len(self.parameters))
        key = "" if checkpoint is None else self._key(inputs, voxels)
        first = 0 if checkpoint is None else resume(maps, checkpoint.load(key), voxels)
        for rows in blocks(len(voxels), self.block_size):
            if rows.start < first:
                continue
            for name, values in self._estimate_block(inputs, voxels[rows]).items():
                maps[name][voxels[rows]] = values.to(maps[name].dtype)
            if checkpoint is not None and checkpoint.due():
                checkpoint.save(done_rows(maps, voxels[: rows.stop]), key)
            if progress is not None:
                progress(rows.stop, len(voxels))
        return Estimate(
            maps.pop("theta"),
            maps.pop("m0"),
            maps.pop("residual"),
            maps.pop("std"),
            maps,
        )

    def start_points(self, data: Tensor, supplied: Mapping[str, Tensor] | None = None) -> Tensor:
        """First start ``(V, P)`` of each voxel of ``data``; every voxel must be usable."""
        inputs = self._inputs(data, supplied, None, None)
        voxels = torch.arange(len(data), device=data.device)
        problem, _ = self._problem(inputs, voxels)
        return self.parameters.from_unit(self._first(problem, self._given(inputs, voxels))[0])

    def _inputs(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None,
        sigma: float | Tensor | None,
        start: Tensor | None,
    ) -> _Inputs:
        check_data(data, self.model.n_samples)
        if start is not None and start.shape != (len(data), len(self.parameters)):
            raise DataError(
                f"start values have shape {tuple(start.shape)}; "
                f"{(len(data), len(self.parameters))} is needed"
            )
        noise = torch.as_tensor(0.0 if sigma is None else sigma, device=data.device).reshape(-1)
        if noise.shape[0] not in (1, len(data)):
            raise DataError(f"sigma has {noise.shape[0]} values for {len(data)} voxels")
        known = known_values(self.parameters, supplied, data)
        return _Inputs(data, known, dict(supplied or {}), noise.to(torch.float64), start)

    def _key(self, inputs: _Inputs, voxels: Tensor) -> str:
        """Changes with anything that changes the result or its order."""
        start: object = self.start
        if isinstance(self.start, Estimator):
            # What it does stands for what it is.
            some = self._given(inputs, voxels[:16])
            start = None if some is None else torch.round(some * 1e6)
        return content_key(
            bids_brnn.__version__,
            model_key(self.model),
            (
                self.max_iterations,
                self.tolerance,
                self.n_starts,
                self.retry_residual,
                self.single,
                self.seed,
            ),
            self.block_size,
            *(part for item in sorted(inputs.known.items()) for part in item),
            inputs.data,
            inputs.sigma,
            inputs.start,
            start,
        )

    def _given(self, inputs: _Inputs, voxels: Tensor) -> Tensor | None:
        """Start values in unit coordinates, ``(B, P)``; None where candidates are to be used."""
        if inputs.start is not None:
            given = inputs.start[voxels]
        elif isinstance(self.start, Estimator):
            supplied = {name: values[voxels] for name, values in inputs.supplied.items()}
            given = self.start.estimate(inputs.data[voxels], supplied).theta
        else:
            return None
        unit = self.parameters.to_unit(given.to(inputs.data.device, torch.float64))
        return unit.clamp(0, 1)

    def _estimate_block(self, inputs: _Inputs, voxels: Tensor) -> dict[str, Tensor]:
        """Maps of ``voxels``."""
        problem, size = self._problem(inputs, voxels)
        solution, n_starts = self._search(problem, self._given(inputs, voxels))
        return block_maps(problem, solution, n_starts, size)

    def _problem(self, inputs: _Inputs, voxels: Tensor) -> tuple[Problem, Tensor]:
        """Voxels scaled to unit norm, and their norms."""
        data = inputs.data[voxels].to(torch.complex128)
        # Two steps, so that neither the squares nor the ratio leave the range of numbers.
        largest = torch.view_as_real(data).abs().amax((-1, -2))[:, None]
        data = data / largest
        norm = data.norm(dim=-1, keepdim=True)
        size = (largest * norm)[:, 0]
        known = {column: take(values, voxels) for column, values in inputs.known.items()}
        sigma = torch.nan_to_num(take(inputs.sigma, voxels), posinf=0.0).clamp_min(0)
        single = inputs.data.dtype == torch.complex64 if self.single is None else self.single
        precision = torch.float32 if single else torch.float64
        return Problem(self.model, data / norm, known, (sigma / size) ** 2, precision), size

    def _first(self, problem: Problem, given: Tensor | None) -> tuple[Tensor, Starts | None]:
        """First start of every voxel, ``(B, P)`` in unit coordinates, and the choice there was."""
        if given is not None and not bool(given.isnan().any()):
            return given, None
        voxels = torch.arange(len(problem.data), device=problem.data.device)
        choice = self._choice(problem, voxels)
        point = choice.take_best()[0]
        return point if given is None else torch.where(given.isnan(), point, given), choice

    def _search(self, problem: Problem, given: Tensor | None) -> tuple[Solution, Tensor]:
        """First start of all voxels, further starts of doubtful ones."""
        free, rule = problem.free, StoppingRule(self.max_iterations, self.tolerance)
        voxels = torch.arange(len(problem.data), device=problem.data.device)
        start, choice = self._first(problem, given)
        solution = problem.minimise(voxels, start[:, free], rule)
        n_starts = torch.ones_like(voxels)
        if self.n_starts == 1:
            return solution, n_starts
        doubt = self._poor(problem, solution) | torch.cat(on_bound(solution.unit), -1).any(-1)
        if choice is None:
            # Values given by hand are trusted where they fit; an estimator may be in the wrong
            # one of several minima.
            if not isinstance(self.start, Estimator):
                voxels, doubt = voxels[doubt], doubt[doubt]
            choice = self._choice(problem, voxels)
        choice.discard(problem.reached(solution.rows(voxels), voxels, choice.unit[..., free]))
        for _ in range(1, self.n_starts):
            point, promise = choice.take_best()
            cost = solution.quadratic.cost[voxels]
            again = torch.isfinite(promise) & (doubt | ~(promise >= cost))
            voxels, choice, point = voxels[again], choice.rows(again), point[again]
            if len(voxels) == 0:
                break
            second = problem.minimise(voxels, point[:, free], rule)
            n_starts[voxels] += 1
            choice.discard(problem.reached(second, voxels, choice.unit[..., free]))
            solution = better_of(solution, voxels, second)
            # A bound that a second start confirms is believed.
            doubt = self._poor(problem, solution)[voxels]
        return solution, n_starts

    def _choice(self, problem: Problem, voxels: Tensor) -> Starts:
        lower, upper = self.parameters.bounds(problem.variance)
        known = {
            column: (values[voxels] - lower[column]) / (upper[column] - lower[column])
            for column, values in problem.known.items()
        }
        return self._candidates.starts(problem.data[voxels], known)

    def _poor(self, problem: Problem, solution: Solution) -> Tensor:
        """Voxels that do not fit or did not converge."""
        cost = solution.quadratic.cost
        explained = 4 * problem.variance * max(problem.degrees, 1)
        high = torch.where(explained > 0, cost > explained, cost > self.retry_residual**2)
        return high | (solution.reason >= ITERATION_LIMIT)


@dataclass(frozen=True)
class _Inputs:
    """Checked arguments of :meth:`NllsEstimator.estimate`."""

    data: Tensor
    known: dict[int, Tensor]
    supplied: dict[str, Tensor]
    sigma: Tensor
    start: Tensor | None
