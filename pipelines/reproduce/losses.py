"""Losses against each other from the same beginning: weights, realisations, draws.

Claimed in the paper (figure 3, supplement): a smaller lambda gives less bias and more variance
above the bound; the bias-constrained loss does not reach the Bias-Reduced one. Ours: few
realisations do what 200 do, and efficient regression needs fewer draws still.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared import Claim, Result, arguments, bootstrap, generator

from bids_brnn.evaluation.moments import Moments, moments, uniform_snr
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.fingerprints import training_data
from bids_brnn.experiments.reading import experiment_of
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import CoefficientNetwork, build_network
from bids_brnn.learning.trainer import TrainingResult, train
from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.zoo.store import load_model

Array = NDArray[np.float64]
SEEDS = (0, 1, 2)
PUBLISHED, FEW, LITTLE = "published, 200 draws", "ours, 4 draws", "ours, 4 draws, lambda 0.1"
CONSTRAINED, EFFICIENT = "bias-constrained", "efficient"
_SNR = (10.0, 50.0)


@dataclass(frozen=True)
class Size:
    """How much of everything; what was used stands in the result."""

    fingerprints: int = 30_000
    first: int = 1500
    """Steps of 2048 draws with MSE-CRB, before the losses part."""
    draws: int = 4_096_000
    """Noise realisations after that, for every loss."""
    judged: int = 1000
    seeds: tuple[int, ...] = SEEDS


def stages(size: Size) -> dict[str, Stage]:
    """What follows the common beginning; all see the same number of draws."""

    def stage(loss: Loss, realisations: int, fingerprints: int) -> Stage:
        steps = max(1, size.draws // (realisations * fingerprints))
        return Stage(
            loss, steps, batch=fingerprints, realisations=realisations, learning_rate=2e-3,
            warmup=min(100, steps),
        )  # fmt: skip

    plain = Loss("bias-reduced", unbiased=False, mirrored=False)
    return {
        PUBLISHED: stage(plain, 200, 20),
        "published, 4 draws": stage(plain, 4, 1024),
        FEW: stage(Loss("bias-reduced"), 4, 1024),
        LITTLE: stage(Loss("bias-reduced", weight=0.1), 4, 1024),
        CONSTRAINED: stage(Loss("bias-constrained", weight=10.0), 4, 1024),
        EFFICIENT: stage(Loss("efficient", weight=8.0, excess=1.0), 4, 1024),
    }


@dataclass(frozen=True)
class Run:
    """One network after its training."""

    moments: Moments
    history: tuple[Mapping[str, Any], ...]
    seconds: float


def _continued(
    begun: CoefficientNetwork,
    stage: Stage,
    seed: int,
    experiment: Experiment,
    data: TrainingSet,
    live: TrainingSet,
) -> TrainingResult:
    config = replace(
        experiment.training, stages=(stage,), snr_range=_SNR, snr_spacing="linear", seed=seed,
        precision="float32", report_every=max(1, stage.steps // 20), averaging=0.99,
    )  # fmt: skip
    return train(
        copy.deepcopy(begun), data, experiment.parameters, config, held_out=live
    )  # fmt: skip


def runs(experiment: Experiment, folder: Path, size: Size) -> dict[str, list[Run]]:
    """Every loss with every seed; the seed also draws the first weights."""
    needed = (Stage(Loss("efficient", weight=0.0), 1),)  # so that the efficient estimates are kept
    small = replace(
        experiment, fingerprints=size.fingerprints, held_out=1024, extra=(), focus=(),
        training=TrainingConfig(needed, conjugate=experiment.training.conjugate),
        network={**experiment.network, "width": 96, "blocks": 3},
    )  # fmt: skip
    data, live = training_data(small, folder)
    theta = small.prior.sample(size.judged, rng=generator(7), dtype=torch.float64)
    judged = simulate_fingerprints(small.compressed, theta)
    snr = uniform_snr(size.judged, _SNR, generator(8))
    columns = small.parameters.columns("estimated")
    found: dict[str, list[Run]] = {name: [] for name in stages(size)}
    for seed in size.seeds:
        first = Stage(Loss("mse-crb", mirrored=False), size.first, batch=2048, learning_rate=3e-3)
        begun = _continued(
            build_network(small.spec, seed=seed), first, seed, small, data, live
        ).network
        for name, stage in stages(size).items():
            made = _continued(begun, stage, seed + 100, small, data, live)

            def estimate(
                coefficients: torch.Tensor, _theta: torch.Tensor, made: TrainingResult = made
            ) -> torch.Tensor:
                with torch.no_grad():
                    return made.network(made.network.prepare(coefficients, {}))[:, : len(columns)]

            m = moments(estimate, judged, columns, snr, draws=100, rng=generator(9))
            found[name].append(Run(m, made.history, made.seconds))
            print(
                f"seed {seed}, {name}: bias² {m.squared_bias_over_bound.mean():.4f}, "
                f"variance {m.variance_over_bound.mean():.3f} ({made.seconds:.0f} s)", flush=True,
            )  # fmt: skip
    return found


def reproduce(_data: Path | None, *, small: bool = False, folder: Path = Path("cache")) -> Result:
    """On the pulse trains of the demo, which need no file."""
    experiment = experiment_of(load_model("qmt-demo").card)
    size = Size(600, 30, 40_000, 60, (0, 1)) if small else Size()
    found = runs(experiment, folder, size)
    # Means over seeds and parameters, per fingerprint.
    bias = {k: _mean(v, "squared_bias_over_bound") for k, v in found.items()}
    spread = {k: _mean(v, "variance_over_bound") for k, v in found.items()}
    above = {k: _mean(v, "variance_over_bound", over=1.1) for k, v in found.items()}

    def less(text: str, better: Array, worse: Array) -> Claim:
        number, low, high = bootstrap(worse - better, lambda rows: float(rows.mean()))
        holds = True if low > 0 else False if high < 0 else None
        note = f"{better.mean():.4f} against {worse.mean():.4f}"
        return Claim(text, number, low, high, holds, note)

    return Result(
        "losses",
        "Losses, realisations and draws",
        f"{experiment.name}, a network of three blocks of 96; {size.fingerprints} fingerprints; "
        f"from the same {size.first} steps of MSE-CRB, {size.draws} draws with each loss "
        "(per step 200 of each of 20 fingerprints, or 4 of each of 1024); "
        f"{len(size.seeds)} seeds, whose means are compared on {size.judged} other fingerprints "
        "of the prior, 100 draws each; intervals by bootstrap over fingerprints.",
        [
            less("lambda 0.1 instead of 1: less squared bias", bias[LITTLE], bias[FEW]),
            less("lambda 0.1 instead of 1: more variance above the bound",
                 above[FEW], above[LITTLE]),
            less("bias-constrained: more squared bias than Bias-Reduced",
                 bias[FEW], bias[CONSTRAINED]),
            less("4 draws without floor: less squared bias than 200 as published, at equal draws",
                 bias[FEW], bias[PUBLISHED]),
            less("efficient: less squared bias than 200 as published, at equal draws",
                 bias[EFFICIENT], bias[PUBLISHED]),
            less("efficient: less squared bias than ours with 4 draws",
                 bias[EFFICIENT], bias[FEW]),
        ],
        tables={
            "losses": {
                name: {
                    "squared bias / CRB": [
                        _number(r.moments.squared_bias_over_bound) for r in kept
                    ],
                    "variance / CRB": [_number(r.moments.variance_over_bound) for r in kept],
                    "variance above 1.1": float(f"{above[name].mean():.3g}"),
                    "mean variance / CRB": float(f"{spread[name].mean():.4g}"),
                    "seconds": [round(r.seconds, 1) for r in kept],
                    "draws until the squared bias of the published recipe": _until(
                        kept, found[PUBLISHED], experiment.parameters.select("estimated").names
                    ),
                }
                for name, kept in found.items()
            }
        },
    )  # fmt: skip


def _mean(kept: list[Run], attribute: str, over: float | None = None) -> Array:
    values = torch.stack([getattr(run.moments, attribute) for run in kept])
    if over is not None:
        values = (values > over).double()
    result: Array = values.mean((0, 2)).numpy()
    return result


def _number(values: torch.Tensor) -> float:
    return float(f"{float(values.mean()):.4g}")


def _until(kept: list[Run], peer: list[Run], names: tuple[str, ...]) -> list[int | None]:
    """Draws of each seed until the live squared bias is that which the peer ended with."""

    def curve(run: Run) -> list[float]:
        keys = [f"{name}_squared_bias_over_crb" for name in names]
        return [float(np.mean([row[key] for key in keys])) for row in run.history]

    needed: list[int | None] = []
    for run, other in zip(kept, peer, strict=True):
        goal = curve(other)[-1]
        reached = [
            int(row["draws"]) for row, v in zip(run.history, curve(run), strict=True) if v <= goal
        ]
        needed.append(reached[0] if reached else None)
    return needed


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small, folder=options.out / "cache").write(options.out)
