"""The state of one training and its next step; what a checkpoint holds."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bids_brnn.errors import DataError
from bids_brnn.learning import checkpoints
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.critic import VarianceCritic
from bids_brnn.learning.draws import Draw, draw_batch, draw_noisy, network_inputs
from bids_brnn.learning.networks import CoefficientNetwork
from bids_brnn.learning.optimisers import build_optimisers
from bids_brnn.learning.seeds import seeded
from bids_brnn.learning.statistics import squared_bias, variance
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

Row = Mapping[str, Any]
"""One report of the live curves."""
_MONITORED = 1024
_MONITOR_DRAWS = 16


@dataclass(frozen=True)
class Drawn:
    """What one step learns from."""

    draw: Draw
    inputs: Tensor
    """``(K, B, inputs)`` of the network."""
    rng: Tensor
    """State of chance after it: a training goes on from there."""


class TrainingRun:
    """The mutable state of one training; everything in it is part of a checkpoint."""

    def __init__(
        self,
        network: CoefficientNetwork,
        data: TrainingSet,
        parameters: ParameterSet,
        config: TrainingConfig,
        held_out: TrainingSet | None,
        focus: TrainingSet | None,
        keys: tuple[str, str],
    ) -> None:
        self.data_key, self.focus_key = keys
        self.device = next(network.parameters()).device
        self.network, self.parameters, self.config = network, parameters, config
        if data.gain is None and any(stage.loss.needs_gain for stage in config.stages):
            raise DataError("the efficient loss needs a training set simulated with_gain=True")
        if focus is None and any(stage.focus for stage in config.stages):
            raise DataError("a stage has a focus, but there are no fingerprints in focus")
        self.data = data.to(self.device)
        self.focus = None if focus is None else focus.to(self.device)
        self.held_out = None
        if held_out is not None:
            self.held_out = held_out[:_MONITORED].to(self.device)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.columns = parameters.index(network.spec.outputs)
        self.weights, self.floor = self._output_weights()
        spread = self.data.theta[:, self.columns].double().std(0)
        self.spread = torch.where(spread > 0, spread, torch.ones_like(spread)).float()
        with seeded(config.seed):
            self.critic = VarianceCritic(len(parameters), len(self.columns)).to(self.device)
        self.critic_optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=3e-3, betas=(0.9, 0.98), foreach=True
        )
        self.rng = torch.Generator(self.device).manual_seed(config.seed)
        # After the last step that was learnt from; the generator itself may be a step ahead.
        self.chance = self.rng.get_state()
        self.drawn: Iterator[Drawn] | None = None
        self.total = sum(stage.steps for stage in config.stages)
        self.step = 0
        self.draws = 0
        self.seconds = 0.0
        self.history: list[Row] = []
        self.loss = torch.zeros(len(self.columns), device=self.device)
        self.optimisers: list[torch.optim.Optimizer] = []
        self.forward: Callable[[Tensor], Tensor] = network
        if config.compile:
            self.forward = torch.compile(network)

    def _output_weights(self) -> tuple[Tensor, Tensor]:
        nuisances = set(self.parameters.columns("nuisance"))
        lower, upper = self.parameters.bounds(self.data.theta)
        floor = (self.config.nuisance_floor * (upper - lower)[self.columns]) ** 2
        is_nuisance = torch.tensor([c in nuisances for c in self.columns], device=self.device)
        weights = torch.where(is_nuisance, self.config.nuisance_weight, 1.0)
        return weights, torch.where(is_nuisance, floor, 0.0)

    def standardise(self) -> None:
        """Set input and output scales from one noisy draw of each of many fingerprints."""
        rng = torch.Generator(self.device).manual_seed(self.config.seed)
        rows = torch.randint(len(self.data), (20000,), generator=rng, device=self.device)
        draw = self._noisy(self.data[rows], 1, rng, mirrored=False)
        inputs = network_inputs(self.network, draw.coefficients[0], draw.theta, self.parameters)
        self.network.standardise(inputs, draw.truth)
        self.critic.standardise(draw.theta)
        self.average.load_state_dict(self.network.state_dict())

    def _noisy(
        self, data: TrainingSet, realisations: int, rng: torch.Generator, *, mirrored: bool
    ) -> Draw:
        return draw_noisy(
            data,
            realisations,
            self.config,
            self.parameters,
            self.columns,
            rng=rng,
            mirrored=mirrored,
            floor=self.floor,
        )

    def upcoming(self) -> Iterator[Drawn]:
        """Of each step from the present one to the last; they do not depend on the weights."""
        for step in range(self.step, self.total):
            stage = self.stage(step)[1]
            batch = draw_batch(self.data, self.focus, stage.batch, stage.focus, rng=self.rng)
            draw = self._noisy(batch, stage.realisations, self.rng, mirrored=stage.loss.mirrored)
            inputs = network_inputs(self.network, draw.coefficients, draw.theta, self.parameters)
            yield Drawn(draw, inputs, self.rng.get_state())

    def stage(self, step: int | None = None) -> tuple[int, Stage, int]:
        """Number of the stage of a step (the present one), the stage, and the step within it."""
        step = self.step if step is None else step
        for number, stage in enumerate(self.config.stages):
            if step < stage.steps:
                return number, stage, step
            step -= stage.steps
        raise DataError("the training is complete")

    def advance(self) -> Row | None:
        """One step; returns a row of the live curves where one is due."""
        started = time.perf_counter()
        number, stage, step = self.stage()
        if step == 0 or not self.optimisers:
            self.optimisers = build_optimisers(self.network, stage)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = stage.rate(step)
        if self.drawn is None:
            self.drawn = self.upcoming()
        drawn = next(self.drawn)
        draw, self.chance = drawn.draw, drawn.rng
        self.network.train()
        scaled = self._scaled(self._apply(self.forward, drawn.inputs), draw.truth, draw.bound)
        target = None
        if stage.loss.needs_gain and draw.efficient is not None:
            target = draw.efficient / self.spread
        expected = None
        if stage.loss.needs_critic:
            seen = variance(scaled[0].detach(), mirrored=stage.loss.mirrored) / scaled[2]
            expected = self._consult_critic(draw, seen)
        loss = stage.loss(*scaled, expected, target)
        self._descend((loss * self.weights).sum() / self.weights.sum(), stage)
        self.step += 1
        self.draws += stage.batch * stage.realisations
        due = self.step % self.config.report_every == 0 or self.step == self.total
        self.loss += loss.detach()
        self.seconds += time.perf_counter() - started
        return self._report(number, stage.rate(step)) if due else None

    def _consult_critic(self, draw: Draw, seen: Tensor) -> Tensor:
        """Expected variance over bound ``(B, outputs)``; the critic then learns from ``seen``."""
        expected: Tensor = self.critic(draw.theta, draw.snr)
        self.critic_optimiser.zero_grad(set_to_none=True)
        self.critic.loss(expected, seen).backward()
        self.critic_optimiser.step()
        return expected.detach()

    def _apply(self, network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Outputs ``(K, B, outputs)``; batch normalisation sees all realisations at once."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        half = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outputs = network(flat)
        return outputs.float().reshape(*inputs.shape[:-1], -1)

    def _scaled(
        self, estimates: Tensor, truth: Tensor, bound: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """In units of the spread of each output: a plain MSE then sees all parameters."""
        spread = self.spread
        return estimates / spread, truth / spread, bound / spread**2

    def _descend(self, loss: Tensor, stage: Stage) -> None:
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), stage.clip or torch.inf, foreach=True
        )
        if not bool(torch.isfinite(norm)):
            raise DataError(
                f"the loss became infinite or NaN in step {self.step + 1}; "
                "lower learning_rate or start with an mse-crb stage"
            )
        for optimiser in self.optimisers:
            optimiser.step()
        # A short memory at the start of a stage, so that the average forgets its beginning.
        decay = min(self.config.averaging, (1 + self.stage()[2]) / (10 + self.stage()[2]))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1 - decay)
            for old, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                old.copy_(new)

    def _report(self, number: int, rate: float) -> Row:
        row: dict[str, Any] = {
            "step": self.step,
            "stage": number + 1,
            "learning_rate": rate,
            "seconds": round(self.seconds, 2),
            "draws": self.draws,
            "loss": float((self.loss * self.weights).sum() / self.weights.sum())
            / self.config.report_every,
        }
        self.loss.zero_()
        if self.held_out is not None:
            bias, spread = self._monitor(self.held_out)
            for column, name in enumerate(self.network.spec.outputs):
                row[f"{name}_squared_bias_over_crb"] = round(float(bias[column]), 5)
                row[f"{name}_variance_over_crb"] = round(float(spread[column]), 5)
        self.history.append(row)
        return row

    @torch.no_grad()
    def _monitor(self, held_out: TrainingSet) -> tuple[Tensor, Tensor]:
        """Squared bias and variance over the bound per output, of the averaged network."""
        rng = torch.Generator(self.device).manual_seed(self.config.seed + 1)
        draw = self._noisy(held_out, _MONITOR_DRAWS, rng, mirrored=True)
        inputs = network_inputs(self.network, draw.coefficients, draw.theta, self.parameters)
        self.average.eval()
        estimates = self._apply(self.average, inputs)
        estimates, truth, bound = self._scaled(estimates, draw.truth, draw.bound)
        bias = (squared_bias(estimates, truth, mirrored=True) / bound).mean(0)
        return bias, (variance(estimates, mirrored=True) / bound).mean(0)

    def finish(self) -> CoefficientNetwork:
        """The network, with averaged weights where averaging is on."""
        if self.config.averaging > 0:
            self.network.load_state_dict(self.average.state_dict())
        return self.network.eval()

    def save(self, path: Path) -> None:
        """Write the whole state."""
        focused = any(stage.focus for stage in self.config.begun(self.step))
        checkpoints.save(
            path,
            modules={"network": self.network, "average": self.average, "critic": self.critic},
            optimisers=[self.critic_optimiser, *self.optimisers],
            rng=self.chance,
            note={
                "config": self.config.to_dict(),
                "data": self.data_key,
                "focus": self.focus_key if focused else "",
                "step": self.step,
                "draws": self.draws,
                "seconds": self.seconds,
                "history": list(self.history),
                "loss": self.loss.tolist(),
            },
        )

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same configuration, or of one with fewer stages."""
        saved = checkpoints.load(path)
        note = saved.note
        keys = (self.data_key, self.focus_key)
        checkpoints.check_origin(path, note, self.config, *keys)
        saved.fill("network", self.network)
        saved.fill("average", self.average)
        saved.fill("critic", self.critic)
        saved.set_rng(self.rng)
        self.chance, self.drawn = self.rng.get_state(), None
        self.step, self.draws = note["step"], note["draws"]
        self.seconds, self.history = note["seconds"], list(note["history"])
        self.loss = torch.tensor(saved.losses(len(self.columns)), device=self.device)
        if self.step < self.total and self.stage()[2] > 0:
            self.optimisers = build_optimisers(self.network, self.stage()[1])
        saved.fill_optimisers([self.critic_optimiser, *self.optimisers])
