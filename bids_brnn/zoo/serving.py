"""Whether a network can serve a series, told before anything is estimated; needs no torch."""

from __future__ import annotations

from pathlib import Path

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.errors import DataError
from bids_brnn.signals.registry import model_entry
from bids_brnn.zoo.card import ModelCard, parameters_from
from bids_brnn.zoo.span import check_span
from bids_brnn.zoo.weights_file import complex_array, read_weights


def is_for(card: ModelCard, acquisition: Acquisition) -> bool:
    """Whether the network was trained for the signal model and the pulse train of a series."""
    same_train = card.sequence["digest"] == acquisition.sequence.digest
    return card.model == acquisition.model and same_train


def check_serves(path: Path, card: ModelCard, acquisition: Acquisition) -> None:
    """Refuse a network that cannot serve a series.

    Parameters
    ----------
    path
        The card.
    card
        What it holds.
    acquisition
        The series.

    Raises
    ------
    DataError
        If it is for another signal model, pulse train or basis, or holds no basis for frames.
    ReadError
        If its weights are absent or not those of the card.
    """
    what = f'the network "{card.name}"'
    try:
        _check(path, card, acquisition, what)
    except DataError as error:
        raise DataError(f"{acquisition.name}: {error}") from error


def _check(path: Path, card: ModelCard, acquisition: Acquisition, what: str) -> None:
    if card.model != acquisition.model:
        raise DataError(
            f"{what} is for {card.model} signals, the signal model of the series is "
            f"{acquisition.model}"
        )
    if not is_for(card, acquisition):
        train = card.sequence.get("name") or card.sequence["digest"]
        raise DataError(f"{what} was trained for another pulse train ({train})")
    if acquisition.magnitude_only:
        raise DataError(f"{what} needs complex data, the series holds magnitudes only")
    names = parameters_from(card.parameters).names
    here = model_entry(card.model).parameters.names
    if names != here:
        raise DataError(
            f"{what} has the parameters {', '.join(names)}, the signal model has {', '.join(here)}"
        )
    tensors = read_weights(path, card)
    if acquisition.basis is not None:
        check_span(acquisition.basis, complex_array(tensors["sketch"]), what)
    elif "basis" not in tensors:
        raise DataError(
            f"{what} takes coefficients and holds no basis to project time frames with"
        )
    elif len(tensors["basis"]) != acquisition.sequence.n_samples:
        raise DataError(
            f"the basis of {what} has {len(tensors['basis'])} rows, the pulse train has "
            f"{acquisition.sequence.n_samples} samples"
        )
