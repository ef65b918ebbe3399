"""Training configurations: TOML to an :class:`~bids_brnn.experiments.experiment.Experiment`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_brnn.bids.input.declared import number
from bids_brnn.errors import DataError, ReadError, unknown_names
from bids_brnn.experiments.experiment import Experiment, Portion
from bids_brnn.experiments.inputs import read_subspace
from bids_brnn.experiments.keys import DEFAULTS, NAMES
from bids_brnn.experiments.presets import DEFAULT_TRAINING, precision_of, with_preset
from bids_brnn.experiments.protocols import Protocol, named_file, read_protocol
from bids_brnn.experiments.rank import made_subspace
from bids_brnn.experiments.schema import CONFIGURATION
from bids_brnn.information.averaged import Whitened
from bids_brnn.information.told import check_told
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import Prior, at_field
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import ModelEntry, model_entry, models
from bids_brnn.signals.base import SignalModel, check_signal
from bids_brnn.signals.registry import resolve
from bids_brnn.signals.subspace import Subspace
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.system.kinds import Flag, Kind, Real, Table, problem
from bids_brnn.system.reading import read_text, read_toml
from bids_brnn.zoo.card import ModelCard, same_field

_LEAST = {
    "rank": 1, "basis_fingerprints": 1, "basis_seed": 0, "fingerprints": 1, "held_out": 1,
    "seed": 0,
}  # fmt: skip
"""Whole numbers by key, and the smallest that each may be."""

_BESIDE = frozenset({"width", "blocks", "steps", "batch", "learning_rate"})
_TABLES: Mapping[str, frozenset[str]] = {
    "network": frozenset({"layout", "width", "blocks", "normalisation", "logarithmic"}),
    "surrogate": _BESIDE | {"harmonics"},
    "errors": _BESIDE,
}
"""Keys of tables whose content is passed on as it is."""

_OPTIONS: Mapping[type, Kind] = {bool: Flag(), float: Real()}
"""What an option of a signal model may be, by the type of its default: ``"no"`` is not false."""


def read_experiment(path: Path, preset: str = "") -> Experiment:
    """Read a training configuration; paths in it are relative to its folder.

    Parameters
    ----------
    path
        TOML.
    preset
        Budget in the place of the one that it names, if any.

    Raises
    ------
    ReadError
        If the file cannot be read.
    DataError
        Naming the key that is unknown, missing or wrong.
    """
    try:
        content = read_toml(path)
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot read the training configuration {path}: {error}") from error
    return build_experiment({**content, **({"preset": preset} if preset else {})}, path)


def experiment_of(card: ModelCard) -> Experiment:
    """The experiment behind a stored model, where it needs no files.

    Raises
    ------
    DataError
        If pulse train, basis or prior came from files.
    """
    if card.files or not card.recipe:
        raise DataError(
            f'the model "{card.name}" was trained from files ({", ".join(card.files)}); '
            "give its configuration with --config"
        )
    return build_experiment(card.recipe, Path(f"{card.name}.toml"))


def build_experiment(content: Mapping[str, Any], path: Path) -> Experiment:
    """The experiment of a configuration that was read from ``path``."""
    _check_keys(content, NAMES, path.name)
    for key, known in _TABLES.items():
        _check_keys(content.get(key, {}), known, f"{path.name}, [{key}]")
    kind = str(content.get("model"))
    if kind not in models():
        raise DataError(f'{path.name}: model = "{kind}"; use {", ".join(models())}')
    _check_kinds(path, content)
    said, content = content, with_preset(content, model_entry(kind))
    protocol = read_protocol(path, content, model_entry(kind))
    sequence = protocol.sequence
    model = _model(path, content, sequence)
    prior = _prior(path, content, model_entry(kind), model.parameters)
    subspace = _subspace(content, model, prior, protocol)
    training = {**DEFAULT_TRAINING, **content.get("training", {})}
    training["precision"] = precision_of(training)
    if "conjugate" not in training:
        conjugate = model_entry(kind).conjugate
        training["conjugate"] = conjugate and not subspace.basis.is_complex()
    config = TrainingConfig.from_dict(training)
    if any(stage.focus for stage in config.stages) and not content.get("focus"):
        raise DataError(f"{path.name}: a stage has a focus, but there is no [[focus]] table")
    experiment = Experiment(
        name=content.get("name", path.stem),
        description=content.get("description", ""),
        kind=kind,
        model=model,
        sequence=sequence,
        subspace=subspace,
        prior=prior,
        training=config,
        network=content.get("network", {}),
        surrogate=content.get("surrogate", {}),
        errors=content.get("errors", {}),
        fingerprints=content.get("fingerprints", DEFAULTS["fingerprints"]),
        extra=_parts(path, content, prior, "extra"),
        focus=_parts(path, content, prior, "focus"),
        held_out=content.get("held_out", DEFAULTS["held_out"]),
        seed=content.get("seed", DEFAULTS["seed"]),
        command=shlex.join(
            ["brnn", "train", str(path) if "protocol" in said else path.name, "OUT"]
        ),
        field_strength=_field_strength(path, content, prior, protocol),
        basis_from=_basis_from(content, protocol),
        source=said,
    )
    try:
        _ = experiment.spec
    except TypeError as error:
        raise DataError(f"{path.name}: network: {error}") from error
    return experiment


def _check_kinds(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse values of another kind than their key takes."""
    for key in ("network", "surrogate", "errors", "training", "model_options"):
        if not isinstance(content.get(key, {}), Mapping):
            raise DataError(f"{path.name}: {key} must be a table")
    for key, least in _LEAST.items():
        value = content.get(key, least)
        if type(value) is not int or value < least:
            raise DataError(
                f"{path.name}: {key} = {value!r} must be a whole number of at least {least}"
            )
    if text := problem(CONFIGURATION, content, path.name):
        raise DataError(text)
    for key in ("name", "description"):
        if not isinstance(content.get(key, ""), str):
            raise DataError(f"{path.name}: {key} must be a text")
    name = content.get("name", path.stem)
    if not name or name != Path(name).name or name.startswith("."):
        raise DataError(f'{path.name}: name = "{name}" names files; it cannot be a path')


