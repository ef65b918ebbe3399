"""Fingerprints of an experiment: drawn, simulated, and cached under a key of their content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.estimators.candidates import spread_candidates
from bids_brnn.experiments.experiment import Experiment, Portion
from bids_brnn.learning.training_set import (
    Progress,
    TrainingSet,
    description_key,
    load_training_set,
    save_training_set,
    simulate_fingerprints,
)
from bids_brnn.zoo.sameness import options_of

_FINGERPRINTS = "fingerprints.safetensors"
_FOCUS = "focus.safetensors"
_ON_BOUND = 0.05
"""Share of values on either bound: estimates end there."""
_TOGETHER = 2048


def training_data(
    experiment: Experiment, folder: Path, progress: Progress | None = None
) -> tuple[TrainingSet, TrainingSet]:
    """Fingerprints to train with and held-out ones, cached in ``folder``."""
    key = data_key(experiment)
    data = _cached(experiment, folder / _FINGERPRINTS, key, _theta, progress)
    return data.split(experiment.held_out)


def focus_data(
    experiment: Experiment, folder: Path, progress: Progress | None = None
) -> TrainingSet | None:
    """The fingerprints in focus, cached in ``folder``; None where nothing is in focus."""
    if not experiment.focus:
        return None
    key = focus_key(experiment)
    return _cached(experiment, folder / _FOCUS, key, _theta_in_focus, progress)


def _cached(
    experiment: Experiment,
    path: Path,
    key: str,
    parameters: Callable[[Experiment], Tensor],
    progress: Progress | None,
) -> TrainingSet:
    data = load_training_set(path, key=key)
    if data is None:
        data = simulate_fingerprints(
            experiment.compressed,
            parameters(experiment),
            with_gain=_needs_gain(experiment),
            progress=progress,
        )
        save_training_set(path, data, key=key)
    return data


def _needs_gain(experiment: Experiment) -> bool:
    return any(stage.loss.needs_gain for stage in experiment.training.stages)


def held_out_data(experiment: Experiment, folder: Path) -> TrainingSet:
    """The held-out fingerprints of a training: from its cache, or simulated again."""
    data = load_training_set(folder / _FINGERPRINTS, key=data_key(experiment))
    if data is not None:
        return data.split(experiment.held_out)[1]
    theta = _theta(experiment)[-experiment.held_out :]
    return simulate_fingerprints(experiment.compressed, theta)


def anywhere(experiment: Experiment, n: int) -> tuple[Tensor, Tensor]:
    """Parameters ``(n, P)`` between all bounds, often on them, and coefficients ``(n, R)``.

    What a signal cannot be computed of, or leaves none, is left out.
    """
    parameters, model = experiment.parameters, experiment.compressed
    rng = torch.Generator().manual_seed(experiment.seed)
    theta = spread_candidates(parameters, n, experiment.seed).float()
    side = torch.rand(theta.shape, generator=rng)
    lower, upper = parameters.bounds(theta)
    theta = torch.where(side < _ON_BOUND, lower, torch.where(side > 1 - _ON_BOUND, upper, theta))
    theta = theta.clamp(lower, upper)  # rounding may have moved a value just outside
    coefficients = torch.cat([model(rows).to(torch.complex64) for rows in theta.split(_TOGETHER)])
    # Errors are compared with it, in this precision.
    energy = torch.view_as_real(coefficients).square().flatten(1).sum(1)
    usable = energy.isfinite() & (energy > torch.finfo(energy.dtype).tiny)
    return theta[usable], coefficients[usable]


def _theta(experiment: Experiment) -> Tensor:
    rng = torch.Generator().manual_seed(experiment.seed)
    n = experiment.fingerprints + experiment.held_out
    main = experiment.prior.sample(n, rng=rng, dtype=torch.float32)
    return torch.cat([*_drawn(experiment.extra, rng), main])


def _theta_in_focus(experiment: Experiment) -> Tensor:
    # Not the numbers of the fingerprints beside them.
    rng = torch.Generator().manual_seed(experiment.seed + 1)
    return torch.cat(_drawn(experiment.focus, rng))


def _drawn(portions: Sequence[Portion], rng: torch.Generator) -> list[Tensor]:
    return [
        item.prior.sample(item.fingerprints, rng=rng, dtype=torch.float32) for item in portions
    ]


def focus_key(experiment: Experiment) -> str:
    """Names the fingerprints in focus."""
    focus = [(str(item.prior.classes), item.fingerprints) for item in experiment.focus]
    return description_key({"focus": str(focus), "data": data_key(experiment)}) if focus else ""


def data_key(experiment: Experiment) -> str:
    """Names the training set and the held-out fingerprints."""
    extra = [(str(item.prior.classes), item.fingerprints) for item in experiment.extra]
    options = options_of(experiment.model)
    return description_key(
        {
            **({"extra": str(extra)} if extra else {}),
            # A table of pulses or a basis that was given is the same with all of them.
            **({"options": str(sorted(options.items()))} if options else {}),
            "sequence": experiment.sequence.digest,
            "basis": experiment.subspace.digest,
            "kind": experiment.kind,
            "prior": str(experiment.prior.classes),
            # What follows from parameters changes no fingerprint.
            "parameters": f"ParameterSet(items={experiment.parameters.items})",
            "fingerprints": experiment.fingerprints,
            "held_out": experiment.held_out,
            "seed": experiment.seed,
            "gain": _needs_gain(experiment),
        }
    )
