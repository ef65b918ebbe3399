"""Trainings by budget: what ``--preset`` and ``--train-missing`` put where nothing is said."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from bids_brnn.config.choices import PRESETS
from bids_brnn.errors import DataError
from bids_brnn.signals.registry import ModelEntry
from bids_brnn.system.processor import has_bf16

FEW = 3
"""Estimated parameters up to which the preset for few of them serves."""
SPECTRUM = "quick"
"""Preset of Z-spectra where none is named: their networks are small."""


@cache
def _presets() -> Mapping[str, Any]:
    text = files("bids_brnn.experiments").joinpath("presets.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def preset(name: str, entry: ModelEntry) -> dict[str, Any]:
    """Keys of a training configuration for a budget and a signal model.

    Parameters
    ----------
    name
        One of :data:`PRESETS`.
    entry
        The signal model.

    Raises
    ------
    DataError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise DataError(f'preset = "{name}": use {", ".join(PRESETS)}')
    estimated = entry.parameters.select("estimated").names
    kind = "few" if len(estimated) <= FEW else "many"
    found = dict(_presets()[name]["spectrum" if entry.protocol == "zspectrum" else kind])
    network = dict(found["network"])
    known = [item for item in network.get("logarithmic", []) if item in estimated]
    network |= {"logarithmic": known} if "logarithmic" in network else {}
    training = dict(found["training"])
    training["precision"] = precision_of(training)
    found |= {"network": network, "training": training}
    if wide := found.pop("wide", 0):
        found["extra"] = [_wide(wide, entry)]
    return found


def recipe_of(name: str, entry: ModelEntry) -> dict[str, Any]:
    """A preset without what depends on the machine: part of the key of a network."""
    found = preset(name, entry)
    return {**found, "training": {**found["training"], "precision": "any"}}


def _wide(fingerprints: int, entry: ModelEntry) -> dict[str, Any]:
    about = _presets()["wide"]
    ranges = {
        name: {"uniform": ends}
        for name, ends in about["parameters"].items()
        if name in entry.parameters.names
    }
    return {"tissue": about["tissue"], "fingerprints": fingerprints, "parameters": ranges}


def with_preset(content: Mapping[str, Any], entry: ModelEntry) -> dict[str, Any]:
    """A configuration over the preset that it names; tables are joined, their keys win."""
    named = content.get("preset")
    if named is None and entry.protocol != "zspectrum":
        return dict(content)
    base = preset(str(named or SPECTRUM), entry)
    joined = {
        key: {**base[key], **value}
        for key, value in content.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **content, **joined}


def fastest_precision() -> str:
    """``bf16`` where the processor has arithmetic for it, else ``float32``."""
    return "bf16" if has_bf16() else "float32"


def precision_of(training: Mapping[str, Any]) -> Any:
    """What a table ``[training]`` says; the fastest of this processor where it says nothing."""
    said = training.get("precision", "auto")
    return fastest_precision() if said == "auto" else said


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
"""Stages where a configuration names neither these nor a preset."""
