"""Signal models: physics as functions of tissue parameters.

:data:`SIGNALS` maps the name of a model to its class; a class is imported when it is first asked
for. To add a model, write its module and add one line to ``_HOMES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bids_brnn.errors import DataError

if TYPE_CHECKING:
    from bids_brnn.sequences.pulse_sequence import PulseSequence
    from bids_brnn.signals.base import SignalModel

_HOMES = {
    "gbloch": ("two_pools.generalized_bloch", "GeneralizedBloch"),
    "fisp": ("one_pool.fisp", "EpgFisp"),
    "bssfp": ("one_pool.bssfp", "BalancedSsfp"),
}


class _Registry(Mapping[str, "Callable[..., SignalModel]"]):
    """Names of models to classes."""

    def __getitem__(self, kind: str) -> Callable[..., SignalModel]:
        module, name = _HOMES[kind]
        model: Callable[..., SignalModel] = getattr(import_module(f"{__name__}.{module}"), name)
        return model

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


SIGNALS: Mapping[str, Callable[..., SignalModel]] = _Registry()
"""Model classes by name; each takes a ``PulseSequence`` first."""


def build_model(kind: str, sequence: PulseSequence, **options: Any) -> SignalModel:
    """Build a signal model by name.

    Parameters
    ----------
    kind
        A key of :data:`SIGNALS`.
    sequence
        Pulse trains.
    **options
        Keyword arguments of the class.

    Raises
    ------
    DataError
        If there is no such model or it has no such option.
    SequenceError
        If the model cannot simulate the sequence.
    """
    if kind not in SIGNALS:
        raise DataError(f'signal model "{kind}" is unknown; use one of {", ".join(SIGNALS)}')
    model = SIGNALS[kind]
    allowed = [name for name in getattr(model, "__dataclass_fields__", {}) if name != "sequence"]
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise DataError(
            f'signal model "{kind}" has no option {", ".join(unknown)}; '
            f"it has {', '.join(allowed)}"
        )
    return model(sequence, **options)


def __getattr__(name: str) -> Any:
    for kind, (_, class_name) in _HOMES.items():
        if class_name == name:
            return SIGNALS[kind]
    raise AttributeError(f"module {__name__} has no attribute {name}")
