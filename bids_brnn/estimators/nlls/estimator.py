"""Non-linear least squares: the estimator every other one is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Lock

import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.ahead import ahead, block_length, threads_for
from bids_brnn.estimators.base import Estimate, Estimator, Progress, heard
from bids_brnn.estimators.candidates import default_candidates
from bids_brnn.estimators.checkpoint import Checkpoint, run_key
from bids_brnn.estimators.network.devices import on_device
from bids_brnn.estimators.nlls.drafts import drafted_search
from bids_brnn.estimators.nlls.own_starts import own_starts, rough_starts, usual_points
from bids_brnn.estimators.nlls.problem import Problem
from bids_brnn.estimators.nlls.results import QUALITY, STOP_REASONS, block_maps, bounds_hit
from bids_brnn.estimators.nlls.search import Choose, first_starts, search
from bids_brnn.estimators.nlls.solver import Solution, StoppingRule
from bids_brnn.estimators.nlls.starts import TOGETHER, Candidates, Starts
from bids_brnn.estimators.results import Results
from bids_brnn.estimators.voxels import (
    check_data,
    check_map,
    check_points,
    check_real,
    known_spreads,
    known_values,
    noise_levels,
    take,
    voxels_to_estimate,
)
from bids_brnn.information.noise import whitened
from bids_brnn.parameters import ParameterSet
from bids_brnn.signals.base import SignalModel, amplitude_of, keeps_tables, rough_of

__all__ = ["STOP_REASONS", "NllsEstimator", "bounds_hit"]


_LOCK = Lock()
_BLOCK, _TABLES_BLOCK, _CHEAP_BLOCK = (8192, 512, 2), (2048, 1024, 2), (16384, 2048, 2)
"""Most and least voxels of a block, and blocks of a thread where there are few: of complex models,
where the last voxels of a block cost much; of real ones that keep tables of voxels (100 kB each);
of others, where calls cost more than voxels."""
_CHEAP = StoppingRule(100, 0.001, 0.1)
"""Of real models: their valleys are long, and an evaluation costs microseconds. The damping, of
1e-3 to 1 that with the fewest evaluations on simulated voxels, is for starts far away."""


@dataclass(frozen=True, eq=False)
class NllsEstimator:
    """Batched Levenberg-Marquardt with bounds, M0 projected out and several starts.

    Minimises ``|y - M0 s(theta)|^2`` over M0 and all parameters that are not supplied, within the
    bounds of ``model.parameters``. M0 is complex, real or 1, as the ``amplitude`` of the model
    says; samples count by the number of images averaged in them. Arithmetic is in double
    precision.

    Standard deviations are those of the Fisher information at the solution (delta method). A
    bound interval counts as knowledge with a standard deviation of its own width: negligible for
    what the data determine, and the limit for what they do not. A parameter on its bound gets the
    same treatment, as if the bound were not there, and is marked in ``at_bound``. Where supplied
    values come with their standard deviations (``spread``), what these change is part of it, to
    first order.

    ``quality`` holds ``(V,)`` integers: ``iterations`` (model evaluations over all starts),
    ``stop`` (:data:`STOP_REASONS`), ``starts``, and ``at_bound`` (bit ``k``: parameter ``k`` on
    its lower, bit ``P + k``: on its upper bound; see :func:`bounds_hit`).
    """

    model: SignalModel
    start: Tensor | Estimator | None = None
    """Start candidates ``(S, P)`` (a coarse dictionary, for example draws from a prior), another
    estimator, or None for candidates spread between the bounds. Where an estimator leaves NaN,
    and for further starts, such candidates are used as well."""
    max_iterations: int | None = None
    """Model evaluations per start; by default 50, and 100 of real models, which are cheap."""
    tolerance: float | None = None
    """A voxel has converged when the step left is below this many standard deviations; by default
    0.01, and 0.001 of real models."""
    n_starts: int = 3
    """Starts of voxels that end on a bound or with a high residual; all others have one."""
    retry_residual: float = 0.05
    """Relative residual that counts as high; where sigma is given, twice what it explains does."""
    single: bool | None = None
    """Whether the model is evaluated in single precision; by default if the data are complex in
    single precision, and M0 is."""
    block_size: int | None = None
    """Most voxels estimated together, on each thread, by default such that neither memory nor
    the last voxels of a block cost much; does not change the result beyond round-off."""
    seed: int = 1
    """Of the start candidates, where none are given."""
    draft: SignalModel | None = None
    """A model of the same parameters and samples that imitates this one and costs little; fits
    start at its minima. Of complex models without other start values."""
    name: str = field(default="nlls", init=False)

    def __post_init__(self) -> None:
        if self.n_starts < 1 or self._rule.max_iterations < 1 or self._blocks[0] < 1:
            raise DataError("n_starts, max_iterations and block_size must be at least 1")
        if not (self._rule.tolerance > 0 and self.retry_residual >= 0):
            raise DataError("tolerance must be above 0, retry_residual at least 0")
        draft, start = self.draft, self.start
        if draft is not None and (
            amplitude_of(self.model) != "complex"
            or draft.n_samples != self.model.n_samples
            or draft.parameters.names != self.parameters.names
        ):
            raise DataError(
                "the draft has other parameters or samples than the model, or M0 is not complex"
            )
        if start is not None and not isinstance(start, Estimator):
            check_points(start, "start candidates", self.parameters, every=False)

    @property
    def parameters(self) -> ParameterSet:
        """Parameters of the model, in the order of ``Estimate.theta``."""
        return self.model.parameters

    @property
    def _rule(self) -> StoppingRule:
        usual = StoppingRule() if amplitude_of(self.model) == "complex" else _CHEAP
        near = isinstance(self.start, Estimator) or rough_of(self.model) is not None
        return StoppingRule(
            usual.max_iterations if self.max_iterations is None else self.max_iterations,
            usual.tolerance if self.tolerance is None else self.tolerance,
            StoppingRule.damping if near else usual.damping,
        )

    @property
    def _blocks(self) -> tuple[int, int, int]:
        """Most and least voxels of a block, and blocks of a thread where there are few voxels."""
        if amplitude_of(self.model) == "complex":
            most, least, shares = _BLOCK
        else:
            most, least, shares = _TABLES_BLOCK if keeps_tables(self.model) else _CHEAP_BLOCK
        return most if self.block_size is None else self.block_size, least, shares

    @cached_property
    def _candidates(self) -> dict[torch.device, Candidates]:
        """By the device of the data, made when first used."""
        return {}

    def _candidates_on(self, device: torch.device) -> Candidates:
        with _LOCK:  # simulated once, however many threads ask
            if device not in self._candidates:
                self._candidates[device] = self._simulated.to(device)
            return self._candidates[device]

    @cached_property
    def _simulated(self) -> Candidates:
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
        spread: Mapping[str, Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Estimate:
        """Estimate parameters of ``data`` ``(V, R)`` complex.

        ``start`` ``(V, P)`` takes the place of the start values of the estimator, NaN where there
        is none. ``spread`` holds the standard deviation ``(V,)`` of supplied values by name; what
        is not finite or negative counts as 0. See :meth:`Estimator.estimate` for everything else.

        Raises
        ------
        DataError
            If a shape or dtype does not fit the model.
        ParameterError
            If a supplied name is no parameter of the model.
        """
        inputs = self._inputs(data, supplied, sigma, start, spread)
        voxels = voxels_to_estimate(self.parameters, inputs.known, data)
        key = "" if checkpoint is None else self._key(inputs, voxels)
        wide = self.parameters.needs_covariance
        results = Results(data, len(self.parameters), QUALITY, with_covariance=wide)
        # A block in each thread: steps between two calls of a model are work for all threads too.
        threads = threads_for(data.device)
        most, least, shares = self._blocks
        length = block_length(len(voxels), most, least, threads, shares)
        if self.block_size is None:
            length = -(-length // TOGETHER) * TOGETHER  # so that threads do not change the result
        blocks = voxels.split(length)
        chosen = inputs.start is None and not isinstance(self.start, Estimator)
        if chosen and len(blocks) > 1 and amplitude_of(self.model) == "complex":
            self._candidates_on(data.device)  # while all threads are at hand for one simulation
        with ahead(partial(self._estimate_block, inputs), blocks, threads) as maps_of:
            for number, block in results.remaining(blocks, progress, checkpoint, key):
                results.put(block, maps_of(number))
        return results.estimate()

    def start_points(self, data: Tensor, supplied: Mapping[str, Tensor] | None = None) -> Tensor:
        """First start ``(V, P)`` of each voxel of ``data``; every voxel must be usable."""
        inputs = self._inputs(data, supplied, None, None)
        voxels = torch.arange(len(data), device=data.device)
        problem, _ = self._problem(inputs, voxels)
        given = self._given(inputs, voxels)
        return self.parameters.from_unit(first_starts(problem, self._choice(problem), given)[0])

    def _inputs(
        self,
        data: Tensor,
        supplied: Mapping[str, Tensor] | None,
        sigma: float | Tensor | None,
        start: Tensor | None,
        spread: Mapping[str, Tensor] | None = None,
    ) -> _Inputs:
        check_data(data, self.model.n_samples)
        if amplitude_of(self.model) != "complex":
            check_real(data)
        if start is not None:
            columns = len(self.parameters)
            check_map(start, "the start of each voxel", len(data), columns)
        noise = noise_levels(sigma, data).to(torch.float64)
        known = known_values(self.parameters, supplied, data)
        start = None if start is None else start.to(data.device)
        near = {name: values.to(data.device) for name, values in (supplied or {}).items()}
        unsure = known_spreads(self.parameters, spread, known, data)
        return _Inputs(data, known, near, noise, start, unsure)

    def _key(self, inputs: _Inputs, voxels: Tensor) -> str:
        start: object = self.start
        if isinstance(start, Estimator):
            # What it does stands for what it is.
            some = self._given(inputs, voxels[:16])
            start = None if some is None else torch.round(some * 1e6)
        return run_key(
            self,
            inputs.data,
            inputs.known,
            inputs.sigma,
            inputs.start,
            *(part for item in sorted(inputs.spread.items()) for part in item),
            start,
            without=("start",),
        )

    def _given(self, inputs: _Inputs, voxels: Tensor) -> Tensor | None:
        """Start values in unit coordinates, ``(B, P)``; None where candidates are to be used."""
        if inputs.start is not None:
            given = inputs.start[voxels]
        elif isinstance(self.start, Estimator):
            names = heard(self.start, inputs.supplied)
            supplied = {name: inputs.supplied[name][voxels] for name in names}
            given = self.start.estimate(inputs.data[voxels], supplied).theta
        else:
            return None
        unit = self.parameters.to_unit(given.to(inputs.data.device, torch.float64))
        return unit.clamp(0, 1)

    def _estimate_block(self, inputs: _Inputs, voxels: Tensor) -> dict[str, Tensor]:
        """Maps of ``voxels``."""
        problem, size = self._problem(inputs, voxels)
        solution, n_starts = self._search(problem, self._given(inputs, voxels))
        spread = {column: values[voxels] for column, values in inputs.spread.items()}
        return block_maps(problem, solution, n_starts, size, spread)

    def _search(self, problem: Problem, given: Tensor | None) -> tuple[Solution, Tensor]:
        choose, often = self._choice(problem), self.n_starts
        poor = self.retry_residual
        if self.draft is not None and given is None:
            draft = on_device(self.draft, problem.data.device)  # it may be a network
            return drafted_search(
                problem, draft, choose, self._rule, n_starts=often, high_residual=poor
            )
        # Values given by hand are trusted; an estimator may be in the wrong one of several minima.
        trusted = not isinstance(self.start, Estimator)
        return search(
            problem, choose, given, self._rule,
            n_starts=often, high_residual=poor, trusted=trusted,
        )  # fmt: skip

    def _problem(self, inputs: _Inputs, voxels: Tensor) -> tuple[Problem, Tensor]:
        """Voxels scaled to unit norm, and their norms."""
        amplitude = amplitude_of(self.model)
        data = whitened(self.model, inputs.data[voxels].to(torch.complex128))
        # Two steps, so that neither the squares nor the ratio leave the range of numbers.
        largest = torch.view_as_real(data).abs().amax((-1, -2))[:, None]
        data = data / largest
        norm = data.norm(dim=-1, keepdim=True)
        size = (largest * norm)[:, 0]
        known = {column: take(values, voxels) for column, values in inputs.known.items()}
        sigma = take(inputs.sigma, voxels)
        single = self.single
        if single is None:
            # Real models are cheap, and their steady states lose digits.
            single = inputs.data.dtype == torch.complex64 and amplitude == "complex"
        precision = torch.float32 if single else torch.float64
        m0 = 1 / size if amplitude == "one" else None
        problem = Problem(self.model, data / norm, known, (sigma / size) ** 2, precision, m0)
        return problem, size

    def _choice(self, problem: Problem) -> Choose:
        """Picks start candidates for voxels of ``problem``; simulates them when first asked."""
        if amplitude_of(self.model) != "complex":
            given = self.start if isinstance(self.start, Tensor) else None
            points = usual_points(self.parameters, self.seed) if given is None else given
            rough = rough_of(self.model)
            if rough is not None:
                return lambda voxels: rough_starts(problem, rough, points, voxels)
            return lambda voxels: own_starts(problem, points, voxels)
        device = problem.data.device
        lower, upper = self.parameters.bounds(problem.variance)

        def choose(voxels: Tensor) -> Starts:
            known = {
                column: (values[voxels] - lower[column]) / (upper[column] - lower[column])
                for column, values in problem.known.items()
            }
            return self._candidates_on(device).starts(problem.data[voxels], known)

        return choose


@dataclass(frozen=True)
class _Inputs:
    """Checked arguments of :meth:`NllsEstimator.estimate`."""

    data: Tensor
    known: dict[int, Tensor]
    supplied: dict[str, Tensor]
    sigma: Tensor
    start: Tensor | None
    spread: dict[int, Tensor]
    """``(V,)`` by column: standard deviations of supplied values."""
