"""Which trained network serves a series. Looks at cards only, so that no torch is loaded."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import bids_brnn.zoo
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.declared import number
from bids_brnn.errors import DataError, ReadError
from bids_brnn.zoo.card import ModelCard, same_field

WEIGHTS_VARIABLE = "BIDS_BRNN_WEIGHTS"
"""Environment variable with a further folder of models."""
_LOG = logging.getLogger("bids_brnn.run")
SHIPPED = Path(bids_brnn.zoo.__file__).parent / "weights"


def choose_network(weights: str, acquisition: Acquisition) -> tuple[Path, ModelCard] | None:
    """Card of the network to use, or None.

    Raises
    ------
    ReadError
        If the network asked for is absent.
    DataError
        If it is for another signal model, pulse train or field strength.
    """
    if weights == "none":
        return None
    if weights != "auto":
        path = card_path(weights)
        card = ModelCard.from_file(path)
        if not _fits(card, acquisition):
            raise DataError(
                f'Weights "{card.name}" are for {card.model} and another pulse train than that '
                f"of {acquisition.name}. Train for this one with: brnn train."
            )
        if misfit := _other_field(card, acquisition):
            raise DataError(
                f"{misfit}; its estimates would be drawn to tissue at another field. Train for "
                "this one with: brnn train (with a prior for its field), or use --weights none."
            )
        return path, card
    found = [
        (path, card)
        for folder in weight_folders()
        for path in sorted(folder.glob("*.json"))
        for card in [ModelCard.from_file(path)]
        if _fits(card, acquisition)
    ]
    for _, card in found:
        if misfit := _other_field(card, acquisition):
            _LOG.warning("%s; it is not used", misfit)
    found = [item for item in found if not _other_field(item[1], acquisition)]
    if not found:
        return None
    # Of several with the same loss the first one, in the order of folders and names.
    path, card = min(found, key=lambda item: item[1].preference)
    if card.field_strength is None:
        _LOG.info("%s does not say at which field strength its tissue is", _titled(card))
    return path, card


def _fits(card: ModelCard, acquisition: Acquisition) -> bool:
    same_train = card.sequence.get("digest") == acquisition.sequence.digest
    return card.model == acquisition.model and same_train


def _titled(card: ModelCard) -> str:
    return f'the card of the network "{card.name}"'


def _other_field(card: ModelCard, acquisition: Acquisition) -> str:
    """That a network was trained for tissue at another field, in words; or nothing."""
    trained = card.field_strength
    field = number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)
    if trained is None or field is None or same_field(trained, field):
        return ""
    return (
        f'The network "{card.name}" was trained for tissue at {trained:g} T, '
        f"MagneticFieldStrength of {acquisition.name} is {field:g} T"
    )


def weight_folders() -> list[Path]:
    """Folders of models: that of the environment variable, then that of the package."""
    extra = os.environ.get(WEIGHTS_VARIABLE, "")
    return [*([Path(extra)] if extra else []), SHIPPED]


def card_path(reference: str | Path) -> Path:
    """Card of a trained model given by name, or by the path of card, weights or folder.

    Raises
    ------
    ReadError
        If there is none, or a folder holds several.
    """
    path = Path(reference)
    if path.suffix in (".json", ".safetensors") and path.with_suffix(".json").is_file():
        return path.with_suffix(".json").absolute()
    if path.is_dir():
        cards = sorted(path.glob("*.json"))
        if len(cards) == 1:
            return cards[0].absolute()
        raise ReadError(f"{path} holds {len(cards)} model cards; name one of them.")
    for folder in weight_folders():
        if path.name == str(reference) and (folder / f"{reference}.json").is_file():
            return folder / f"{reference}.json"
    raise ReadError(f'There is no trained model "{reference}"; list them with: brnn models.')