def _check_keys(table: object, known: Collection[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise DataError(f"{where} must be a table of keys and values, not {table!r}")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise DataError(unknown_names(where, "key", unknown, sorted(known)))


def _model(
    path: Path, content: Mapping[str, Any], sequence: PulseSequence | ZSpectrum
) -> SignalModel:
    """The signal model, with the options that its class has; of a Z-spectrum as it is observed."""
    entry = model_entry(str(content["model"]))
    options = content.get("model_options", {})
    known = dict(signature(resolve(entry.home)).parameters)
    del known["sequence"]
    where = f"{path.name}, [model_options]"
    _check_keys(options, known, where)
    usual = {name: type(known[name].default) for name in options}
    kinds = {name: _OPTIONS[kind] for name, kind in usual.items() if kind in _OPTIONS}
    if text := problem(Table({}, kinds), options, where):
        raise DataError(text)
    try:
        model = entry.build(sequence, **options)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} cannot be used: {error}") from error
    if isinstance(sequence, ZSpectrum):
        model = Whitened(ObservedR1(model))
    check_signal(model, sequence)
    check_told(model, sequence.name or path.name)  # a rank too small is told by the evaluation
    return model


def _field_strength(
    path: Path, content: Mapping[str, Any], prior: Prior, protocol: Protocol
) -> float | None:
    """Of the tissue that the network learns; refuses a prior of another field than the series."""
    said = number(
        {"MagneticFieldStrength": content.get("field_strength")},
        "MagneticFieldStrength",
        f"{path.name} (field_strength)",
    )
    if said is not None:
        return said
    tissue, series = prior.field_strength, protocol.field_strength
    if tissue is not None and series is not None and not same_field(tissue, series):
        raise DataError(
            f"{path.name}: the prior describes tissue at {tissue:g} T, MagneticFieldStrength of "
            f"the sidecar is {series:g} T; give a prior for {series:g} T, or, where this one "
            f"holds there too, write field_strength = {series:g}"
        )
    return tissue if tissue is not None else series


def _prior(
    path: Path, content: Mapping[str, Any], entry: ModelEntry, parameters: ParameterSet
) -> Prior:
    chosen = content.get("prior")
    share = content.get("off_resonance", DEFAULTS["off_resonance"])
    if share != 1.0:
        if not 0 < share <= 1 or "w0" not in parameters.names:
            raise DataError(
                f"{path.name}: off_resonance = {share}: the share of the pass band that is learnt "
                "must be above 0 and at most 1, for a model with off-resonance"
            )
        w0 = parameters["w0"]
        parameters = parameters.replace("w0", lower=share * w0.lower, upper=share * w0.upper)
    if chosen is None:
        prior = entry.make_prior(parameters)
        return at_field(prior, float(content["tissue_at"])) if "tissue_at" in content else prior
    table = named_file(path, content, "prior")
    try:
        text = read_text(table)
    except (OSError, ValueError) as error:
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
    content: Mapping[str, Any], model: SignalModel, prior: Prior, protocol: Protocol
) -> Subspace:
    if isinstance(protocol.sequence, ZSpectrum):  # the images are their own coefficients
        return Subspace(torch.eye(protocol.sequence.n_samples))
    rank = content.get("rank")
    if protocol.basis is not None:
        return read_subspace(protocol.basis, protocol.sequence, protocol.pulses, rank)
    if protocol.columns is not None:
        return Subspace(torch.from_numpy(np.array(protocol.columns)))
    return made_subspace(content, model, prior)


def _basis_from(content: Mapping[str, Any], protocol: Protocol) -> str:
    """Where the subspace is from, for the card."""
    if isinstance(protocol.sequence, ZSpectrum):
        return "images"
    if protocol.basis is not None or protocol.columns is not None:
        return "table"
    return str(content.get("basis_from", DEFAULTS["basis_from"]))
