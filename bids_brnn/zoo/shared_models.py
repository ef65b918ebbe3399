"""Signal models that are built once in a process, however many steps ask for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from bids_brnn.zoo.recipe_file import digest_of
from bids_brnn.zoo.sequences import arrays_of, values_of

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.sequences.z_spectrum import ZSpectrum
    from bids_brnn.signals.base import SignalModel

_MODELS: dict[str, SignalModel] = {}
_MOST = 16  # protocols of a large study may all differ a little
_LOCK = Lock()


def shared_model(
    name: str, sequence: PulseSequence | ZSpectrum, options: Mapping[str, Any]
) -> SignalModel:
    """The model ``name`` of the registry; the same object for the same protocol and options.

    Networks, fits and the bounds and spectra of a page ask the same model, whose tables take
    seconds and are kept in it.

    Raises
    ------
    BidsBrnnError
        As :func:`bids_brnn.signals.build_model`.
    """
    from bids_brnn.signals import build_model

    about = [
        name,
        dict(options),
        sequence.name,
        values_of(sequence),
        digest_of(arrays_of(sequence)),
    ]
    try:
        key = json.dumps(about, sort_keys=True)
    except TypeError:  # an option that no text stands for
        return build_model(name, sequence, **options)
    with _LOCK:  # once, however many threads ask
        if key not in _MODELS and len(_MODELS) >= _MOST:
            del _MODELS[next(iter(_MODELS))]
        # The one that was asked for last goes last.
        model = _MODELS.pop(key, None)
        _MODELS[key] = build_model(name, sequence, **options) if model is None else model
        return _MODELS[key]
