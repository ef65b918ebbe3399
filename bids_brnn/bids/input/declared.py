"""What the sidecar of a series may declare: our keys, and the units and ranges of its numbers.

Every number that is used is named here once, so that nothing impossible is taken, and a key that
was misspelt is pointed out instead of being replaced by a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_brnn.errors import DataError, nearest


@dataclass(frozen=True)
class Number:
    """A number that sidecars declare."""

    low: float
    high: float
    unit: str
    either_sign: bool = False
    """Whether the range is that of the absolute value."""
    reason: str = ""

    @property
    def words(self) -> str:
        """What is right, for messages."""
        sign = ", of either sign" if self.either_sign else ""
        return f"one number from {self.low:g} to {self.high:g} {self.unit}{sign}{self.reason}"

    def holds(self, value: object) -> bool:
        """Whether ``value`` is a number of the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        size = abs(value) if self.either_sign else value
        return math.isfinite(size) and self.low <= size <= self.high


NUMBERS: Mapping[str, Number] = {
    "MagneticFieldStrength": Number(0.01, 25.0, "T"),
    # The pause after a train; it is compared with the onsets of the table too.
    "RepetitionTimeExcitation": Number(1e-4, 100.0, "s"),
    # 360 is a turn in degrees.
    "DephasingPerRepetition": Number(
        6.27, 100.0, "rad", either_sign=True,
        reason=": the FISP model needs a full turn (6.2832) across a voxel or more",
    ),
    # Values of single-precision images; the data themselves are asked too.
    "NoiseStandardDeviation": Number(1e-30, 1e30, "in the units of the images, per channel"),
}  # fmt: skip
"""Numbers of the sidecar of a series that are used."""
KEYS = (
    "SignalRepresentation", "SignalModel", "BoundaryCondition", "PulseTrain", "SubspaceBasis",
    "SpoilingState", *NUMBERS,
)  # fmt: skip
"""All keys of the sidecar of a series that are used."""
_LIKENESS = 0.84
"""Of a misspelt key; terms of BIDS, such as RepetitionTimePreparation, are less like ours."""


def number(metadata: Mapping[str, Any], key: str, where: str) -> float | None:
    """A declared number, or None where the key is absent.

    Raises
    ------
    DataError
        If the value is not a number of its range.
    """
    value = metadata.get(key)
    if value is None:
        return None
    if not NUMBERS[key].holds(value):
        shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:36]} ..."
        raise DataError(f"{key} of {where} is {shown}; write {NUMBERS[key].words}.")
    return float(value)


def check_declared(metadata: Mapping[str, Any], where: str) -> None:
    """Refuse impossible values of the keys that are used, and misspelt keys.

    Parameters
    ----------
    metadata
        Of a series, all its sidecars merged.
    where
        Name of the series.

    Raises
    ------
    DataError
        Naming key and value.
    """
    for key in metadata:
        meant = nearest(key, KEYS, likeness=_LIKENESS)
        if key not in KEYS and meant and meant not in metadata:
            raise DataError(
                f'"{key}" in the sidecar of {where} is not a key that is read; did you mean '
                f'"{meant}"? Rename it.'
            )
    for key in NUMBERS:
        number(metadata, key, where)
    spoiled = metadata.get("SpoilingState")
    if spoiled is not None and not isinstance(spoiled, bool):
        raise DataError(f"SpoilingState of {where} is {spoiled!r}; write true or false.")
