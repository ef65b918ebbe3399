"""Training configurations: TOML to an :class:`~bids_brnn.experiments.experiment.Experiment`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bids_brnn.errors import DataError, ReadError
from bids_brnn.experiments.experiment import Experiment, Portion
from bids_brnn.experiments.inputs import DEFAULT_START, read_sequence, read_subspace
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import Prior, qmt_prior, relaxation_prior
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace
from bids_brnn.zoo.card import ModelCard

OWN_TRAINS: Mapping[str, Callable[[], PulseSequence]] = {
    "hybrid-state": hybrid_state_train,
    "jiang": jiang_like_train,
}
"""Trains by formula, by their name in a configuration."""
_KEYS = {
    "name", "description", "model", "model_options", "train", "sidecar", "pulses", "basis",
    "basis_from", "basis_fingerprints", "basis_seed", "rank", "prior", "off_resonance",
    "fingerprints", "extra", "focus", "held_out", "seed", "network", "training", "surrogate",
}  # fmt: skip
_SUFFIXES = ("_QMT.json", "_MRF.json")

DEFAULT_TRAINING: Mapping[str, Any] = {
    "stages": [
        {"loss": {"name": "mse-crb", "mirrored": False}, "steps": 1500, "batch": 4096,
         "learning_rate": 3e-3},
        {"loss": {"name": "efficient", "weight": 0.0, "mirrored": False}, "steps": 4000,
         "batch": 4096, "learning_rate": 3e-3},
        {"loss": {"name": "efficient", "weight": 8.0, "excess": 1.0}, "steps": 6000,
         "batch": 1024, "realisations": 4, "learning_rate": 1.5e-3},
    ],
}  # fmt: skip
"""Stages where a configuration names none."""


def read_experiment(path: Path) -> Experiment:
    """Read a training configuration; paths in it are relative to its folder.

    Raises
    ------
    ReadError
        If the file cannot be read.
    DataError
        Naming the key that is unknown, missing or wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ReadError(f"cannot read the training configuration {path}: {error}") from error
    return build_experiment(content, path)


def experiment_of(card: ModelCard) -> Experiment:
    """The experiment behind a stored model, where it needs no files.

    Raises
    ------
    DataError
        If pulse train, basis or prior came from files.
    """
    files = {"sidecar", "pulses", "basis", "prior"} & set(card.recipe)
    if files or not card.recipe:
        raise DataError(
            f'the model "{card.name}" was trained from files ({", ".join(sorted(files))}); '
            "give its configuration with --config"
        )
    return build_experiment(card.recipe, Path(f"{card.name}.toml"))


def build_experiment(content: Mapping[str, Any], path: Path) -> Experiment:
    """The experiment of a configuration that was read from ``path``."""
    unknown = sorted(set(content) - _KEYS)
    if unknown:
        raise DataError(
            f"{path.name}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}"
        )
    kind = str(content.get("model"))
    if kind not in DEFAULT_START:
        raise DataError(f'{path.name}: model = "{kind}"; use {", ".join(DEFAULT_START)}')
    sequence, basis_path = _protocol(path, content, kind)
    model: SignalModel = build_model(kind, sequence, **content.get("model_options", {}))
    prior = _prior(path, content, model.parameters)
    subspace = _subspace(content, model, prior, basis_path)
    training = {**DEFAULT_TRAINING, **content.get("training", {})}
    if "conjugate" not in training:
        training["conjugate"] = kind == "gbloch" and not subspace.basis.is_complex()
    config = TrainingConfig.from_dict(training)
    if any(stage.focus for stage in config.stages) and not content.get("focus"):
        raise DataError(f"{path.name}: a stage has a focus, but there is no [[focus]] table")
    return Experiment(
        name=content.get("name", path.stem),
        description=content.get("description", ""),
        kind=kind,
        model=model,
        sequence=sequence,
        subspace=subspace,
        keep_basis="train" in content,
        prior=prior,
        training=config,
        network=content.get("network", {}),
        surrogate=content.get("surrogate", {}),
        fingerprints=int(content.get("fingerprints", 200_000)),
        extra=_parts(path, content, prior, "extra"),
        focus=_parts(path, content, prior, "focus"),
        held_out=int(content.get("held_out", 4096)),
        seed=int(content.get("seed", 1)),
        command=f"brnn train {path.name} OUT",
        source=content,
    )


