"""Signal models: physics as functions of tissue parameters.

What each model is called, needs and offers stands in :mod:`bids_brnn.signals.registry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_brnn.errors import DataError, SequenceError
from bids_brnn.signals.registry import (
    PROTOCOLS,
    ModelEntry,
    SeriesKind,
    model_called,
    model_entry,
    models,
    models_by_protocol,
    register_model,
    resolve,
)

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.sequences.z_spectrum import ZSpectrum
    from bids_brnn.signals.base import SignalModel

__all__ = [
    "ModelEntry",
    "SeriesKind",
    "build_model",
    "model_called",
    "model_entry",
    "models",
    "models_by_protocol",
    "register_model",
]


def build_model(kind: str, sequence: PulseSequence | ZSpectrum, **options: Any) -> SignalModel:
    """Build a signal model by name.

    Parameters
    ----------
    kind
        Name of a model of the registry: ``gbloch``, ``fisp``, ``bssfp`` ...
    sequence
        Pulse trains, or the protocol of a Z-spectrum.
    **options
        Keyword arguments of the class.

    Raises
    ------
    DataError
        If there is no such model or it has no such option.
    SequenceError
        If the model cannot simulate the sequence.
    """
    entry = model_entry(kind)
    fields = getattr(resolve(entry.home), "__dataclass_fields__", {})
    allowed = [name for name in fields if name != "sequence"]
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise DataError(
            f'signal model "{kind}" has no option {", ".join(unknown)}; '
            f"it has {', '.join(allowed)}"
        )
    from bids_brnn.sequences.z_spectrum import ZSpectrum

    given = "zspectrum" if isinstance(sequence, ZSpectrum) else "pulses"
    if entry.protocol != given:
        others = ", ".join(item.name for item in models_by_protocol(given))
        raise SequenceError(
            f'signal model "{kind}" describes {PROTOCOLS[entry.protocol]}, not '
            f"{PROTOCOLS[given]}; use one of {others}"
        )
    return entry.build(sequence, **options)
