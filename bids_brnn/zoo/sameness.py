"""Whether two protocols are the same for a network: by the signal that they make.

Equal tables are equal by digest. A table may differ in what changes no signal, such as the nominal
duration of a pulse that the model takes as instantaneous, or by a rounding error. A card therefore
holds anchors: tissue, and the coefficients that the protocol of training makes of it. Another one
is the same if it makes the same coefficients,

    |c' exp(-i phi) - c| max(|M0| / sigma) <= 0.1    for each of them,

with one phase ``phi`` of all, which belongs to M0: RF pulses that are all turned by an angle turn
nothing but the image. For the images of a Z-spectrum, which are real, it is 0; where several were
averaged in one, they are compared at equal noise.

Equal tables make the same signal by the same signal model only: one with options (a slice profile,
another line shape) is compared in the same way.

An efficient estimator moves by ``G (c' - c)`` with ``G G^T sigma^2`` the Cramer-Rao bound: each of
its estimates by at most 0.1 standard deviations at the highest SNR of training, which is a squared
bias of 0.01 bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import BidsBrnnError, DataError
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals.registry import models
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.weights_file import complex_array, read_weights

if TYPE_CHECKING:
    from torch import Tensor

    from bids_brnn.signals.base import SignalModel

MOST_DIFFERENCE = 0.1
"""Of the coefficients of an anchor, in noise standard deviations at the best SNR of training."""
ANCHORS = 16
"""Tissues of the prior, off-resonance and B1 included, whose signals are compared."""
_SAME_DURATION = 1e-3
"""Largest relative difference of the duration of protocols that are worth a simulation."""
_STEADY = ("periodic", "antiperiodic")
"""Boundary conditions of trains that begin again where they end."""


def anchors_of(theta: Tensor, coefficients: Tensor) -> dict[str, Any]:
    """Anchors as a card holds them.

    Parameters
    ----------
    theta
        ``(n, P)``.
    coefficients
        ``(n, R)``, exact ones at M0 = 1 in the basis of the network.
    """
    pairs = np.stack([coefficients.real.numpy(), coefficients.imag.numpy()], -1)
    return {
        "theta": [[float(f"{v:.9g}") for v in row] for row in theta[:ANCHORS].tolist()],
        "coefficients": [
            [[float(f"{v:.7g}") for v in pair] for pair in row] for row in pairs[:ANCHORS].tolist()
        ],
    }


def same_train(path: Path, card: ModelCard, sequence: PulseSequence | ZSpectrum) -> bool:
    """Whether a network was trained for what ``sequence`` measures.

    Parameters
    ----------
    path
        The card, beside its weights, which hold the basis.
    card
        What it says.
    sequence
        Of the data.
    """
    if card.sequence.get("digest") == sequence.digest:
        return True
    if not _alike(card, sequence):
        return False
    played = _Played(card.model, sequence.digest, sequence)
    told = repr((card.sequence["anchors"], card.network, card.snr_range))
    try:
        return _same_signal(_Question(path, card.weights_sha256, told, played, card))
    except BidsBrnnError:
        # What its model cannot play is another protocol; weights that cannot be read are told
        # where the network is looked at for itself.
        return False


def check_options(
    path: Path,
    card: ModelCard,
    sequence: PulseSequence | ZSpectrum,
    model: SignalModel | None = None,
) -> None:
    """Refuse a network whose signal model has options that change the signal, or lacks them.

    Parameters
    ----------
    path, card, sequence
        As of :func:`same_train`, which comes before this.
    model
        Of the data, without a basis; by default as series are read, without options.

    Raises
    ------
    DataError
        Naming the options.
    """
    learnt, here = card.model_options, {} if model is None else options_of(model)
    if not learnt and not here:
        return
    played = _Played(card.model, sequence.digest, sequence)
    if not _makes_signal(path, card, played, model):
        raise DataError(
            f'the network "{card.name}" was trained with {_told(learnt)} of the signal model, '
            f"the data are taken with {_told(here)}, and signals differ"
        )


def options_of(model: object) -> dict[str, Any]:
    """Options of a signal model, and of those inside it, that are not at their defaults."""
    found: dict[str, Any] = {}
    while is_dataclass(model) and not isinstance(model, type):
        known = [item for item in fields(model) if item.init and item.default is not MISSING]
        values = {item.name: getattr(model, item.name) for item in known}
        # By their texts: an option may be an array, which is neither equal nor unequal.
        found |= {
            item.name: values[item.name]
            for item in known
            if repr(values[item.name]) != repr(item.default)
        }
        model = getattr(model, "model", None)
    return found


def _told(options: Mapping[str, Any]) -> str:
    return f"the options {', '.join(options)}" if options else "no options"


def _alike(card: ModelCard, sequence: PulseSequence | ZSpectrum) -> bool:
    """Whether a comparison of signals is worth while."""
    about, entry = card.sequence, models().get(card.model)
    if "anchors" not in about or about.get("samples") != sequence.n_samples:
        return False
    if isinstance(sequence, ZSpectrum):
        # What is unknown of M0 is no part of the signal, but of what the network was trained for.
        if card.network.get("scale") != sequence.amplitude:
            return False
    elif sequence.start not in _STEADY:
        return entry is not None  # what comes after the last sample may last any time
    known = float(about.get("duration", 0.0))
    return entry is not None and abs(sequence.duration - known) <= _SAME_DURATION * known


@dataclass(frozen=True)
class _Played:
    """A protocol that a signal model describes; equal by digest."""

    model: str
    digest: str
    sequence: PulseSequence | ZSpectrum = field(compare=False)


@dataclass(frozen=True)
class _Question:
    """Whether a network is for what is played; its answer is remembered, an error is not."""

    path: Path
    weights_sha256: str
    told: str
    """All of the card that is compared."""
    played: _Played
    card: ModelCard = field(compare=False)


@lru_cache(maxsize=4)
def _model_of(played: _Played) -> SignalModel:
    """Made once for all cards: the first signal of a Z-spectrum costs seconds of tables."""
    from bids_brnn.information.averaged import Whitened
    from bids_brnn.signals import build_model
    from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

    model: SignalModel = build_model(played.model, played.sequence)
    return Whitened(ObservedR1(model)) if isinstance(played.sequence, ZSpectrum) else model


@lru_cache(maxsize=256)
def _same_signal(question: _Question) -> bool:
    return _makes_signal(question.path, question.card, question.played)


def _makes_signal(
    path: Path, card: ModelCard, played: _Played, model: SignalModel | None = None
) -> bool:
    """Whether a signal model, by default the usual one, makes the anchors of a card again."""
    import torch

    from bids_brnn.information.averaged import Whitened

    arrays = read_weights(path, card)
    if "basis" not in arrays or "anchors" not in card.sequence:
        return False
    basis = complex_array(arrays["basis"])
    try:
        theta, known = _read(card.sequence["anchors"])
    except ValueError:  # rows of unequal length
        return False
    if basis.shape[0] != played.sequence.n_samples:
        return False
    model = _model_of(played) if model is None else Whitened(model)
    count = len(theta)
    if theta.shape != (count, len(model.parameters)) or known.shape != (count, basis.shape[1]):
        return False
    with torch.no_grad():
        signal = model(torch.from_numpy(theta)).numpy()
    found = signal @ basis.conj()
    if card.network.get("scale", "complex") == "complex":
        found = found * np.exp(-1j * np.angle(np.vdot(known, found)))
    difference = np.linalg.norm(found - known, axis=-1).max() * card.snr_range[1]
    return bool(difference <= MOST_DIFFERENCE)


def _read(anchors: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    pairs = np.asarray(anchors["coefficients"], dtype=np.float64)
    return np.asarray(anchors["theta"], dtype=np.float64), pairs[..., 0] + 1j * pairs[..., 1]