def _protocol(
    path: Path, content: Mapping[str, Any], kind: str
) -> tuple[PulseSequence, Path | None]:
    """Pulse train, and the basis table that lies beside it if there is one."""
    named = [key for key in ("train", "sidecar", "pulses") if key in content]
    if len(named) != 1:
        raise DataError(
            f"{path.name}: name the pulse train by exactly one of sidecar (JSON of the series), "
            f"pulses (rfpulses.tsv) or train ({', '.join(OWN_TRAINS)})"
        )
    basis = path.parent / content["basis"] if "basis" in content else None
    if named == ["train"]:
        if content["train"] not in OWN_TRAINS:
            raise DataError(f"{path.name}: train must be one of {', '.join(OWN_TRAINS)}")
        return OWN_TRAINS[content["train"]](), basis
    metadata: dict[str, Any] = {}
    if named == ["sidecar"]:
        sidecar = path.parent / content["sidecar"]
        try:
            metadata = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReadError(f"cannot read the sidecar {sidecar}: {error}") from error
        pulses = _beside(sidecar, metadata, "PulseTrain", "_rfpulses.tsv")
        beside = _beside(sidecar, metadata, "SubspaceBasis", "_basis.tsv")
        if basis is None and beside.is_file() and "basis_from" not in content:
            basis = beside
    else:
        pulses = path.parent / content["pulses"]
    sequence = read_sequence(
        pulses,
        kind,
        metadata.get("BoundaryCondition", DEFAULT_START[kind]),
        metadata.get("RepetitionTimeExcitation"),
    )
    return sequence, basis


def _beside(sidecar: Path, metadata: Mapping[str, Any], key: str, ending: str) -> Path:
    """The table that ``key`` names (a BIDS URI within the data set), or the one of equal stem."""
    link = metadata.get(key)
    if isinstance(link, str):
        name = Path(link.removeprefix("bids::"))
        for folder in (sidecar.parent, *sidecar.parent.parents):
            if (folder / name).is_file():
                return folder / name
    stem = sidecar.name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    return sidecar.with_name(stem + ending)


def _prior(path: Path, content: Mapping[str, Any], parameters: ParameterSet) -> Prior:
    chosen = content.get("prior")
    share = content.get("off_resonance", 1.0)
    if share != 1.0:
        if not 0 < share <= 1 or "w0" not in parameters.names:
            raise DataError(
                f"{path.name}: off_resonance = {share}: the share of the pass band that is learnt "
                "must be above 0 and at most 1, for a model with off-resonance"
            )
        w0 = parameters["w0"]
        parameters = parameters.replace("w0", lower=share * w0.lower, upper=share * w0.upper)
    if chosen is None:
        return qmt_prior(parameters) if "m0s" in parameters.names else relaxation_prior(parameters)
    table = path.parent / str(chosen)
    try:
        text = table.read_text(encoding="utf-8")
    except OSError as error:
        raise ReadError(f"cannot read the prior {table}: {error}") from error
    return Prior.from_toml(text, parameters)


def _parts(path: Path, content: Mapping[str, Any], prior: Prior, key: str) -> tuple[Portion, ...]:
    entries = content.get(key, [])
    for entry in entries:
        keys = set(entry) if isinstance(entry, Mapping) else None
        if keys != {"tissue", "parameters", "fingerprints"} or int(entry["fingerprints"]) < 1:
            raise DataError(
                f"{path.name}: an [[{key}]] table has tissue, parameters and fingerprints "
                "(above 0)"
            )
    return tuple(
        Portion(prior.part(entry["tissue"], entry["parameters"]), int(entry["fingerprints"]))
        for entry in entries
    )


def _subspace(
    content: Mapping[str, Any], model: SignalModel, prior: Prior, path: Path | None
) -> Subspace:
    rank = content.get("rank")
    if path is not None:
        return read_subspace(path, model.n_samples, rank)
    if rank is None:
        raise DataError("rank is missing: the number of coefficients of the subspace")
    how = content.get("basis_from", "derivatives")
    rng = torch.Generator().manual_seed(int(content.get("basis_seed", 2024)))
    theta = prior.sample(int(content.get("basis_fingerprints", 400)), rng=rng)
    if how == "derivatives":
        subspace = Subspace.from_model(model, theta, int(rank))
    elif how == "signals":
        subspace = Subspace.from_signals(model(theta), int(rank))
    else:
        raise DataError(f'basis_from = "{how}"; use derivatives or signals')
    return Subspace(subspace.basis.to(torch.float32))
