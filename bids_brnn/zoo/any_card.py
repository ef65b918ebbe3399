"""The card of a network for any protocol of Z-spectra: JSON beside its weights. Needs no torch.

Such a network serves no series by itself: for each protocol a network is made of it
(:mod:`bids_brnn.experiments.any_spectrum`) with a :class:`~bids_brnn.zoo.card.ModelCard` of its
own, whose figures are of that protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.files import expanded
from bids_brnn.learning.scoring_shape import n_scored
from bids_brnn.learning.spec import error_shapes, residual_shapes
from bids_brnn.sequences.z_random import figures
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.system.kinds import problem, shown
from bids_brnn.system.reading import parse_json, read_bounded
from bids_brnn.zoo.card import CITATION, LICENCE, MAX_CARD
from bids_brnn.zoo.places import ANY_KIND, is_any_card, read_cards, weight_folders
from bids_brnn.zoo.schema import ANY_CARD

FORMAT = 1
_DERIVATION = 3
"""Version of how the network of a protocol is made; with another one it is made anew."""
_SLACK = 0.02
"""Relative: a protocol at the edge of those of training is not refused for a rounding error."""


@dataclass(frozen=True)
class AnyCard:
    """Description of one network for many protocols."""

    name: str
    description: str
    models: tuple[str, ...]
    """Signal models that it was trained with."""
    outputs: tuple[str, ...]
    width: int
    blocks: int
    errors: Mapping[str, int]
    """Width and blocks of the network that knows the errors."""
    snr_range: tuple[float, float]
    field_strengths: tuple[float, float]
    """T: least and largest of the tissue of training."""
    reach: Mapping[str, Sequence[float]]
    """Least and largest figures of the protocols of training
    (:func:`bids_brnn.sequences.z_random.figures`)."""
    training: Mapping[str, Any]
    """Configuration, protocols, fingerprints, draws, seconds."""
    command: str
    recipe: Mapping[str, Any]
    weights_sha256: str = ""
    licence: str = LICENCE
    citation: str = CITATION
    kind: str = ANY_KIND
    format: int = FORMAT

    def to_json(self) -> str:
        """Text of the card."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> AnyCard:
        """Read a card.

        Raises
        ------
        ReadError
            If the file cannot be read, or is no such card.
        DataError
            If an entry has a type or size that it cannot have.
        """
        try:
            content = parse_json(read_bounded(path, MAX_CARD), finite=False)
        except (OSError, ValueError) as error:
            raise ReadError(f"cannot read the model card {path}: {error}") from error
        if not isinstance(content, dict) or content.get("kind") != ANY_KIND:
            raise ReadError(f"{path} is no card of a network for any protocol")
        if content.get("format") != FORMAT or set(content) != {item.name for item in fields(cls)}:
            raise ReadError(
                f"{path} has card format {shown(content.get('format'))}, this program reads "
                f"{FORMAT}; use the version of bids_brnn that wrote it"
            )
        if text := problem(ANY_CARD, content, "the card"):
            raise DataError(f"{path} is no card that can be used: {text}")
        # Networks that are made of it have its name in theirs.
        if "/" in content["name"] or content["name"].startswith("."):
            raise DataError(
                f'{path} is no card that can be used: the name "{content["name"]}" can be none of '
                "a file"
            )
        pairs = ("snr_range", "field_strengths", "models", "outputs")
        return cls(**{**content, **{name: tuple(content[name]) for name in pairs}})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all arrays by name."""
        n_inputs, n_outputs = n_scored(len(self.outputs)), len(self.outputs)
        body = residual_shapes(n_inputs, n_outputs, self.width, self.blocks)
        found = {f"network.body.{name}": shape for name, shape in body.items()}
        for side, length in (("input", n_inputs), ("output", n_outputs)):
            found |= {f"network.{side}_{part}": (length,) for part in ("centre", "scale")}
        size = self.errors["width"], self.errors["blocks"]
        told = error_shapes(n_inputs + n_outputs, n_outputs, *size)
        return found | {f"errors.{name}": shape for name, shape in told.items()}

    def shortcoming(self, protocol: ZSpectrum, field_strength: float | None) -> str:
        """Why a protocol is beyond all of training, before anything is simulated; empty if not.

        Parameters
        ----------
        protocol
            Of a series.
        field_strength
            T; None where it is not told.
        """
        low, high = self.field_strengths
        if field_strength is not None and not _within(field_strength, low, high):
            return f"it knows tissue at {low:g} to {high:g} T, and not at {field_strength:g} T"
        for words, value in figures(protocol).items():
            least, most = self.reach.get(words, (value, value))
            if not _within(value, least, most):
                return (
                    f"the {words} of the protocol is {value:.4g}, and {least:.4g} to {most:.4g} "
                    "in its training"
                )
        return ""

    def derived_name(self, model: str, protocol: ZSpectrum, field_strength: float | None) -> str:
        """Name of the network of a protocol that is made of this one."""
        words = [_DERIVATION, self.weights_sha256, model, protocol.digest, field_strength]
        key = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:10]
        return f"{self.name}-{model}-{key}"


def _within(value: float, low: float, high: float) -> bool:
    return low - _SLACK * abs(low) <= value <= high + _SLACK * abs(high)


def any_cards(folders: Iterable[Path]) -> list[tuple[Path, AnyCard]]:
    """Cards of such networks in folders, in their order; other files are left out.

    Why one cannot be read, :func:`any_problems` says.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                found.append((path, AnyCard.from_file(path)))
            except BidsBrnnError:
                continue
    return found


def any_problems(folders: Iterable[Path]) -> list[str]:
    """A sentence for each file that says it is such a card, and cannot be read as one."""
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        if is_any_card(path):
            try:
                AnyCard.from_file(path)
            except BidsBrnnError as error:
                found.append(str(error))
    return found


def named_any_card(reference: str, own: Path | None = None) -> Path | None:
    """The card of such a network, or None.

    Parameters
    ----------
    reference
        Its name, or the path of card, weights or a folder that holds no other networks but those
        that were made of it.
    own
        A folder of networks to search before all others.
    """
    path = expanded(reference)
    if path.is_dir():
        # Networks that were made of it may have been put beside it.
        others = [card for _, card in read_cards([path])[0] if not card.is_derived]
        several = [] if others else any_cards([path])
        return several[0][0].absolute() if several else None
    places = [path.with_suffix(".json")] if path.suffix in (".json", ".safetensors") else []
    if path.name == reference:
        places += [folder / f"{reference}.json" for folder in weight_folders(own)]
    return next((place.absolute() for place in places if is_any_card(place)), None)
