"""Learning one network for every protocol of Z-spectra: efficient regression over many of them.

Each step draws fingerprints of sixteen protocols. The target is what an efficient estimator makes
of the same noise in that protocol (:func:`~bids_brnn.learning.losses.efficient_regression`), over
the protocol's own Cramer-Rao bound. Where a protocol cannot see a parameter (a bound beyond its
range) the target is the truth, and what is learnt is the mean over the prior.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.learning import checkpoints
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.error_network import ErrorNetwork, learn_errors
from bids_brnn.learning.losses import efficient_regression
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.scoring import NAMES, WIDTHS, ScoringSteps, supplied_of
from bids_brnn.learning.scoring_network import ScoringNetwork
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.training_set import simulate_fingerprints
from bids_brnn.signals.base import SignalModel

TOGETHER = 16
"""Protocols in a step."""
_UNSEEN = 4.0
"""Variance in squared widths beyond which a parameter is not seen."""
_PRIOR = 0.1
"""Weight of squared errors, in squared widths, of what is not seen."""
_FIRST = 20
"""Fingerprints of each protocol that set the scales."""

Log = Callable[[int, Sequence[float], float], None]
"""Called with step, mean loss by parameter, and seconds."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Fingerprints of one protocol at M0 = 1; ``n`` of them with ``N`` images."""

    steps: ScoringSteps
    images: Tensor
    """``(n, N)``."""
    supplied: Tensor
    """``(n, 3)``."""
    truth: Tensor
    """``(n, 4)``, in widths."""
    bound: Tensor
    """``(n, 4)``, in squared widths, at an SNR of 1."""
    gain: Tensor
    """``(n, 4, N)``: of an efficient estimator."""
    limits: tuple[Tensor, Tensor]
    """``(4,)`` each: what parameters can be, in widths."""

    @classmethod
    def of(cls, model: SignalModel, theta: Tensor) -> Lesson:
        """Fingerprints of ``theta`` ``(n, P)`` by a model whose images have the same noise."""
        parameters = model.parameters
        columns = list(parameters.index(NAMES))
        data = simulate_fingerprints(model, theta, with_gain=True)
        assert data.gain is not None
        widths = WIDTHS.float()
        lower, upper = (end[columns] / widths for end in parameters.bounds(data.theta))
        return cls(
            ScoringSteps.of(model),
            data.coefficients.real.clone(),
            supplied_of(parameters, data.theta),
            data.theta[:, columns] / widths,
            data.bound[:, columns] / widths**2,
            data.gain[:, columns].real / widths[:, None],
            (lower, upper),
        )

    def draw(
        self, rows: Tensor, snr: Tensor, n: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and efficient estimates ``(n, V, .)``, truth and bounds ``(V, 4)``.

        Noise comes in pairs of opposite sign where ``n`` is above 1.
        """
        clean = self.images[rows]
        noise = torch.randn((max(1, n // 2), *clean.shape), generator=rng) / snr[:, None]
        if n > 1:
            noise = torch.cat([noise, -noise])
        inputs = self.steps(clean + noise, self.supplied[rows])
        efficient = self.truth[rows] + torch.einsum("vpn,kvn->kvp", self.gain[rows], noise)
        return inputs, efficient, self.truth[rows], self.bound[rows] / snr[:, None] ** 2

    def relative_noise(self, rows: Tensor, snr: Tensor) -> Tensor:
        """``(V,)``: standard deviation over the norm of the images, or over M0 where known."""
        if self.steps.is_divided:
            return 1 / snr
        noise: Tensor = 1 / (snr * self.images[rows].norm(dim=-1))
        return noise


class Course:
    """The state of a training; everything in it is part of a checkpoint.

    Parameters
    ----------
    network
        Not yet standardised; trained in place.
    lessons
        At least :data:`TOGETHER` are to be recommended.
    config
        Stages (of efficient regression), noise, averaging, seed.
    """

    def __init__(
        self, network: ScoringNetwork, lessons: Sequence[Lesson], config: TrainingConfig
    ) -> None:
        self.network, self.lessons, self.config = network, lessons, config
        self.rng = torch.Generator().manual_seed(config.seed)
        self._standardise()
        self.average = {key: value.clone() for key, value in network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self.optimisers: list[torch.optim.Optimizer] = []
        self.total = sum(stage.steps for stage in config.stages)

    def _standardise(self) -> None:
        rng = torch.Generator().manual_seed(self.config.seed)
        inputs = []
        for lesson in self.lessons:
            rows = torch.arange(min(_FIRST, len(lesson.truth)))
            inputs.append(lesson.draw(rows, self._snr(len(rows), rng), 1, rng)[0][0])
        truth = torch.cat([lesson.truth for lesson in self.lessons])
        self.network.standardise(torch.cat(inputs), truth * WIDTHS.float())

    def _snr(self, n: int, rng: torch.Generator) -> Tensor:
        low, high = self.config.snr_range
        unit = torch.rand(n, generator=rng)
        is_log = self.config.snr_spacing == "log"
        return low * (high / low) ** unit if is_log else low + (high - low) * unit

    def stage(self) -> tuple[Stage, int]:
        """The present stage, and the step within it."""
        step = self.step
        for stage in self.config.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise DataError("the training is complete")

    def run(self, checkpoint: Path | None = None, key: str = "", log: Log | None = None) -> None:
        """Train to the end, from the checkpoint if it is there.

        Parameters
        ----------
        checkpoint
            File of the state.
        key
            Of everything that the lessons were made from.
        log
            See :data:`Log`.

        Raises
        ------
        DataError
            If the checkpoint belongs to another training, or the loss is not finite.
        """
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint, key)
        total = torch.zeros(len(NAMES))
        while self.step < self.total:
            total += self._advance()
            if log is not None and self.step % self.config.report_every == 0:
                log(self.step, (total / self.config.report_every).tolist(), self.seconds)
                total.zero_()
            due = self.step % self.config.checkpoint_every == 0 or self.step == self.total
            if checkpoint is not None and due:
                self._save(checkpoint, key)
        self.network.load_state_dict(self.average)
        self.network.eval().requires_grad_(False)

    def _advance(self) -> Tensor:
        """One step; the loss ``(4,)``."""
        began = time.perf_counter()
        stage, step = self.stage()
        if step == 0 or not self.optimisers:
            self.optimisers = build_optimisers(self.network, stage)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = stage.rate(step)
        loss = self._loss(stage)
        self.network.zero_grad(set_to_none=True)
        loss.sum().backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), stage.clip or torch.inf)
        if not bool(torch.isfinite(norm)):
            raise DataError("the loss became infinite or NaN; lower learning_rate")
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        # A short memory at the start of a stage, so that the average forgets its beginning.
        decay = min(self.config.averaging, (1 + step) / (10 + step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        self.seconds += time.perf_counter() - began
        return loss.detach()

    def _loss(self, stage: Stage) -> Tensor:
        each = max(1, stage.batch // TOGETHER)
        parts = []
        for number in torch.randint(len(self.lessons), (TOGETHER,), generator=self.rng).tolist():
            lesson = self.lessons[number]
            rows = torch.randint(len(lesson.truth), (each,), generator=self.rng)
            snr = self._snr(each, self.rng)
            parts.append(lesson.draw(rows, snr, stage.realisations, self.rng))
        inputs, efficient = (torch.cat([part[item] for part in parts], dim=1) for item in (0, 1))
        truth, bound = (torch.cat([part[item] for part in parts]) for item in (2, 3))
        half = self.config.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = self.network(inputs) / WIDTHS.float()
        is_seen = bound < _UNSEEN
        loss = efficient_regression(
            found,
            efficient,
            torch.where(is_seen, bound, torch.inf),
            weight=stage.loss.weight,
            mirrored=stage.realisations > 1,
        )
        error: Tensor = ((found - truth).square().mean(0) * ~is_seen).mean(0)
        return loss + _PRIOR * error

    def _save(self, path: Path, key: str) -> None:
        average = replace_state(self.network, self.average)
        checkpoints.save(
            path,
            modules={"network": self.network, "average": average},
            optimisers=self.optimisers,
            rng=self.rng.get_state(),
            note={"data": key, "config": self.config.to_dict(), "step": self.step,
                  "seconds": self.seconds},
        )  # fmt: skip

    def _restore(self, path: Path, key: str) -> None:
        saved = checkpoints.load(path, checkpoints.OF_PROTOCOLS)
        checkpoints.check_origin(path, saved.note, self.config, key, "")
        average = replace_state(self.network, self.average)
        saved.fill("network", self.network)
        saved.fill("average", average)
        self.average = average.state_dict()
        saved.set_rng(self.rng)
        self.step, self.seconds = saved.note["step"], saved.note["seconds"]
        if self.step < self.total and self.stage()[1] > 0:
            self.optimisers = build_optimisers(self.network, self.stage()[0])
            saved.fill_optimisers(self.optimisers)

    def draw_errors(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features, relative noise, and errors in SI units of about ``n`` draws."""
        each = max(1, n // TOGETHER)
        parts = []
        for number in torch.randint(len(self.lessons), (TOGETHER,), generator=rng).tolist():
            lesson = self.lessons[number]
            rows = torch.randint(len(lesson.truth), (each,), generator=rng)
            snr = self._snr(each, rng)
            inputs, _, truth, _ = lesson.draw(rows, snr, 1, rng)
            half = self.config.precision == "bf16"
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                found, features = self.network.with_features(inputs[0])
            # As delivered: within the bounds of the parameters.
            widths = WIDTHS.float()
            errors = (found.float() / widths).clamp(*lesson.limits) - truth
            parts.append((features, lesson.relative_noise(rows, snr), errors * widths))
        features, noise, errors = (torch.cat(column) for column in zip(*parts, strict=True))
        return features, noise, errors


def replace_state(network: ScoringNetwork, state: dict[str, Tensor]) -> ScoringNetwork:
    """A network of the same shape with other weights."""
    found = ScoringNetwork(network.spec)
    found.load_state_dict(state)
    return found


def learn_any_errors(
    course: Course,
    stage: Stage,
    *,
    width: int,
    blocks: int,
    log: Callable[[int, float], None] | None = None,
) -> ErrorNetwork:
    """The network that knows the errors of a trained one, over the same protocols."""
    with seeded(course.config.seed):
        found = ErrorNetwork(course.network.n_features, len(NAMES), width, blocks)
    rng = torch.Generator().manual_seed(course.config.seed + 2)
    return learn_errors(found, lambda n: course.draw_errors(n, rng), stage, log)
