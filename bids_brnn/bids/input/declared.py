"""What sidecars may declare: the keys that are read, with their types, units and ranges.

Every key that is used is named here once, so that nothing impossible is taken, a value of another
type costs its series and nothing else, and a key that was misspelt is pointed out instead of
being replaced by a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bids_brnn.errors import DataError, nearest
from bids_brnn.system.kinds import Flag, Kind, ListOf, Number, Text, is_text, problem

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
_NAME = Text(words="a text of one line")
_URI = Text(words="a BIDS URI such as bids::acq-hsfp_rfpulses.tsv")
SERIES: Mapping[str, Kind] = {
    "SignalRepresentation": _NAME,
    "SignalModel": _NAME,
    "BoundaryCondition": _NAME,
    "PulseTrain": _URI,
    "SubspaceBasis": _URI,
    "SpoilingState": Flag(),
    **NUMBERS,
    "B0FieldSource": ListOf(_NAME, or_one=True),
    "Units": _NAME,
}
"""All keys of the sidecar of a series that are used."""
KEYS = tuple(key for key in SERIES if key not in ("B0FieldSource", "Units"))
"""Those of them that are ours, or ours to read: what others are likely misspelt of."""


class About(NamedTuple):
    """What a key of the sidecar of a series is for."""

    values: str
    """What it may hold, or its unit."""
    qmt: str
    """Whether a series of qMT needs it."""
    mrf: str
    absent: str
    """What holds where it is absent."""


ABOUT: Mapping[str, About] = {
    "SignalRepresentation": About("`subspace` or `time`", "required", "required", "error"),
    "PulseTrain": About(
        "BIDS URI, or an inherited `_rfpulses.tsv`", "required", "required", "error"
    ),
    "SubspaceBasis": About(
        "BIDS URI, or an inherited `_basis.tsv`", "with `subspace`", "with `subspace`", "error"
    ),
    "BoundaryCondition": About(
        "`antiperiodic`, `periodic`, `thermal`, `inversion`", "optional", "optional",
        "`antiperiodic` for qMT, `thermal` for MRF; noted in the log",
    ),
    "DephasingPerRepetition": About(
        "rad", "", "needed unless the table has a `gradient` column", "error"
    ),
    "SpoilingState": About(
        "`false`", "",
        "without `DephasingPerRepetition` and `gradient` column: balanced, bSSFP fingerprinting",
        "",
    ),
    "SignalModel": About(
        "name of a signal model", "optional", "optional",
        "the first model of the kind of series that serves its pulse train",
    ),
    "RepetitionTimeExcitation": About(
        "s", "optional", "optional", "the last interval of a train is that before it"
    ),
    "MagneticFieldStrength": About("T", "recommended", "recommended", "noted in the log"),
    "NoiseStandardDeviation": About(
        "in the units of the images, per channel", "optional", "optional",
        "estimated from the data",
    ),
}  # fmt: skip
"""Every key of :data:`KEYS`, in the order of the documentation."""
_LONGEST_KEY, _MOST_KEYS = 40, 1000
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
    if text := problem(NUMBERS[key], value, f"{key} of {where}"):
        raise DataError(f"{text}.")
    return float(value)


def texts(metadata: Mapping[str, Any], *keys: str) -> list[str]:
    """The texts of keys that hold one or a list, such as ``IntendedFor`` and ``Sources``.

    Those of foreign files are not ours to judge: what can be no name is left out.
    """
    found: list[str] = []
    for key in keys:
        value = metadata.get(key)
        items = value if isinstance(value, list) else [value]
        found += [item for item in items if item and is_text(item)]
    return found


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
    # Long names, and names by the thousand, are not misspelt but made; comparing takes long.
    short = [key for key in metadata if len(key) <= _LONGEST_KEY][:_MOST_KEYS]
    for key in short:
        meant = nearest(key, KEYS, likeness=_LIKENESS)
        if key not in KEYS and meant and meant not in metadata:
            raise DataError(
                f'"{key}" in the sidecar of {where} is not a key that is read; did you mean '
                f'"{meant}"? Rename it.'
            )
    for key, kind in SERIES.items():
        value = metadata.get(key)
        if value is None or kind is _URI:  # of these, resolve_uri says more
            continue
        if text := problem(kind, value, f"{key} of {where}"):
            raise DataError(f"{text}.")
