"""Whether a network can serve a series, told before anything is estimated; needs no torch."""

from __future__ import annotations

from pathlib import Path

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.declared import number
from bids_brnn.errors import DataError
from bids_brnn.signals.registry import model_entry
from bids_brnn.zoo.card import ModelCard, parameters_from, same_field
from bids_brnn.zoo.sameness import check_options, same_train
from bids_brnn.zoo.span import check_span
from bids_brnn.zoo.weights_file import complex_array, read_weights


def is_for(path: Path, card: ModelCard, acquisition: Acquisition) -> bool:
    """Whether the network of the card ``path`` was trained for the pulse train of a series."""
    if card.sequence["digest"] == acquisition.sequence.digest:
        return True
    return card.model == acquisition.model and same_train(path, card, acquisition.sequence)


def _field_of(acquisition: Acquisition) -> float | None:
    return number(acquisition.metadata, "MagneticFieldStrength", acquisition.name)


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
        If it is for another signal model (or options of it), pulse train or basis, or holds no
        basis for frames.
    ReadError
        If its weights are absent or not those of the card.
    """
    what = f'the network "{card.name}"'
    if card.model != acquisition.model:
        raise DataError(
            f"{what} is for {card.model} signals, the signal model of the series is "
            f"{acquisition.model}"
        )
    if not is_for(path, card, acquisition):
        train = card.sequence.get("name") or card.sequence["digest"]
        raise DataError(f"{what} was trained for another pulse train ({train})")
    check_options(path, card, acquisition.sequence)
    trained, field = card.field_strength, _field_of(acquisition)
    if trained is not None and field is not None and not same_field(trained, field):
        raise DataError(
            f"{what} was trained for tissue at {trained:g} T, MagneticFieldStrength of "
            f"{acquisition.name} is {field:g} T; its estimates would be drawn to tissue at "
            "another field"
        )
    spectrum = acquisition.representation == "zspectrum"
    if acquisition.magnitude_only and not spectrum:
        raise DataError(f"{what} needs complex data, the series holds magnitudes only")
    names = parameters_from(card.parameters).names
    here = model_entry(card.model).sought.names
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
    else:
        wanted = (acquisition.sequence.n_samples, int(card.network["n_coefficients"]), 2)
        if tensors["basis"].shape != wanted:
            raise DataError(
                f"the basis of {what} has the shape {tensors['basis'].shape[:2]}, pulse train and "
                f"network need {wanted[:2]}"
            )
