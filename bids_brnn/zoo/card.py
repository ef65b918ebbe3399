"""What a trained model was made for, from what, and how well it does: JSON beside the weights."""

from __future__ import annotations

import json
import math
import shlex
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
MOST_SQUARED_BIAS = 1.0
"""Mean squared bias over the Cramer-Rao bound, of each parameter over held-out fingerprints, up
to which a network serves without being named. Beyond 1 the bias exceeds the noise of an efficient
estimator, and no map of standard deviations shows it. Shipped networks reach 0.002 to 0.23; one
that was trained for some hundred steps has tens."""
MOST_VARIANCE = 2.0
"""The same for the variance: beyond 2 a voxel needs twice the averages. Shipped networks reach
1.08."""
FEWEST_FINGERPRINTS = 50
"""Few fingerprints hold most of the squared bias, so that a handful tells nothing."""
_FROM_FILES = {"sidecar", "pulses", "basis", "prior"}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "network": ("n_coefficients", "outputs"),
    "surrogate": ("width", "blocks", "conjugate"),
    "sequence": ("digest",),
    "thresholds": ("residual", "inputs"),
}
_TABLES = {*_NEEDED, "errors", "subspace", "prior", "training", "evaluation", "recipe"}
_COUNTS = {"surrogate": ("width", "blocks"), "network": ("n_coefficients", "width", "blocks")}
_TEXTS = ("name", "model", "loss", "command", "weights_sha256", "description")


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
    errors: Mapping[str, Any] = field(default_factory=dict)
    """Outputs, width and blocks of the network that knows the errors; empty where there is none,
    as in files of earlier versions."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of :mod:`bids_brnn.evaluation`: a few at the end of the training, all of them by
    ``brnn evaluate``."""
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

    @property
    def shortcoming(self) -> str:
        """Why the network must not serve unless it is named; empty where it may."""
        held_out = self.evaluation.get("held_out")
        if not held_out:
            return "it was never evaluated"
        count = _number(self.evaluation.get("fingerprints"))
        if not count >= FEWEST_FINGERPRINTS:
            return f"it was evaluated on {count:g} fingerprints, {FEWEST_FINGERPRINTS} are needed"
        limits = {
            "squared_bias_over_crb": ("squared bias", MOST_SQUARED_BIAS),
            "variance_over_crb": ("variance", MOST_VARIANCE),
        }
        for key, (word, limit) in limits.items():
            found = {name: _number(row.get(key)) for name, row in held_out.items()}
            # What is no number is worse than any.
            name = max(found, key=lambda item: (math.isnan(found[item]), found[item]))
            if not found[name] <= limit:
                return (
                    f"its {word} on held-out fingerprints is {found[name]:.3g} Cramer-Rao bounds "
                    f"({name}; the limit is {limit:g})"
                )
        return ""

    @property
    def files(self) -> tuple[str, ...]:
        """Keys of the recipe that name files: with them ``brnn evaluate`` needs the recipe."""
        return tuple(sorted(_FROM_FILES & set(self.recipe)))

    def evaluate_command(self, path: Path, config: Path | None = None) -> str:
        """The command that evaluates this network, whose card is ``path``."""
        words = ["brnn", "evaluate", str(path)]
        if config is not None:
            words += ["--config", str(config)]
        elif self.files:
            words += ["--config", *self.command.split()[2:3]]
        return shlex.join([*words, "--update-card"])

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
            low, high = content["snr_range"]
            content["snr_range"] = (float(low), float(high))
            card = cls(**content)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{path} is incomplete: {error}") from error
        card._check(path)
        return card

    def _check(self, path: Path) -> None:
        """Refuse a card whose entries are of another kind than they have to be."""
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise DataError(f"{path} is incomplete: {name} must be a text")
        for name in sorted(_TABLES):
            table = getattr(self, name)
            if not isinstance(table, Mapping):
                raise DataError(f"{path} is incomplete: {name} must be a table")
            missing = [key for key in _NEEDED.get(name, ()) if key not in table]
            if missing:
                raise DataError(f"{path} is incomplete: {name} has no {', '.join(missing)}")
            for key in _COUNTS.get(name, ()):
                if key in table and (type(table[key]) is not int or table[key] < 1):
                    raise DataError(f"{path} is incomplete: {key} of {name} must be a number")
        held_out = self.evaluation.get("held_out", {})
        rows = held_out.values() if isinstance(held_out, Mapping) else [None]
        if not all(isinstance(row, Mapping) for row in rows):
            raise DataError(f"{path} is incomplete: held_out of evaluation must hold tables")
        if not all(math.isfinite(_number(value)) for value in self.thresholds.values()):
            raise DataError(f"{path} is incomplete: thresholds must be numbers")
        parameters_from(self.parameters)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


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
