"""What a training run consists of: stages, ranges, sizes. Read from TOML, written to cards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Any, Literal, TypeVar, get_args

from bids_brnn.errors import DataError, unknown_names
from bids_brnn.learning.losses import Loss

Decay = Literal["none", "cosine", "inverse"]
Optimiser = Literal["muon", "adamw", "radam"]
Precision = Literal["bf16", "float32"]
Spacing = Literal["linear", "log"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Stage:
    """One part of the training with one loss and one learning-rate schedule."""

    loss: Loss
    steps: int
    batch: int = 2048
    """Fingerprints per step."""
    realisations: int = 1
    """Noise draws per fingerprint and step."""
    learning_rate: float = 1e-3
    decay: Decay = "cosine"
    """``cosine`` to zero at the end of the stage; ``inverse``: 1 / (1 + decay_rate * step)."""
    horizon: int = 0
    """Steps over which the cosine would reach zero, where the stage ends earlier; 0: its own."""
    decay_rate: float = 5e-5
    warmup: int = 200
    """Steps over which the learning rate rises linearly."""
    optimiser: Optimiser = "muon"
    """``muon``: orthogonalised momentum for the hidden matrices, Adam for the rest."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    focus: float = 0.0
    """Share of every batch that is drawn from the fingerprints in focus."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0 or self.warmup < 0:
            raise DataError("a stage needs steps, batch and learning_rate above zero")
        if not 0 <= self.focus < 1:
            raise DataError(f"focus = {self.focus}: the share of a batch is from 0 to below 1")
        if self.realisations < self.loss.fewest_realisations:
            raise DataError(
                f"stage {self.loss.name}: realisations = {self.realisations}, but this loss "
                f"needs at least {self.loss.fewest_realisations}"
            )
        if self.loss.mirrored and self.realisations % 2 and self.realisations > 1:
            raise DataError("mirrored draws come in pairs: make realisations even")
        for name, known in (("decay", Decay), ("optimiser", Optimiser)):
            if getattr(self, name) not in get_args(known):
                raise DataError(f"{name} must be one of {', '.join(get_args(known))}")

    def rate(self, step: int) -> float:
        """Learning rate at ``step`` counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay == "cosine":
            phase = min(1.0, step / (self.horizon or self.steps))
            return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * phase))
        if self.decay == "inverse":
            return self.learning_rate * rise / (1 + self.decay_rate * step)
        return self.learning_rate * rise


@dataclass(frozen=True)
class TrainingConfig:
    """Stages and everything they share."""

    stages: tuple[Stage, ...]
    snr_range: tuple[float, float] = (10.0, 50.0)
    """``|M0| / sigma``: one value per fingerprint and step, shared by its realisations."""
    snr_spacing: Spacing = "linear"
    """Uniform in the SNR, or in its logarithm: of a wide range few draws would be noisy."""
    precision: Precision = "bf16"
    """Inside the hidden blocks; weights, residual stream, ends and loss stay in float32."""
    averaging: float = 0.999
    """Decay per step of the exponential average of the weights that is kept; 0 for none."""
    conjugate: bool = False
    """Use every fingerprint at -w0 too (:meth:`TrainingSet.conjugated`)."""
    nuisance_weight: float = 0.05
    """Weight in the loss of each output that is a nuisance of the model."""
    nuisance_floor: float = 0.01
    """Errors of nuisances below this fraction of their range cost little."""
    report_every: int = 200
    """Steps between two lines of the live curves."""
    checkpoint_every: int = 1000
    compile: bool = False
    """``torch.compile`` the forward pass: pays on a GPU, not on the CPUs that we measured."""
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.snr_range
        if not 0 < low <= high:
            raise DataError(f"snr_range = [{low}, {high}]: need 0 < low <= high")
        if self.snr_spacing not in get_args(Spacing):
            raise DataError(f"snr_spacing must be one of {', '.join(get_args(Spacing))}")
        if not self.stages:
            raise DataError("a training needs at least one [[stages]] table")
        if self.precision not in get_args(Precision):
            raise DataError(f"precision must be one of {', '.join(get_args(Precision))}")
        if not 0 <= self.averaging < 1:
            raise DataError("averaging must be in [0, 1)")
        if min(self.report_every, self.checkpoint_every) < 1:
            raise DataError("report_every and checkpoint_every must be at least 1")

    def begun(self, step: int) -> tuple[Stage, ...]:
        """Stages of which at least one of the first ``step`` steps was part."""
        ends = accumulate(stage.steps for stage in self.stages)
        starts = (end - stage.steps for end, stage in zip(ends, self.stages, strict=True))
        return tuple(s for s, start in zip(self.stages, starts, strict=True) if step > start)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and for the digest of a checkpoint."""
        plain = asdict(self)
        plain["snr_range"] = list(self.snr_range)
        plain["stages"] = [asdict(stage) for stage in self.stages]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Read the tables ``[training]`` and ``[[training.stages]]`` of a configuration.

        Raises
        ------
        DataError
            Naming an unknown key or an impossible value.
        """
        try:
            return cls._read(values)
        except (TypeError, ValueError) as error:
            raise DataError(f"[training] cannot be read: {error}") from error

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> TrainingConfig:
        options = dict(values)
        stages = []
        for number, entry in enumerate(options.pop("stages", []), 1):
            table = dict(entry)
            loss = table.pop("loss", {})
            loss = {"name": loss} if isinstance(loss, str) else loss
            where = f"stage {number}"
            stages.append(
                _build(Stage, {**table, "loss": _build(Loss, loss, f"{where}, loss")}, where)
            )
        if "snr_range" in options:
            low, high = options["snr_range"]
            options["snr_range"] = (float(low), float(high))
        return _build(cls, {**options, "stages": tuple(stages)}, "training")


def _build(kind: type[_T], values: Mapping[str, Any], where: str) -> _T:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(unknown_names(where, "key", unknown, sorted(known)))
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"{where}: {error}") from error
