"""What a trained model was made for, from what, and how well it does: JSON beside the weights."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.learning.spec import NetworkSpec
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.system.kinds import problem, shown
from bids_brnn.system.reading import parse_json, read_bounded
from bids_brnn.zoo.quality import Verdict, judge, number, number_of
from bids_brnn.zoo.schema import CARD

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
_FROM_FILES = {"sidecar", "pulses", "zspectrum", "basis", "prior", "protocol"}
MAX_CARD = 16 * 2**20  # bytes


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
    support: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Least and largest value of each parameter in training; empty in earlier versions."""
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
    def is_derived(self) -> bool:
        """Whether it was made of a network for any protocol, and not trained for this one."""
        return self.network.get("layout") == "scoring"

    @property
    def is_biased(self) -> bool:
        """Whether the network was trained to be near the truth on average over the prior."""
        return self.loss in ("mse", "mse-crb")

    @property
    def last_loss(self) -> Mapping[str, Any]:
        """The loss of the last stage with its options, as far as they are known."""
        stages = self.training.get("config", {}).get("stages", [])
        last = stages[-1].get("loss", {}) if stages else {}
        return last if last.get("name") == self.loss else {"name": self.loss}

    @property
    def facts(self) -> dict[str, Any]:
        """How the network was trained and what it reaches, for sidecars and methods texts."""
        overall = self.evaluation.get("held_out", {}).get("all", {})
        count = self.training.get("fingerprints")
        return {
            "Name": self.name,
            "SequenceDigest": self.sequence["digest"],
            "Preset": "n/a" if self.is_derived else _told(self.recipe.get("preset")),
            "Fingerprints": count + self._further if isinstance(count, int) else "n/a",
            "NoiseRealisations": self._draws,
            **self._origin,
            "SNRRange": list(self.snr_range),
            "Prior": _told(self.prior.get("name") or None),
            "MagneticFieldStrength": self.field_strength or "n/a",
            "Coefficients": self.network.get("n_coefficients", "n/a"),
            "Basis": _told(self.subspace.get("from")),
            "Seeds": _told(self.training.get("seeds")),
            "SquaredBiasOverBound": _told(overall.get("squared_bias_over_crb")),
            "VarianceOverBound": _told(overall.get("variance_over_crb")),
            "Sensitivity": self._sensitivity or "n/a",
        }

    @property
    def _draws(self) -> int | str:
        """Noise realisations, those of the network that the training went on from included."""
        draws, before = (self.training.get(key) for key in ("draws", "draws_before"))
        if type(draws) is not int:
            return "n/a"
        return draws + (before if type(before) is int else 0)

    @property
    def _further(self) -> int:
        """Fingerprints of the parts of the prior that were trained more; none of derived ones."""
        if self.is_derived:
            return 0
        if "further" in self.training:
            return int(self.training["further"])
        # Cards of earlier versions say it in their configuration, which nobody has checked.
        tables = [self.recipe.get(key) for key in ("extra", "focus")]
        parts = [part for table in tables if isinstance(table, list) for part in table]
        counts = [part.get("fingerprints") for part in parts if isinstance(part, Mapping)]
        return sum(count for count in counts if type(count) is int and count > 0)

    @property
    def _sensitivity(self) -> dict[str, Any]:
        """Slope of the expected estimate against the truth, by tissue and parameter, at one SNR.

        The middle one of those that were judged within training.
        """
        low, high = self.snr_range
        sets = self.evaluation.get("tissue_sets") or {}
        levels = sorted(sets.get("WM") or {}, key=number_of)
        judged = [level for level in levels if low <= number_of(level) <= high]
        if not judged:
            return {}
        level = judged[(len(judged) - 1) // 2]
        slopes = {
            tissue: {name: _told(row.get("slope")) for name, row in rows[level].items()}
            for tissue, rows in sets.items()
            if level in rows
        }
        return {"SNR": number_of(level), "Slopes": slopes}

    @property
    def _origin(self) -> dict[str, Any]:
        """Of a network that was made of one for any protocol: its name, and how many it saw."""
        if not self.is_derived:
            return {}
        name = self.training.get("network", "n/a")
        return {"MadeFrom": name, "Protocols": self.training["protocols"]}

    @property
    def bf16_error(self) -> float:
        """Largest error of bf16 arithmetic in Cramer-Rao standard deviations; NaN if unknown."""
        return number(self.evaluation.get("bf16_error_over_crb_std"))

    @cached_property
    def verdict(self) -> Verdict:
        """What the quality rule says of the figures of the evaluation."""
        return judge(self.evaluation, self.snr_range)

    @property
    def shortcoming(self) -> str:
        """Why the network must not serve unless it is named; empty where it may."""
        return self.verdict.refusal

    @property
    def marks(self) -> Mapping[str, str]:
        """What to beware of in the maps of a network that may serve, by parameter."""
        return self.verdict.marks

    @property
    def files(self) -> tuple[str, ...]:
        """Keys of the recipe that name files: with them ``brnn evaluate`` needs the recipe."""
        return tuple(sorted(_FROM_FILES & set(self.recipe)))

    @property
    def model_options(self) -> Mapping[str, Any]:
        """Options of the signal model of training; empty where it had none, as in the App."""
        options = self.recipe.get("model_options")
        return options if isinstance(options, Mapping) else {}

    def cure(self, path: Path) -> str:
        """What to do about the shortcoming of this network, whose card is ``path``."""
        if not self.verdict.cure:
            return self.evaluate_command(path)
        if self.is_derived:
            return "one that is trained for this protocol alone may do better (docs/training.md)"
        return self.verdict.cure

    def evaluate_command(self, path: Path, config: Path | None = None) -> str:
        """The command that evaluates this network, whose card is ``path``."""
        words = ["brnn", "evaluate", str(path)]
        if config is not None:
            words += ["--config", str(config)]
        elif self.files:
            words += ["--config", *shlex.split(self.command)[2:3]]
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
        DataError
            If an entry is missing, or has a type or size that it cannot have.
        """
        try:
            content = parse_json(read_bounded(path, MAX_CARD), finite=False)
        except (OSError, ValueError) as error:
            raise ReadError(f"cannot read the model card {path}: {error}") from error
        known = {item.name for item in fields(cls)}
        if not isinstance(content, dict) or not {"name", "weights_sha256"} <= set(content):
            raise ReadError(f"{path} is not a model card; name a card that brnn train wrote")
        if "kind" in content:
            raise ReadError(
                f"{path} is the card of a network for any protocol; name that of a network which "
                "bids_brnn made of it for one protocol (in code/networks of an output)"
            )
        if content.get("format") != CARD_FORMAT or not set(content) <= known:
            raise ReadError(
                f"{path} has card format {shown(content.get('format'))}, this program reads "
                f"{CARD_FORMAT}; use the version of bids_brnn that wrote it"
            )
        if text := problem(CARD, content, "the card"):
            raise DataError(f"{path} is no card that can be used: {text}")
        low, high = content["snr_range"]
        card = cls(
            **{
                **content,
                "parameters": tuple(content["parameters"]),
                "snr_range": (float(low), float(high)),
            }
        )
        try:
            card._check()
        except BidsBrnnError as error:
            raise DataError(f"{path} is no card that can be used: {error}") from error
        return card

    def _check(self) -> None:
        """Refuse entries that contradict each other."""
        if "/" in self.name or self.name.startswith("."):
            raise DataError(f'the name "{self.name}" can be none of a file')
        names = parameters_from(self.parameters).names
        spec = NetworkSpec.from_dict(self.network)
        unknown = [name for name in (*spec.outputs, *spec.supplied) if name not in names]
        if unknown or len(set(spec.outputs)) < len(spec.outputs):
            raise DataError(
                f"outputs and supplied of network must be names of parameters "
                f"({', '.join(names)}), each once"
            )
        if not set(self.support) <= set(names):
            raise DataError("support must name parameters")
        self._check_surrogate()
        if self.is_derived and "protocols" not in self.training:
            raise DataError("training must hold the number of protocols")
        if self.errors:
            told = self.errors.get("outputs", ())
            if set(self.errors) != {"outputs", "width", "blocks"}:
                raise DataError("errors must hold outputs, width and blocks")
            if not set(told) <= set(spec.outputs) or len(set(told)) < len(told):
                raise DataError("outputs of errors must be outputs of network, each once")

    def _check_surrogate(self) -> None:
        about, parameters = self.surrogate, parameters_from(self.parameters)
        positive = [item.name for item in parameters if item.lower > 0]
        told = about.get("logarithmic", ())
        if not set(told) <= set(positive) or len(set(told)) < len(told):
            raise DataError(
                f"logarithmic of surrogate must be names of parameters above 0 "
                f"({', '.join(positive)}), each once"
            )
        if (about.get("harmonics") or about["conjugate"]) and "w0" not in parameters.names:
            raise DataError("harmonics and conjugate of surrogate need a parameter w0")


def _told(value: object) -> object:
    """What a card says; "n/a" where it says nothing, or what no sidecar can hold, as a NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return "n/a"
    return "n/a" if value is None else value


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
