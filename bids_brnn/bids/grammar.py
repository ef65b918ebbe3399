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
from bids_brnn.signals.registry import series_kinds
from bids_brnn.system.kinds import abridged

IMAGE_EXTENSIONS = (".nii", ".nii.gz")
PARTS = ("real", "imag", "mag", "phase")
_LABEL = re.compile(r"[A-Za-z0-9]+")


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


def default_filters() -> dict[str, dict[str, Any]]:
    """PyBIDS entities by key of ``--bids-filter-file``: kinds of series, then companions."""
    images = list(IMAGE_EXTENSIONS)
    kinds: dict[str, dict[str, Any]] = {}
    for name, kind in series_kinds().items():
        suffix = list(kind.suffixes) if kind.other_suffixes else kind.suffix
        kinds[name] = {"suffix": suffix, "extension": images}
    return {**kinds, **grammar()["filters"]}


def ignored_names(key: Literal["bidsignore", "input_bidsignore"]) -> str:
    """Content of ``.bidsignore`` of the output, or of data with our series."""
    kinds = series_kinds().values()
    suffixes = {
        "MAPS": [kind.map_suffix for kind in kinds],
        "REFERENCES": [kind.reference_suffix for kind in kinds],
        "SERIES": [suffix for kind in kinds for suffix in kind.suffixes],
    }
    lines: list[str] = []
    for pattern in grammar()["output"][key]:
        word = next((word for word in suffixes if word in pattern), "")
        lines += [pattern.replace(word, suffix) for suffix in suffixes.get(word, [""])]
    return "\n".join(lines) + "\n"


def pybids_config() -> str:
    """Path of the PyBIDS configuration that knows our entities."""
    return str(files(__package__) / "pybids.json")


def series_entities() -> dict[str, str]:
    """Short to long names of the entities that tell series apart, in file-name order."""
    return dict(grammar()["series_entities"])


def measurement_entities() -> frozenset[str]:
    """Short names of the entities that tell one volume of a Z-spectrum from another."""
    return frozenset(grammar()["bids"]["measurement_entities"])


def series_label(name: FileName, *, measured: bool = False) -> str:
    """What messages call the series of a file: ``sub-01_acq-hsfp``.

    ``measured``: the file holds one measurement of a Z-spectrum, or repeats of it.
    """
    dropped = {"part"} | (measurement_entities() if measured else frozenset())
    return "_".join(f"{key}-{label}" for key, label in name.entities.items() if key not in dropped)


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
        # fMRIPrep writes the cohort of a template into its label: to-MNIPediatricAsym+3.
        plain = label.replace("+", "", 1) if key in ("space", "from", "to") else label
        if not dash or not is_label(key) or not is_label(plain) or key in entities:
            raise InvalidBidsError(
                f'{abridged(name)}: "{abridged(pair)}" is not a BIDS entity; write key-label with '
                "letters and digits only, each key once."
            )
        entities[key] = label
    if not is_label(suffix):
        raise InvalidBidsError(
            f'{abridged(name)}: "{abridged(suffix)}" is not a BIDS suffix; letters and digits '
            "only."
        )
    return FileName(entities, suffix, dot + extension)
