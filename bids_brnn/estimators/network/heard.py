"""What a network is told of voxels beside the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from bids_brnn.errors import DataError
from bids_brnn.estimators.network.base import NetworkSpecLike
from bids_brnn.estimators.voxels import known_values
from bids_brnn.parameters import ParameterSet

_ROUND_OFF = 1e-6
"""Relative: of values that went through single precision."""


def refuse_unheard(spec: NetworkSpecLike, names: Iterable[str]) -> None:
    """Refuse parameters that the network has no input for: estimates would not follow them.

    Raises
    ------
    DataError
        If there is one.
    """
    unheard = [name for name in names if name not in spec.supplied]
    if unheard:
        raise DataError(
            f"the network has no input for {', '.join(unheard)}, so that its estimates would not "
            "follow what is supplied; leave that out, or use least squares (NllsEstimator)"
        )


def heard_values(
    spec: NetworkSpecLike,
    parameters: ParameterSet,
    supplied: Mapping[str, Tensor] | None,
    data: Tensor,
) -> dict[int, Tensor]:
    """What is known of the voxels of ``data`` ``(V, R)``, by column of ``parameters``.

    A constant that the network takes for granted may be supplied, as that value.

    Raises
    ------
    DataError, ParameterError
        As :func:`~bids_brnn.estimators.voxels.known_values`; if estimates would not follow.
    """
    known = known_values(parameters, supplied, data)

    def is_assumed(name: str) -> bool:
        item = parameters[name]
        values = known[parameters.index((name,))[0]]
        is_start = (values - item.start).abs() <= _ROUND_OFF * abs(item.start)
        return item.role == "supplied" and bool(is_start.all())

    refuse_unheard(spec, [name for name in supplied or () if not is_assumed(name)])
    return known
