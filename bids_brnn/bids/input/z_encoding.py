"""The protocol of a Z-spectrum (conventional qMT), from sidecars, tables and what a user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bids_brnn.bids.grammar import parse_name
from bids_brnn.bids.images import read_grid
from bids_brnn.bids.input.acquisition import Part
from bids_brnn.bids.input.declared import check_declared
from bids_brnn.bids.input.encoding import Encoding
from bids_brnn.bids.input.inheritance import applicable, metadata_of, nearest_table
from bids_brnn.bids.input.protocol import POINTERS
from bids_brnn.bids.input.series import EITHER_WAY, Series, has_spectra
from bids_brnn.bids.input.z_constants import (
    ProtocolFile,
    Statements,
    constant_columns,
    read_protocol_file,
    read_table_file,
)
from bids_brnn.bids.input.z_rows import Row, read_rows
from bids_brnn.bids.input.z_series import Measurement
from bids_brnn.bids.input.z_table import HOLDS, listed_table, rows_of, with_table
from bids_brnn.bids.safe import read_json
from bids_brnn.errors import DataError, SequenceError
from bids_brnn.sequences.z_spectrum import CONSTANTS, ZSpectrum
from bids_brnn.signals.registry import ModelEntry, model_called, models_by_protocol

REPRESENTATION: Final = "zspectrum"
"""Value of ``SignalRepresentation``."""
PROTOCOL = "zspectrum"
"""Suffix of tables and constants, and ``protocol`` of the models."""
AUTO, ALL = "auto", "all"
_OF_PULSE = ("MTPulseShape", "MTPulseDuration", "MTPulseBandwidth", "MTNumberOfPulses")
"""What says nothing where there was no MT pulse."""


@dataclass(frozen=True)
class SpectrumOptions:
    """What a run says of Z-spectra."""

    file: ProtocolFile | None = None
    """Of ``--zspectrum``."""
    model: str = AUTO
    """Of ``--zspectrum-model``."""

    @classmethod
    def of(cls, path: Path | None, model: str) -> SpectrumOptions:
        """Read the file, if there is one; see :func:`read_protocol_file`."""
        return cls(None if path is None else read_protocol_file(path), model)


def is_spectrum(series: Series, links: Mapping[str, Path], options: SpectrumOptions) -> bool:
    """Whether a series with one file of all volumes is a Z-spectrum.

    What its sidecar says comes first. A magnitude is one if any table of volumes applies to it;
    complex values only if no pulse train does.
    """
    if series.measured or not has_spectra(series.kind):
        return series.measured
    about = metadata_of(series.files[0], series.dataset.root, series.dataset.allowed)
    if "SignalRepresentation" in about:
        return bool(about["SignalRepresentation"] == REPRESENTATION)
    has_table = (
        _table(series, links) is not None
        or (options.file is not None and options.file.table is not None)
        or bool(HOLDS & about.keys())
    )
    has_train = POINTERS["rfpulses"] in about or _nearest(series, links, "rfpulses") is not None
    return has_table and (not has_train or _is_magnitude(series))


def _is_magnitude(series: Series) -> bool:
    parts = [parse_name(path).entities.get("part", "") for path in series.files]
    return all(
        part == "mag" or (part == "" and not read_grid(path).is_complex)
        for part, path in zip(parts, series.files, strict=True)
    )


def read_volumes(
    series: Series,
    found: Sequence[Measurement],
    links: Mapping[str, Path],
    options: SpectrumOptions,
    notes: list[str],
) -> tuple[Encoding, dict[str, Any]]:
    """Protocol and metadata of a series with one file per measurement.

    Raises
    ------
    DataError, SequenceError
        If something is missing, contradictory or impossible.
    """
    metadata = [_agreed(item, series) for item in found]
    shared = _common(metadata)
    check_declared(shared, series.name)
    said = Statements(series.name)
    table = _say_files(series, links, options, said)
    rows = read_rows(found, metadata, said, notes)
    for row, about in zip(rows, metadata, strict=True):
        pulse = {} if row.on else dict.fromkeys(_OF_PULSE)
        said.add_all({**about, **pulse}, row.file, without="FlipAngle")
    if table is not None and table.table is not None:
        rows = with_table(rows, found, table.table, table.path.name, notes)
    if not any(row.angle is not None or row.offset is not None for row in rows) and not any(
        item.labels[1] for item in found
    ):
        raise DataError(f"{found[0].name} is a magnitude image of one volume. {EITHER_WAY}")
    _check_repeated(rows)
    sequence = _protocol(series, rows, said, notes)
    repeats = np.array([len(item.repeats) for item in found], dtype=np.float64)
    if (repeats > 1).any():
        sequence = replace(sequence, weights=repeats)
    tables = {} if table is None else {PROTOCOL: table.path}
    model = _model(series, shared, options).name
    return Encoding(model, REPRESENTATION, sequence, None, tables), shared


def read_image(
    series: Series,
    metadata: Mapping[str, Any],
    n_volumes: int,
    links: Mapping[str, Path],
    options: SpectrumOptions,
    notes: list[str],
) -> Encoding:
    """Protocol of a series with all measurements in one file.

    Raises
    ------
    DataError, SequenceError
        If something is missing, contradictory or impossible.
    """
    check_declared({k: v for k, v in metadata.items() if k not in CONSTANTS}, series.name)
    said = Statements(series.name)
    table = _say_files(series, links, options, said)
    content = listed_table(metadata, series.name)
    if table is not None and table.table is not None:
        content = table.table
    if content is None:
        raise DataError(f"{series.name} has {n_volumes} volumes. {EITHER_WAY}")
    where = series.name if table is None else table.path.name
    said.add_all(metadata, f"the sidecar of {series.name}")
    rows = rows_of(content, metadata, where, series.name)
    if len(rows) != n_volumes:
        raise DataError(f"{series.label} has {n_volumes} volumes, {where} has {len(rows)} rows.")
    sequence = _protocol(series, rows, said, notes)
    tables = {} if table is None else {PROTOCOL: table.path}
    return Encoding(_model(series, metadata, options).name, REPRESENTATION, sequence, None, tables)


def _say_files(
    series: Series, links: Mapping[str, Path], options: SpectrumOptions, said: Statements
) -> ProtocolFile | None:
    """Constants from files of the data set and the command line; the table that holds."""
    path, table = _table(series, links), None
    for constants in reversed(_inherited(series, links)):
        # Nearer files override farther ones, as everywhere in BIDS.
        said.replace_all(read_json(constants), constants.name)
    if path is not None:
        table = read_table_file(path)
        said.add_all(table.constants, path.with_suffix(".json").name)
    given = options.file
    if given is not None:
        name = f"--zspectrum {given.path.name}"
        said.add_all(given.constants, name)
        if given.table is not None and table is not None and given.table != table.table:
            raise DataError(
                f"{series.name}: {table.path.name} and {name} hold different tables; use one."
            )
        table = given if given.table is not None else table
    if table is not None and table.table is not None:
        constant_columns(table.table, said, table.path.name)
    return table


def _table(series: Series, links: Mapping[str, Path]) -> Path | None:
    return _nearest(series, links, PROTOCOL)


def _nearest(series: Series, links: Mapping[str, Path], suffix: str) -> Path | None:
    """The table of a series, else that of the raw data."""
    for image, root in _places(series, links):
        if (found := nearest_table(image, root, suffix)) is not None:
            return found
    return None


def _inherited(series: Series, links: Mapping[str, Path]) -> list[Path]:
    """``zspectrum.json`` files that apply to a series, nearest first."""
    found: list[Path] = []
    for image, root in _places(series, links):
        found += applicable(image, root, suffix=PROTOCOL, extension=".json")
    return found


def _places(series: Series, links: Mapping[str, Path]) -> list[tuple[Path, Path]]:
    image, root = series.files[0], series.dataset.root
    places = [(image, root)]
    if not series.dataset.is_raw and "raw" in links:
        places.append((links["raw"] / image.relative_to(root), links["raw"]))
    return places


def _agreed(item: Measurement, series: Series) -> dict[str, Any]:
    """Metadata of a measurement; what tells it must be the same in all repeats.

    Raises
    ------
    DataError
        Naming the key and the two files.
    """
    root = series.dataset.root
    allowed = series.dataset.allowed
    first = metadata_of(item.files[0], root, allowed)
    for path in item.files[1:]:
        other = metadata_of(path, root, allowed)
        for key in (*HOLDS, *CONSTANTS, "RepetitionTime", "MTState"):
            if first.get(key) != other.get(key):
                raise DataError(
                    f"{item.files[0].name} and {path.name} are repeats, but {key} is "
                    f"{first.get(key)} in one and {other.get(key)} in the other."
                )
        first = {key: value for key, value in first.items() if other.get(key) == value}
    return first


def _common(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = metadata
    return {
        key: value
        for key, value in first.items()
        if all(other.get(key) == value for other in others)
    }


def _check_repeated(rows: Sequence[Row]) -> None:
    seen: dict[tuple[float, float], str] = {}
    for row in rows:
        if row.on and row.angle is not None and row.offset is not None:
            other = seen.setdefault((row.angle, row.offset), row.file)
            if other != row.file:
                raise DataError(
                    f"{other} and {row.file} are the same measurement ({row.angle:g} deg, "
                    f"{row.offset:g} Hz), but are no repeats by their names: call repeats run-1 "
                    "and run-2, or correct the sidecars."
                )


def _protocol(
    series: Series, rows: Sequence[Row], said: Statements, notes: list[str]
) -> ZSpectrum:
    """Rows and constants as a protocol."""
    _check_complete(rows, said, series)
    table = {
        "mt_flip_angle": [repr(row.angle or 0.0) for row in rows],
        "offset": [repr(row.offset or 0.0) for row in rows],
        "mt_state": ["on" if row.on else "off" for row in rows],
    }
    try:
        protocol = ZSpectrum.from_table(table, said.values, name=series.name)
    except SequenceError as error:
        text = str(error).rstrip(".")
        text = text if series.name in text else f"{series.name}: {text}"
        raise SequenceError(f"{text}.") from error
    absent = [key for key in ("MTDelay", "ExcitationDuration") if key not in said.values]
    if absent:
        notes.append(f"{series.name}: no {' and no '.join(absent)}; 0 s is assumed.")
    if "MTPulseBandwidth" not in said.values and protocol.pulse.shape != "HARD":
        notes.append(
            f"{series.name}: no MTPulseBandwidth; the usual one of a {protocol.pulse.shape} pulse "
            "is assumed."
        )
    return protocol


def _check_complete(rows: Sequence[Row], said: Statements, series: Series) -> None:
    """One message of all that is missing.

    Raises
    ------
    DataError
        Listing the keys, with an example.
    """
    lacking = []
    for key, unit, values in (
        ("MTFlipAngle", "deg", [row.angle for row in rows]),
        ("MTOffsetFrequency", "Hz", [row.offset for row in rows]),
    ):
        files = [row.file for row, v in zip(rows, values, strict=True) if row.on and v is None]
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            lacking.append(f"{key} ({unit}, of the MT pulse) of {files[0]}{more}")
    needed = [key for key, (is_needed, _) in CONSTANTS.items() if is_needed]
    constants = [key for key in needed if key not in said.values]
    if not lacking and not constants:
        return
    absent = {key: words for key, (_, words) in CONSTANTS.items() if key not in said.values}
    shown = {key: words for key, words in absent.items() if key != "Normalised"}
    tail = ""
    if all(row.on for row in rows) and "Normalised" not in said.values:
        shown["Normalised"] = "true"
        tail = (
            " No image is without MT pulse either (MTState false, mt-off): add it, or say "
            "Normalised where the images are divided by it."
        )
    example = ", ".join(f'"{key}": {value}' for key, value in shown.items())
    raise DataError(
        f"{series.name}: missing {', '.join([*lacking, *constants])}. Angles are in deg, times in "
        "s, frequencies in Hz; FlipAngle is that of the excitation. Write what is missing into "
        f"the sidecars, into a zspectrum.json at the root of the data set, or into a file for "
        f"--zspectrum, for example {{{example}}}.{tail}"
    )


def _model(series: Series, metadata: Mapping[str, Any], options: SpectrumOptions) -> ModelEntry:
    """The model that the command line names, else the sidecar, else the usual one."""
    given = options.model not in (AUTO, ALL)  # of all, the maps are those of the same one
    named = options.model if given else metadata.get("SignalModel")
    if named is not None:
        try:
            return model_called(str(named), PROTOCOL)
        except DataError as error:
            raise DataError(f"SignalModel of {series.name}: {error}.") from error
    return next(item for item in models_by_protocol(PROTOCOL) if item.kind.name == series.kind)


def magnitude_parts(
    series: Series, parts: Mapping[Part, Path], notes: list[str]
) -> Mapping[Part, Path]:
    """The parts whose magnitude is taken of an image of all volumes."""
    if set(parts) == {"mag"}:
        return parts
    if "mag" in parts:
        notes.append(f"{series.name}: Z-spectra need the magnitude only; the phase is not used.")
        return {"mag": parts["mag"]}
    notes.append(f"{series.name}: the images are complex; their magnitude is used.")
    return parts
