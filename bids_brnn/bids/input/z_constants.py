"""What all measurements of a Z-spectrum share, gathered from everywhere; it must agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_brnn.bids.safe import read_json
from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import (
    DataError,
    ReadError,
    SequenceError,
    UsageError,
    nearest,
    unknown_names,
)
from bids_brnn.sequences.columns import REMARKS, check_units
from bids_brnn.sequences.z_spectrum import COLUMNS, CONSTANTS
from bids_brnn.sequences.z_words import UNITS

Table = Mapping[str, list[str]]
LABELS = ("flip", "mt")
"""Columns that say which file of a series a row is of."""
ALIASES = {"RepetitionTime": "RepetitionTimeExcitation"}
"""Other names of constants, read where the right one is not there."""
SHARED = ("MagneticFieldStrength", "NoiseStandardDeviation", "SignalModel")
"""Read from the sidecar of a series alone; what is said elsewhere must not contradict it."""
_ALIKE = {"MagneticFieldStrength": 0.05}
"""Relative differences that are none: scanners of 3 T say 2.89."""
_LIKENESS = 0.84


@dataclass
class Statements:
    """Constants of a series, and where each was said."""

    name: str
    """Of the series, for messages."""
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, value: Any, source: str) -> None:
        """Take note of a constant; None says nothing.

        Raises
        ------
        DataError
            If another source says something else.
        """
        if value is None:
            return
        if key not in self.values:
            self.values[key], self.sources[key] = value, source
        elif not _equal(self.values[key], value, _ALIKE.get(key, 1e-6)):
            raise DataError(
                f"{self.name}: {key} is {self.values[key]} in {self.sources[key]}, but {value} in "
                f"{source}; all measurements share it: correct one of them."
            )

    def add_all(self, about: Mapping[str, Any], source: str, *, without: str = "") -> None:
        """Take note of all constants of a sidecar; a list says one for each image."""
        for key in (*CONSTANTS, *SHARED):
            if key != without:
                self._add_each(key, about.get(key), source)
        for other, key in ALIASES.items():
            if key not in about:
                self._add_each(key, about.get(other), source)
        _check_pulses(about, source)

    def replace_all(self, about: Mapping[str, Any], source: str) -> None:
        """Take note of all constants of a sidecar, in place of what was said of them before."""
        for key in (*CONSTANTS, *SHARED):
            if about.get(key) is not None:
                self.values.pop(key, None)
        self.add_all(about, source)

    def _add_each(self, key: str, value: Any, source: str) -> None:
        values = value if isinstance(value, list) else [value]
        for index, item in enumerate(values, 1):
            self.add(key, item, source if index == 1 else f"value {index} of it in {source}")

    def number(self, key: str) -> float | None:
        """A constant as a number; None where it is absent or none."""
        try:
            return float(self.values[key])
        except (KeyError, TypeError, ValueError):
            return None


def _check_pulses(about: Mapping[str, Any], source: str) -> None:
    """Refuse more than one MT pulse for each excitation, also where other slices bring them.

    Raises
    ------
    DataError
        Naming the key.
    """
    pulses = about.get("MTNumberOfPulses")
    every = pulses if isinstance(pulses, list) else [pulses]
    if any(item not in (None, 1) for item in every):
        raise DataError(
            f"{source}: MTNumberOfPulses is {pulses}; the models here know one MT pulse per "
            "excitation. Leave the series out with --bids-filter-file."
        )
    times = about.get("SliceTiming")
    repetition = about.get("RepetitionTimeExcitation", about.get("RepetitionTime"))
    if not isinstance(times, list) or isinstance(repetition, bool):
        return
    numbers = sorted({round(float(time), 4) for time in times if isinstance(time, int | float)})
    # A list says it for each image; whether they agree is looked at elsewhere.
    every = repetition if isinstance(repetition, list) else [repetition]
    span = max((time for time in every if isinstance(time, int | float)), default=math.inf)
    within = [time for time in numbers if time - numbers[0] < span]
    if len(within) > 1:
        raise DataError(
            f"{source}: SliceTiming has {len(within)} times within one repetition, so that each "
            "slice sees the MT pulses of all slices; the models here know one MT pulse per "
            "excitation. Leave the series out with --bids-filter-file, or remove SliceTiming if "
            "the slices are not excited in turns."
        )


def _equal(first: Any, second: Any, tolerance: float) -> bool:
    try:
        return math.isclose(float(first), float(second), rel_tol=tolerance)
    except (TypeError, ValueError):
        return str(first).strip().lower() == str(second).strip().lower()


@dataclass(frozen=True)
class ProtocolFile:
    """What a user says of Z-spectra in one file: JSON, or TSV with a JSON of its name beside."""

    path: Path
    constants: Mapping[str, Any]
    table: Table | None = None


def read_protocol_file(path: Path) -> ProtocolFile:
    """Read the file of ``--zspectrum``.

    Raises
    ------
    UsageError
        If it is neither JSON nor TSV, or a key is unknown.
    DataError, ReadError, InvalidBidsError
        If it cannot be read.
    """
    if not path.is_file():
        raise ReadError(f"--zspectrum: {path} does not exist.")
    if path.suffix == ".json":
        return ProtocolFile(path, _known(read_json(path), path))
    if path.suffix == ".tsv":
        return read_table_file(path)
    raise UsageError(
        f"--zspectrum: {path.name} is neither a .json with constants nor a .tsv with a row per "
        "measurement."
    )


def read_table_file(path: Path) -> ProtocolFile:
    """A ``zspectrum.tsv`` and the JSON beside it."""
    beside = path.with_suffix(".json")
    constants = _known(read_json(beside), beside) if beside.is_file() else {}
    try:
        check_units(constants, beside.name, UNITS)
    except SequenceError as error:
        raise DataError(f"{error}.") from error
    return ProtocolFile(path, constants, read_columns(path))


def _known(content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Content of a file; misspelt keys are refused, what is said of columns is left aside."""
    known = (*CONSTANTS, *ALIASES)
    for key in content:
        meant = nearest(key, known, likeness=_LIKENESS)
        if key not in known and meant and meant not in content:
            raise DataError(
                f'"{key}" in {path.name} is not a key that is read; did you mean "{meant}"? '
                "Rename it."
            )
    return content


def constant_columns(table: Table, said: Statements, source: str) -> None:
    """Take note of constants that stand in columns.

    Raises
    ------
    DataError
        If a column is unknown, or a constant differs between rows.
    """
    known = [*COLUMNS, *CONSTANTS, *LABELS]
    if unknown := sorted(set(table) - {*known, *REMARKS}):
        text = unknown_names(source, "column", unknown, known)
        raise DataError(f"{text} (remarks may stand in a column called comment).")
    for key in CONSTANTS.keys() & table.keys():
        for value in table[key]:
            said.add(key, value, source)
