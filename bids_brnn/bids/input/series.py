"""Files of one series: which parts there are, and whether they belong together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bids_brnn.bids.grammar import (
    PARTS,
    FileName,
    measurement_entities,
    parse_name,
    series_entities,
    series_label,
)
from bids_brnn.bids.images import Grid, read_grid, same_grid
from bids_brnn.bids.input.acquisition import Part
from bids_brnn.bids.input.dataset import Dataset
from bids_brnn.bids.input.inheritance import metadata_of, sidecars
from bids_brnn.errors import BidsBrnnError, DataError, InvalidBidsError
from bids_brnn.signals.registry import models_of, series_kind
from bids_brnn.system.kinds import is_text, shown

Key = tuple[str, ...]
USED_KEYS = (
    "SignalRepresentation", "PulseTrain", "SubspaceBasis", "BoundaryCondition", "SignalModel",
    "DephasingPerRepetition", "SpoilingState", "RepetitionTimeExcitation",
    "MagneticFieldStrength", "NoiseStandardDeviation", "B0FieldSource",
    "EchoTime", "InversionTime", "FlipAngle", "SpoilingType",
)  # fmt: skip
"""Metadata that change what is computed: the parts of a series must agree on them."""
EITHER_WAY = (
    "Nothing tells how it was measured: for a series of pulse trains give the phase (part-phase) "
    "and an rfpulses.tsv; for a Z-spectrum (conventional qMT) give a zspectrum.tsv with a row for "
    "each volume (columns mt_flip_angle in deg, offset in Hz, mt_state), beside it, at the root "
    "of the data set or with --zspectrum."
)


@dataclass(frozen=True, eq=False)
class Series:
    """Files of one kind that differ in ``part-`` only, or in what was measured."""

    kind: str
    dataset: Dataset
    files: tuple[Path, ...]
    measured: bool = False
    """Whether each file holds one measurement of a Z-spectrum."""

    @property
    def entities(self) -> dict[str, str]:
        """The entities that tell series apart, by PyBIDS names."""
        own = parse_name(self.files[0]).entities
        telling = _telling(measured=self.measured)
        return {long: own[short] for short, long in telling.items() if short in own}

    @property
    def label(self) -> str:
        """``sub-01_acq-hsfp``: what messages call this series."""
        return series_label(parse_name(self.files[0]), measured=self.measured)

    @property
    def name(self) -> str:
        """``sub-01_acq-hsfp_QMT``."""
        return f"{self.label}_{parse_name(self.files[0]).suffix}"


def group_series(kind: str, dataset: Dataset, paths: Sequence[Path]) -> dict[Key, Series]:
    """Group files by the entities of :func:`~bids_brnn.bids.grammar.series_entities`.

    Volumes that hold one measurement of a Z-spectrum each are one series, repeats (``run-``)
    included; beside them a series of coefficients of the same labels stays one of its own.
    """
    groups: dict[tuple[bool, Key], list[Path]] = {}
    for path in paths:
        name = parse_name(path)
        measured = is_measurement(kind, path, name)
        key = (kind, *series_key(name, measured=measured), "measured" if measured else "")
        groups.setdefault((measured, key), []).append(path)
    return {
        key: Series(kind, dataset, tuple(files), measured)
        for (measured, key), files in groups.items()
    }


def has_spectra(kind: str) -> bool:
    """Whether a kind of series has models of Z-spectra."""
    return any(entry.protocol == "zspectrum" for entry in models_of(kind))


def is_measurement(kind: str, path: Path, name: FileName) -> bool:
    """Whether a file holds one measurement of a Z-spectrum: ``mt-``, or a single magnitude."""
    if not has_spectra(kind):
        return False
    try:
        grid = read_grid(path)
    except BidsBrnnError:  # of a broken file the right error comes when it is read
        return "mt" in name.entities
    if math.prod(grid.shape[3:]) > 1:
        return False
    magnitude = name.entities.get("part", "mag") == "mag" and not grid.is_complex
    return magnitude or "mt" in name.entities


def series_key(name: FileName, *, measured: bool = False) -> Key:
    """The entities of a file name that tell series apart, empty where absent."""
    telling = _telling(measured=measured)
    return tuple(name.entities.get(key, "") for key in series_entities() if key in telling)


def _telling(*, measured: bool) -> dict[str, str]:
    dropped = measurement_entities() if measured else frozenset[str]()
    return {short: long for short, long in series_entities().items() if short not in dropped}


def choose_parts(series: Series, notes: list[str], *, spectrum: bool = False) -> dict[Part, Path]:
    """The files to read: real and imag, else one complex file, else mag and phase.

    Of a ``spectrum`` (conventional qMT) the magnitude alone will do, and comes first.

    Raises
    ------
    DataError
        If a partner is missing, a part exists twice, or only a magnitude is there and the kind
        of series needs the phase.
    """
    found = _by_part(series)
    if spectrum and "mag" in found:
        return {part: path for part, path in found.items() if part in ("mag", "phase")}
    if {"real", "imag"} <= found.keys():
        if len(found) > 2:
            rest = ", ".join(found[part].name for part in sorted(found.keys() - {"real", "imag"}))
            notes.append(f"{series.name}: part-real and part-imag are used, {rest} is not.")
        return {"real": found["real"], "imag": found["imag"]}
    if "complex" in found:
        return {"complex": found["complex"]}
    if {"mag", "phase"} <= found.keys():
        return {"mag": found["mag"], "phase": found["phase"]}
    rule = series_kind(series.kind)
    needs = f"{rule.title} needs complex coefficients; magnitude alone cannot be used."
    if set(found) == {"mag"} and has_spectra(series.kind):
        needs += f" {EITHER_WAY}"
    if "mag" in found and rule.magnitude_allowed:
        notes.append(
            f"{series.name}: magnitude only; it can be matched with a dictionary of magnitudes."
        )
        return {"mag": found["mag"]}
    part, path = next(iter(found.items()))
    partner = {"real": "imag", "imag": "real", "mag": "phase", "phase": "mag"}[part]
    if rule.magnitude_allowed:
        needs = "Add it, or give the magnitude alone."
    if "part" not in parse_name(path).entities:
        raise DataError(f"{path.name} is a magnitude image. {needs}")
    raise DataError(f"{path.name} has no part-{partner} partner. {needs}")


def _by_part(series: Series) -> dict[Part, Path]:
    found: dict[Part, Path] = {}
    for path in series.files:
        part = parse_name(path).entities.get("part")
        if part is None:
            part = "complex" if read_grid(path).is_complex else "mag"
        elif part not in PARTS:
            raise DataError(f"{path.name}: part-{part} is unknown; use one of {', '.join(PARTS)}.")
        other = found.setdefault(cast("Part", part), path)
        if other != path:
            raise DataError(
                f"{other.name} and {path.name} would be the same series; choose one with "
                "--bids-filter-file."
            )
    return found


def check_grids(series: Series, parts: Mapping[Part, Path]) -> Grid:
    """The grid of a series, always with four axes.

    Raises
    ------
    DataError
        If the parts differ in shape or affine, or are not 4D.
    """
    grids = {part: read_grid(path) for part, path in parts.items()}
    (part, first), *others = grids.items()
    for other, grid in others:
        if grid.shape != first.shape:
            raise DataError(
                f"{series.label}: part-{part} is {_times(first)}, part-{other} is {_times(grid)}. "
                "Both parts must have one shape and affine."
            )
        if not same_grid(first, grid):
            raise DataError(
                f"{series.label}: the affines of part-{part} and part-{other} differ. "
                "Both parts must have one shape and affine."
            )
    if len(first.shape) != 4:
        raise DataError(
            f"{first.path.name} has {len(first.shape)} axes ({_times(first)}); four are needed, "
            "the last one for coefficients or frames."
        )
    for grid in grids.values():
        if grid.is_complex != (part == "complex"):
            raise DataError(f"{grid.path.name} holds complex voxels, but its name says one part.")
    return first


def _times(grid: Grid) -> str:
    return "x".join(str(n) for n in grid.shape)


def series_metadata(series: Series, parts: Mapping[Part, Path]) -> dict[str, Any]:
    """Metadata of a series; the phase must be in radians.

    Keys that are not in :data:`USED_KEYS` may differ between parts (``ImageType`` always does);
    of those that do, none holds for the series.

    Raises
    ------
    DataError
        If ``Units`` of the phase are not ``rad``, or two parts differ in a key that is used.
    InvalidBidsError
        If a sidecar cannot be read.
    """
    root = series.dataset.root
    merged: dict[str, Any] = {}
    differing: set[str] = set()
    for part, path in parts.items():
        own = metadata_of(path, root, series.dataset.allowed)
        units = own.pop("Units", None)
        if units is not None and not is_text(units):
            raise DataError(f"Units of {path.name} is {shown(units)}; write a text.")
        if part == "phase" and units != "rad":
            stem = path.name.partition(".")[0]
            said = "missing" if units is None else f'"{units}"'
            raise DataError(f'{stem}.json: Units is {said}; radians are needed ("rad").')
        for key, value in own.items():
            if merged.setdefault(key, value) != value:
                differing.add(key)
    for key in USED_KEYS:
        if key in differing:
            raise DataError(f"{series.label}: {key} differs between the parts.")
    return {key: value for key, value in merged.items() if key not in differing}


def looked_in(series: Series) -> str:
    """Sidecars of a series, for messages: those that exist, else those that could."""
    root = series.dataset.root
    existing = [path.name for path in sidecars(series.files[0], root, series.dataset.allowed)]
    name = parse_name(series.files[0])
    tail = [f"acq-{name.entities['acq']}"] if "acq" in name.entities else []
    shared = "_".join([*tail, name.suffix])
    return ", ".join(existing or [f"{series.name}.json", f"{shared}.json"])


def check_subject(path: Path) -> None:
    """Refuse a file whose name and folder speak of different participants.

    Raises
    ------
    InvalidBidsError
        Naming the file.
    """
    entities = parse_name(path).entities
    folders = {part for part in path.parts if part.startswith(("sub-", "ses-"))} - {path.name}
    for key in ("sub", "ses"):
        inside = [folder for folder in folders if folder.startswith(f"{key}-")]
        if inside and f"{key}-{entities.get(key, '')}" not in inside:
            raise InvalidBidsError(f"{path.name} lies in {inside[0]}; folder and name must agree.")
