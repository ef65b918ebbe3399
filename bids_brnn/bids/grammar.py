"""The rules of ``grammar.toml`` as values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bids_brnn.errors import InvalidBidsError

Kind = Literal["qmt", "mrf"]
IMAGE_EXTENSIONS = (".nii", ".nii.gz")
PARTS = ("real", "imag", "mag", "phase")
_LABEL = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class KindRule:
    """What ``grammar.toml`` says about one kind of series."""

    title: str
    suffix: str
    model: str
    map_suffix: str
    reference_suffix: str
    gradient: Literal["balanced", "dephasing"]
    boundary_condition: Literal["antiperiodic", "thermal"]
    needs_duration: bool
    magnitude_allowed: bool


@dataclass(frozen=True)
class FileName:
    """A BIDS file name taken apart; entities by their short names, in file order."""

    entities: Mapping[str, str]
    suffix: str
    extension: str


@cache
def grammar() -> dict[str, Any]:
    """The parsed ``grammar.toml``; treat it as read-only."""
    return tomllib.loads((files(__package__) / "grammar.toml").read_text(encoding="utf-8"))


def kind_rule(kind: str) -> KindRule:
    """The rule of ``qmt`` or ``mrf``."""
    return KindRule(**grammar()["kinds"][kind])


def model_label(model: str) -> str:
    """Value of ``model-`` in file names."""
    return str(grammar()["models"][model]["label"])


def pybids_config() -> str:
    """Path of the PyBIDS configuration that knows our entities."""
    return str(files(__package__) / "pybids.json")


def series_entities() -> dict[str, str]:
    """Short to long names of the entities that tell series apart, in file-name order."""
    return dict(grammar()["series_entities"])


def is_label(text: str) -> bool:
    """Whether ``text`` is a BIDS label: letters and digits, nothing else."""
    return _LABEL.fullmatch(text) is not None


def parse_name(path: Path | str) -> FileName:
    """Split a file name such as ``sub-01_acq-a_T1w.nii.gz``.

    Raises
    ------
    InvalidBidsError
        If an entity repeats or a label holds anything but letters and digits.
    """
    name = Path(path).name
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not dash or not is_label(key) or not is_label(label) or key in entities:
            raise InvalidBidsError(
                f'{name}: "{pair}" is not a BIDS entity; write key-label with letters and '
                "digits only, each key once."
            )
        entities[key] = label
    if not is_label(suffix):
        raise InvalidBidsError(
            f'{name}: "{suffix}" is not a BIDS suffix; letters and digits only.'
        )
    return FileName(entities, suffix, dot + extension)
