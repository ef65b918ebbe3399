"""Which trained network serves a series. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.declared import number
from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.files import expanded
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.any_card import AnyCard, any_cards, any_problems, named_any_card
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import SHIPPED, Found, read_cards, weight_folders
from bids_brnn.zoo.serving import check_serves, is_for

_ADVICE = "train one for this series (docs/training.md), or use --weights auto"


@dataclass(frozen=True)
class Choice:
    """The network for a series, and what has to be said of it."""

    path: Path | None = None
    """Its card; None where there is none."""
    card: ModelCard | None = None
    notes: tuple[str, ...] = ()
    """Networks that were left aside, and why."""
    warning: str = ""
    """Why the maps of this network, which was asked for, must not be trusted."""

    @property
    def marks(self) -> Mapping[str, str]:
        """What to beware of in the map of a parameter, by name."""
        return {} if self.card is None else self.card.marks


def choose_network(weights: str, acquisition: Acquisition, own: Path | None = None) -> Choice:
    """The network to use for a series.

    Parameters
    ----------
    weights
        ``none``; ``auto``: one for this pulse train that was evaluated and found good; or the
        name of a network, or the path of its card, its weights or a folder of networks.
    acquisition
        The series.
    own
        A folder of networks to search before all others; it may be absent.

    Raises
    ------
    ReadError
        If the network asked for is absent or damaged, or a folder does not exist.
    DataError
        If the network asked for cannot serve the series.
    """
    if weights == "none":
        return Choice()
    if weights == "auto":
        return _found(acquisition, own)
    general = named_any_card(weights, own)
    if general is not None:
        return _made_of(general, acquisition, own)
    folder = expanded(weights)
    if folder.is_dir():
        return _best_in(folder.absolute(), acquisition)
    path = card_path(weights, own)
    card = ModelCard.from_file(path)
    try:
        check_serves(path, card, acquisition)
    except DataError as error:
        raise DataError(f"{acquisition.name}: {error}; {_ADVICE}.") from error
    return _asked_for(path, card, acquisition)


def _asked_for(path: Path, card: ModelCard, acquisition: Acquisition) -> Choice:
    notes = _of_marks(card, acquisition)
    if not card.shortcoming:
        return Choice(path, card, notes)
    warning = (
        f'{acquisition.name}: the network "{card.name}" is used because it was asked for, but '
        f"{card.shortcoming}: its maps must not be trusted. What may help: {card.cure(path)}."
    )
    return Choice(path, card, notes, warning)


def _of_marks(card: ModelCard, acquisition: Acquisition) -> tuple[str, ...]:
    """What the quality rule says of single maps."""
    return tuple(
        f'{acquisition.name}: the {name} map of the network "{card.name}" is to be read with '
        f"care: {words}."
        for name, words in card.marks.items()
    )


def _found(acquisition: Acquisition, own: Path | None) -> Choice:
    """The best network of all folders that was found good and can serve, or none."""
    cards, problems = read_cards(weight_folders(own))
    if isinstance(acquisition.sequence, ZSpectrum):
        problems += any_problems(weight_folders(own))
    name = acquisition.name
    notes = [f"{name}: a file in a folder of networks is left aside: {text}." for text in problems]
    fitting = _by_preference(cards, acquisition)
    if not fitting:
        notes += _of_other_trains(cards, acquisition)
    for path, card in fitting:
        if card.shortcoming:
            notes.append(
                f'{name}: the network "{card.name}" is left aside: {card.shortcoming}. What may '
                f"help: {card.cure(path)}; to use it all the same: --weights {path}."
            )
            continue
        try:
            check_serves(path, card, acquisition)
        except BidsBrnnError as error:
            notes.append(f'{name}: the network "{card.name}" is left aside: {error}.')
        else:
            if card.field_strength is None:
                notes.append(
                    f'{name}: the card of the network "{card.name}" does not say at which field '
                    "strength its tissue is."
                )
            return Choice(path, card, (*notes, *_of_marks(card, acquisition)))
    return Choice(notes=(*notes, *_beyond_any(acquisition, own)))


def _made_of(general: Path, acquisition: Acquisition, own: Path | None) -> Choice:
    """The network that was made for a series of one for any protocol, which is named.

    Raises
    ------
    DataError
        If the series or its protocol is beyond what that one knows, or it could not be made.
    """
    card, name = AnyCard.from_file(general), acquisition.name
    if not isinstance(acquisition.sequence, ZSpectrum):
        raise DataError(
            f'{name}: the network "{card.name}" is for Z-spectra, and this is '
            f"{acquisition.rule.title}; {_ADVICE}."
        )
    if why := card.shortcoming(acquisition.sequence, _field_of(acquisition)):
        raise DataError(f'{name}: the network "{card.name}" cannot serve: {why}; {_ADVICE}.')
    path = _derived(card, acquisition, own)
    if path is None:
        raise DataError(
            f'{name}: no network could be made of "{card.name}" for its protocol, the log says '
            f"why; {_ADVICE}."
        )
    return _asked_for(path, ModelCard.from_file(path), acquisition)


def _derived(card: AnyCard, acquisition: Acquisition, own: Path | None) -> Path | None:
    """The card of the network that was made for a series, if it is there."""
    assert isinstance(acquisition.sequence, ZSpectrum)
    field = _field_of(acquisition)
    name = card.derived_name(acquisition.model, acquisition.sequence, field)
    places = (folder / f"{name}.json" for folder in weight_folders(own))
    return next((path for path in places if path.is_file()), None)


def _beyond_any(acquisition: Acquisition, own: Path | None) -> list[str]:
    """Why no network was made of one for any protocol, where there is one."""
    if not isinstance(acquisition.sequence, ZSpectrum):
        return []
    notes = []
    for _, card in any_cards(weight_folders(own))[:1]:
        why = card.shortcoming(acquisition.sequence, _field_of(acquisition))
        if why:
            notes.append(
                f'{acquisition.name}: the network "{card.name}" for any protocol is left aside: '
                f"{why}."
            )
    return notes


def _field_of(acquisition: Acquisition) -> float | None:
    return number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)


def _of_other_trains(cards: Found, acquisition: Acquisition) -> list[str]:
    """A note where the user has networks for such signals, but none for this pulse train."""
    own = [card for path, card in cards if path.parent != SHIPPED and not card.is_derived]
    names = [
        f"{card.name} ({card.sequence['digest']})"
        for card in own
        if card.model == acquisition.model
    ]
    if not names:
        return []
    return [
        f"{acquisition.name}: no network is for its pulse train "
        f"({acquisition.sequence.digest}), left aside are {', '.join(names)}. Train with the "
        "sidecar of the series: it tells more of the train than the pulse table alone."
    ]


def _by_preference(cards: Found, acquisition: Acquisition) -> Found:
    # One protocol may have been read with several signal models: that is nothing to tell.
    fitting = [
        item
        for item in cards
        if is_for(*item, acquisition)
        and not (item[1].is_derived and item[1].model != acquisition.model)
    ]
    return by_preference(fitting)


def by_preference(cards: Found) -> Found:
    """Networks for one protocol, the one that serves first; folders count in their order.

    Those made of one for any protocol come last; of several with the same loss that of the first
    folder, and in one the better one.
    """
    places = list(dict.fromkeys(path.parent for path, _ in cards))
    return sorted(
        cards,
        key=lambda item: (
            item[1].is_derived,
            item[1].preference,
            places.index(item[0].parent),
            _faults(item[1]),
        ),
    )


def _faults(card: ModelCard) -> tuple[int, float]:
    """Marked maps, and squared bias over the prior: what a larger preset makes fewer and less."""
    if card.shortcoming:  # its figures may be missing, or none
        return 0, math.inf
    bias = float(card.evaluation["held_out"]["all"]["squared_bias_over_crb"])
    return len(card.marks), max(0.0, bias)


def _best_in(folder: Path, acquisition: Acquisition) -> Choice:
    """The best network of a folder that the user names.

    Raises
    ------
    DataError, ReadError
        If none can serve, and why not.
    """
    cards, reasons = _cards_in(folder)
    able: Found = []
    for path, card in cards:
        try:
            check_serves(path, card, acquisition)
            able.append((path, card))
        except BidsBrnnError as error:
            reasons.append(str(error))
    if not able:
        raise DataError(
            f"{acquisition.name}: no network in {folder} can serve: {'; '.join(reasons)}; "
            f"{_ADVICE}."
        )
    best = min(by_preference(able), key=lambda item: bool(item[1].shortcoming))
    return _asked_for(*best, acquisition)


def _cards_in(folder: Path) -> tuple[Found, list[str]]:
    cards, problems = read_cards([folder])
    if not cards:
        why = f" ({'; '.join(problems)})" if problems else ""
        raise ReadError(f"{folder} holds no model card{why}; name the OUT folder of brnn train.")
    return cards, problems


def card_path(reference: str | Path, own: Path | None = None) -> Path:
    """Card of a trained network given by name, or by the path of card, weights or folder.

    Raises
    ------
    ReadError
        If there is none, or a folder holds several.
    """
    path = expanded(reference)
    if path.suffix in (".json", ".safetensors") and path.with_suffix(".json").is_file():
        return path.with_suffix(".json").absolute()
    if path.is_dir():
        return _only_card(path.absolute())
    for folder in weight_folders(own):
        if path.name == str(reference) and (folder / f"{reference}.json").is_file():
            return folder / f"{reference}.json"
    raise ReadError(f'There is no trained model "{reference}"; list them with: brnn models.')


def _only_card(folder: Path) -> Path:
    cards = [path for path, _ in _cards_in(folder)[0]]
    if len(cards) > 1:
        names = ", ".join(path.name for path in cards)
        raise ReadError(f"{folder} holds {len(cards)} model cards; name one of them: {names}.")
    return cards[0]
