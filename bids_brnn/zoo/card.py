"""What a trained model was made for, from what, and how well it does: JSON beside the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bids_brnn.errors import DataError, ReadError
from bids_brnn.files import decoded
from bids_brnn.parameters import MapItem, Parameter, ParameterSet

CARD_FORMAT = 1
CITATION = (
    "Mao A, Flassbeck S, Asslaender J. Bias-reduced neural networks for parameter estimation in "
    "quantitative MRI. arXiv:2312.11468 (Magnetic Resonance in Medicine 2024)."
)
LICENCE = "Apache-2.0"
SAME_FIELD = 1.2
"""Largest ratio of two field strengths at which relaxation is alike: 2.9 and 3 T, not 1.5."""
LOSSES_BY_PREFERENCE = ("efficient", "bias-reduced", "bias-constrained", "mse-crb", "mse")
"""Which of several networks for one pulse train serves, where none is named."""


@dataclass(frozen=True)
class ModelCard:
    """Description of one trained network."""

    name: str
    """``qmt-demo``, ``mrf-jiang-msecrb`` ...; also the stem of both files."""
    description: str
    model: str
    """Signal model, by its name in the registry."""
    network: Mapping[str, Any]
    """:meth:`bids_brnn.learning.networks.NetworkSpec.to_dict`."""
    surrogate: Mapping[str, Any]
    """Width, blocks, symmetry and relative error of the surrogate signal."""
    parameters: tuple[Mapping[str, Any], ...]
    """Name, unit, bounds and role of every parameter of the signal model."""
    sequence: Mapping[str, Any]
    """Digest, name, samples, duration of the pulse train."""
    subspace: Mapping[str, Any]
    """Digest, rank and samples of the basis."""
    prior: Mapping[str, Any]
    """Tissue classes of training."""
    snr_range: tuple[float, float]
    """``|M0| / sigma`` in training."""
    loss: str
    """Loss of the last stage; the comparison networks say ``mse-crb``."""
    training: Mapping[str, Any]
    """Configuration, number of fingerprints, draws, seconds, machine."""
    thresholds: Mapping[str, float]
    """Where the distance from the training distribution is 1."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of ``brnn evaluate``; empty until evaluated."""
    command: str = ""
    """Command that trains a model of this kind."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The configuration of :command:`brnn train`."""
    weights_sha256: str = ""
    field_strength: float | None = None
    """T: of the tissue that the prior describes; None where that is not known."""
    licence: str = LICENCE
    citation: str = CITATION
    format: int = CARD_FORMAT

    @property
    def preference(self) -> int:
        """Place in :data:`LOSSES_BY_PREFERENCE`; the lowest serves."""
        known = self.loss in LOSSES_BY_PREFERENCE
        return LOSSES_BY_PREFERENCE.index(self.loss) if known else len(LOSSES_BY_PREFERENCE)

    @property
    def last_loss(self) -> Mapping[str, Any]:
        """The loss of the last stage with its options, as far as they are known."""
        stages = self.training.get("config", {}).get("stages", [])
        last = stages[-1].get("loss", {}) if stages else {}
        return last if last.get("name") == self.loss else {"name": self.loss}

    def to_json(self) -> str:
        """Text of the card."""
        content = {**asdict(self), "parameters": [dict(item) for item in self.parameters]}
        return json.dumps(content, indent=1) + "\n"

    def with_evaluation(self, evaluation: Mapping[str, Any]) -> ModelCard:
        """A copy that holds these numbers."""
        return replace(self, evaluation=evaluation)

    @classmethod
    def from_file(cls, path: Path) -> ModelCard:
        """Read a card.

        Raises
        ------
        ReadError
            If the file is absent, not a card, or of another format.
        """
        try:
            content = json.loads(decoded(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise ReadError(f"cannot read the model card {path}: {error}") from error
        known = {item.name for item in fields(cls)}
        if not isinstance(content, dict) or not {"name", "weights_sha256"} <= set(content):
            raise ReadError(f"{path} is not a model card; name a card that brnn train wrote")
        if content.get("format") != CARD_FORMAT or not set(content) <= known:
            raise ReadError(
                f"{path} has card format {content.get('format')}, this program reads "
                f"{CARD_FORMAT}; use the version of bids_brnn that wrote it"
            )
        try:
            content["parameters"] = tuple(content["parameters"])
            content["snr_range"] = tuple(content["snr_range"])
            return cls(**content)
        except (TypeError, KeyError) as error:
            raise DataError(f"{path} is incomplete: {error}") from error


def same_field(first: float, second: float) -> bool:
    """Whether tissue at two field strengths (T) is alike: they differ by 20 % at most."""
    return max(first, second) <= SAME_FIELD * min(first, second)


def parameters_to(parameters: ParameterSet) -> tuple[dict[str, Any], ...]:
    """Plain rows of a parameter table for a card."""
    return tuple(asdict(item) for item in parameters)


def parameters_from(rows: Iterable[Mapping[str, Any]]) -> ParameterSet:
    """Inverse of :func:`parameters_to`.

    Raises
    ------
    DataError
        If a row is incomplete.
    """
    try:
        return ParameterSet(
            tuple(
                Parameter(**{**row, "item": MapItem(**{**row["item"], "display": _pair(row)})})
                for row in rows
            )
        )
    except (TypeError, KeyError) as error:
        raise DataError(f"the parameter table of the model card is incomplete: {error}") from error


def _pair(row: Mapping[str, Any]) -> tuple[float, float] | None:
    display = row["item"].get("display")
    return None if display is None else (float(display[0]), float(display[1]))
