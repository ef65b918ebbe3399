"""The trained network that fits a signal model, its pulse train and its basis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_brnn.errors import DataError, ReadError
from bids_brnn.estimators.network.estimator import NetworkEstimator, Spread
from bids_brnn.estimators.network.forward import Precision
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.base import SignalModel, amplitude_of, weights_of
from bids_brnn.signals.registry import models, resolve
from bids_brnn.signals.subspace import CompressedSignal, Subspace
from bids_brnn.zoo.card import LOSSES_BY_PREFERENCE, ModelCard, parameters_from
from bids_brnn.zoo.choice import by_preference, card_path
from bids_brnn.zoo.sameness import check_options, same_train
from bids_brnn.zoo.store import StoredModel, list_cards, load_model


class NoMatchingModelError(DataError):
    """No trained model fits the pulse train and the basis."""


def load_network(
    model: SignalModel,
    kind: str | None = None,
    *,
    weights: str | Path = "auto",
    loss: str | None = None,
    precision: Precision | None = None,
    spread: Spread | None = None,
) -> NetworkEstimator:
    """The trained network for a signal model, its pulse train and its basis; never a guess.

    Parameters
    ----------
    model
        Model of the data, usually a :class:`~bids_brnn.signals.subspace.CompressedSignal`.
    kind
        Its name in the registry; by default told from its class.
    weights
        ``"auto"``: the trained model made for this pulse train and subspace that was evaluated
        and found good (:attr:`ModelCard.shortcoming`); or the name of any model, or a path.
    loss
        With ``"auto"``: prefer models trained with this loss; by default the least biased.
    precision, spread
        See ``NetworkEstimator``; the precision is by default
        ``bf16`` where the card states an error below 0.05 Cramer-Rao standard deviations, the
        spread ``learnt`` where the network has learnt its errors, else ``jacobian``.

    Raises
    ------
    NoMatchingModelError
        In one sentence, with the command that trains a fitting model.
    DataError
        If ``loss``, ``precision`` or ``spread`` is no word that is known.
    """
    if loss is not None and loss not in LOSSES_BY_PREFERENCE:
        raise DataError(f'loss "{loss}" is unknown; use {", ".join(LOSSES_BY_PREFERENCE)}')
    sequence = _innermost(model).sequence
    kind = kind or _name_of(_innermost(model))
    subspace = model.subspace if isinstance(model, CompressedSignal) else None
    frames = model.model if isinstance(model, CompressedSignal) else model
    if weights != "auto":
        stored = load_model(weights)
        _check_fit(card_path(weights), stored.card, kind, sequence)
        try:
            _check_model(card_path(weights), stored.card, sequence, frames)
            return _estimator(stored, model, precision, spread)
        except DataError as error:
            raise NoMatchingModelError(f"{error}; {_advice(kind, subspace)}") from error
    reasons = []
    cards = [(path, card) for path, card in list_cards() if card.model == kind]
    cards = [item for item in cards if same_train(*item, sequence)]
    for path, card in sorted(by_preference(cards), key=lambda item: item[1].loss != loss):
        if card.shortcoming:
            reasons.append(f'the model "{card.name}" is left aside: {card.shortcoming}')
            continue
        try:
            _check_model(path, card, sequence, frames)
            return _estimator(load_model(path), model, precision, spread)
        except (DataError, ReadError) as error:
            reasons.append(str(error))
    why = reasons[0] if reasons else f"no trained {kind} model has this pulse train"
    raise NoMatchingModelError(f"{why}; {_advice(kind, subspace)}")


def _estimator(
    stored: StoredModel, model: SignalModel, precision: Precision | None, spread: Spread | None
) -> NetworkEstimator:
    subspace = model.subspace if isinstance(model, CompressedSignal) else None
    found = stored.estimator(
        subspace=subspace, parameters=model.parameters, precision=precision, spread=spread
    )
    weights = weights_of(model)
    if weights is not None and found.rotation is not None:  # as in training: the same noise in all
        root = weights.sqrt().to(found.rotation)
        found = replace(found, rotation=root[:, None] * found.rotation)
    return replace(found, exact=model)


def _check_fit(
    path: Path, card: ModelCard, kind: str, sequence: PulseSequence | ZSpectrum
) -> None:
    if card.model != kind:
        raise NoMatchingModelError(
            f'the model "{card.name}" is for {card.model} signals, the data are {kind}; '
            f"{_advice(kind, None)}"
        )
    if not same_train(path, card, sequence):
        raise NoMatchingModelError(
            f'the model "{card.name}" was trained for another pulse train '
            f"({card.sequence['name'] or card.sequence['digest']}); {_advice(kind, None)}"
        )


def _check_model(
    path: Path, card: ModelCard, sequence: PulseSequence | ZSpectrum, frames: SignalModel
) -> None:
    """Refuse a network that learnt other data than a model of time frames or images describes.

    Raises
    ------
    DataError
        Saying what differs.
    """
    what = f'the model "{card.name}"'
    names = parameters_from(card.parameters).names
    if frames.parameters.names != names:
        raise DataError(
            f"{what} has the parameters {', '.join(names)}, the signal model has "
            f"{', '.join(frames.parameters.names)}"
        )
    if (scale := amplitude_of(frames)) != card.network.get("scale", "complex"):
        raise DataError(
            f"{what} is for data whose M0 is {card.network.get('scale', 'complex')}, that of the "
            f"signal model is {scale} (magnitudes are real)"
        )
    check_options(path, card, sequence, frames)


def _advice(kind: str, subspace: Subspace | None) -> str:
    rank = subspace.rank if subspace is not None else 15
    return (
        f'write model = "{kind}", sidecar = "<its JSON>" and rank = {rank} into my.toml and run: '
        "brnn train my.toml OUT"
    )


def _innermost(model: Any) -> Any:
    """The model that knows its pulse train, within those that wrap it."""
    while not isinstance(getattr(model, "sequence", None), PulseSequence | ZSpectrum):
        model = getattr(model, "model", None)
        if model is None:
            raise DataError("a network needs a signal model that knows its pulse train")
    return model


def _name_of(model: object) -> str:
    for name, entry in models().items():
        if resolve(entry.home) is type(model):
            return name
    raise DataError(f"{type(model).__name__} is no signal model of the registry; give its kind")
