"""One network for every protocol of Z-spectra: its configuration, its protocols, its training."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.experiments.presets import precision_of
from bids_brnn.experiments.schema import ANY_SPECTRUM
from bids_brnn.files import make_folder
from bids_brnn.information.averaged import Whitened
from bids_brnn.learning.any_spectrum import Course, Lesson, Log, learn_any_errors
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.error_network import ErrorNetwork
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.scoring import NAMES, ScoringSteps
from bids_brnn.learning.scoring_network import ScoringNetwork, scoring_spec
from bids_brnn.learning.seeds import seeded
from bids_brnn.priors import at_field, qmt_prior
from bids_brnn.sequences.z_random import figures, random_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model, models
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.system.kinds import problem
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors
from bids_brnn.zoo.any_card import AnyCard
from bids_brnn.zoo.any_store import save_any

FIELD_STRENGTHS = (1.5, 3.0, 3.0, 7.0)
"""T: of tissue, one of them for each protocol."""
_PARTS = ("images", "supplied", "truth", "bound", "gain")
_VERSION = 1
"""Of how protocols and fingerprints are drawn."""


@dataclass(frozen=True)
class Plan:
    """What a configuration of such a training says."""

    name: str
    description: str
    protocols: Mapping[str, int]
    """How many, by signal model."""
    fingerprints: int
    """Of each protocol."""
    seed: int
    width: int
    blocks: int
    training: TrainingConfig
    errors: Mapping[str, Any]
    """Width and blocks, and steps, batch and learning rate."""
    command: str
    source: Mapping[str, Any]


def is_plan(content: Mapping[str, Any]) -> bool:
    """Whether a training configuration is for many protocols."""
    return "protocols" in content


def read_plan(content: Mapping[str, Any], path: Path) -> Plan:
    """What a configuration that was read from ``path`` says.

    Raises
    ------
    DataError
        Naming the key that is unknown, missing or wrong.
    """
    if text := problem(ANY_SPECTRUM, content, path.name):
        raise DataError(f"{path.name} cannot be used: {text}")
    numbers = content["protocols"]
    able = [name for name, entry in models().items() if entry.protocol == "zspectrum"]
    if not numbers or not set(numbers) <= set(able):
        raise DataError(f"{path.name}: [protocols] needs numbers by model: {', '.join(able)}")
    training = content["training"]
    config = TrainingConfig.from_dict({**training, "precision": precision_of(training)})
    if any(item.loss.name != "efficient" or item.loss.excess or item.focus
           for item in config.stages):  # fmt: skip
        raise DataError(
            f"{path.name}: the loss of every stage must be efficient, without excess and focus"
        )
    name = content.get("name", path.stem)
    if name != Path(name).name or name.startswith("."):
        raise DataError(f'{path.name}: name = "{name}" names files; it cannot be a path')
    network = content.get("network", {})
    return Plan(
        name=name,
        description=content.get("description", ""),
        protocols=numbers,
        fingerprints=content.get("fingerprints", 300),
        seed=content.get("seed", 1),
        width=network.get("width", 192),
        blocks=network.get("blocks", 4),
        training=config,
        errors=content.get("errors", {}),
        command=shlex.join(["brnn", "train", path.name, "OUT"]),
        source=dict(content),
    )


def spectrum_model(name: str, protocol: ZSpectrum) -> SignalModel:
    """A model of Z-spectra with the observed R1, all images with the same noise."""
    return Whitened(ObservedR1(build_model(name, protocol)))


def drawn_protocol(seed: int, model: str, number: int) -> tuple[ZSpectrum, float]:
    """A random protocol for a signal model, and the field (T) of its tissue."""
    # Each model has protocols of its own.
    rng = np.random.default_rng([seed, zlib.crc32(model.encode()), number])
    return random_protocol(rng), float(rng.choice(FIELD_STRENGTHS))


def make_lessons(
    plan: Plan, folder: Path, progress: Callable[[int, int], None] | None = None
) -> list[Lesson]:
    """Fingerprints of all protocols, kept in ``folder`` for a second start."""
    make_folder(folder)
    wanted = [
        (name, number)
        for name, n in plan.protocols.items()
        for number in range(n)
    ]  # fmt: skip
    found = []
    for done, (name, number) in enumerate(wanted, 1):
        path = folder / f"{name}-{number:05d}.safetensors"
        key = f"{_VERSION} {plan.seed} {plan.fingerprints}"
        if not path.is_file() or read_metadata(path).get("key") != key:
            _write(path, _lesson(plan, name, number), key)
        found.append(_read(path))
        if progress is not None:
            progress(done, len(wanted))
    return found


def _lesson(plan: Plan, name: str, number: int) -> Lesson:
    protocol, field = drawn_protocol(plan.seed, name, number)
    model = spectrum_model(name, protocol)
    rng = torch.Generator().manual_seed(plan.seed + number)
    prior = at_field(qmt_prior(model.parameters), field)
    return Lesson.of(model, prior.sample(plan.fingerprints, rng=rng).float())


def _write(path: Path, lesson: Lesson, key: str) -> None:
    tensors: dict[str, Tensor] = {name: getattr(lesson, name) for name in _PARTS}
    tensors |= {f"steps.{name}": value for name, value in lesson.steps.state_dict().items()}
    tensors |= {"lower": lesson.limits[0], "upper": lesson.limits[1]}
    write_tensors(path, tensors, {"key": key, "divided": str(lesson.steps.is_divided)})


def _read(path: Path) -> Lesson:
    tensors = read_tensors(path)
    steps = ScoringSteps(
        tensors["images"].shape[1], is_divided=read_metadata(path)["divided"] == "True"
    )
    steps.load_state_dict({name: tensors[f"steps.{name}"] for name in steps.state_dict()})
    parts = {name: tensors[name] for name in _PARTS}
    return Lesson(steps=steps, limits=(tensors["lower"], tensors["upper"]), **parts)


def learn(
    plan: Plan,
    folder: Path,
    *,
    simulation: Callable[[int, int], None] | None = None,
    log: Log | None = None,
    errors: Callable[[int, float], None] | None = None,
) -> tuple[ScoringNetwork, ErrorNetwork, Course]:
    """Simulate and train; a second call goes on where an interrupted one stopped."""
    lessons = make_lessons(plan, folder / "lessons", simulation)
    spec = scoring_spec(1, is_divided=False, width=plan.width, blocks=plan.blocks)
    with seeded(plan.training.seed):
        network = ScoringNetwork(spec)
    course = Course(network, lessons, plan.training)
    course.run(folder / f"{plan.name}.checkpoint.safetensors", plan_key(plan), log)
    options = {"width": 128, "blocks": 2, "steps": 3000, **plan.errors}
    shape = {name: options.pop(name) for name in ("width", "blocks")}
    stage = Stage(Loss("mse"), **{"learning_rate": 3e-3, "batch": 4096, "warmup": 100, **options})
    return network, learn_any_errors(course, stage, **shape, log=errors), course


def plan_key(plan: Plan) -> str:
    """Of everything that lessons and network are made from."""
    words = [_VERSION, plan.protocols, plan.fingerprints, plan.seed, plan.width, plan.blocks]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def reach(plan: Plan) -> dict[str, list[float]]:
    """Least and largest figures of the protocols of training."""
    rows = []
    for name, n in plan.protocols.items():
        rows += [figures(drawn_protocol(plan.seed, name, number)[0]) for number in range(n)]
    return {
        key: [float(f"{edge(row[key] for row in rows):.4g}") for edge in (min, max)]
        for key in rows[0]
    }


def describe_any(plan: Plan, course: Course, errors: ErrorNetwork) -> AnyCard:
    """The card of a trained network."""
    n_protocols = sum(plan.protocols.values())
    draws = sum(stage.steps * stage.batch * stage.realisations for stage in plan.training.stages)
    return AnyCard(
        name=plan.name,
        description=plan.description,
        models=tuple(plan.protocols),
        outputs=NAMES,
        width=plan.width,
        blocks=plan.blocks,
        errors={
            "width": errors.body.enter.out_features,
            "blocks": len(errors.body.widen),
        },
        snr_range=plan.training.snr_range,
        field_strengths=(min(FIELD_STRENGTHS), max(FIELD_STRENGTHS)),
        reach=reach(plan),
        training={
            "protocols": n_protocols,
            "fingerprints": n_protocols * plan.fingerprints,
            "draws": draws,
            "seconds": round(course.seconds, 1),
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "torch": torch.__version__,
        },
        command=plan.command,
        recipe=plan.source,
    )


def make_any(
    plan: Plan,
    folder: Path,
    *,
    simulation: Callable[[int, int], None] | None = None,
    log: Log | None = None,
    errors: Callable[[int, float], None] | None = None,
) -> Path:
    """Train by :func:`learn`, and write card and weights into ``folder``; the card."""
    network, known, course = learn(plan, folder, simulation=simulation, log=log, errors=errors)
    return save_any(folder, describe_any(plan, course, known), network, known)
