"""A series with all that goes with it, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing.pictures import Picture, Place, read_map
from bids_brnn.parameters import FIELD_MAPS, MapUnit
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.voxels import times


@dataclass(frozen=True)
class MapKind:
    """A map that goes with a series."""

    suffix: str
    option: str
    """That names its file."""
    units: tuple[str, ...] = ()
    """That it may be in; empty where it has none."""
    words: str = ""
    """Of its sidecar."""


MAPS: Mapping[str, MapKind] = {
    "R1": MapKind("R1map", "--r1-map", ("1/s",), "Observed longitudinal relaxation rate"),
    "T1": MapKind("T1map", "--t1-map", ("s", "ms"), "Observed longitudinal relaxation time"),
    "B1": MapKind("TB1map", "--b1-map", ("1", "percent"), "Actual over nominal flip angle"),
    "B0": MapKind(
        "B0map", "--b0-map", ("Hz", "rad/s"), "Frequency of water less that of the scanner"
    ),
    "mask": MapKind("mask", "--mask"),
}
"""By the word that messages and options have for them."""


@dataclass(frozen=True, eq=False)
class Companion:
    """A map, and the unit that its values are in."""

    kind: MapKind
    picture: Picture
    unit: str = ""

    @property
    def turned(self) -> Companion:
        """With the other sign."""
        return replace(self, picture=replace(self.picture, values=-1.0 * self.picture.values))


@dataclass(eq=False)
class Series:
    """What is to be written."""

    suffix: str
    """``QMT`` or ``MRF``."""
    images: Picture
    """Complex, or real for magnitudes."""
    place: Place
    protocol: ZSpectrum | PulseSequence
    basis: NDArray[np.float64] | None = None
    """``(samples, coefficients)``."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    maps: list[Companion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origin: str = ""
    """Of which program, for descriptions."""


def given_maps(
    files: Mapping[str, Path | None],
    units: Mapping[str, str | None],
    usual: Mapping[str, str] | None = None,
) -> list[Companion]:
    """Maps that the user names, with units that the user or the format says.

    Parameters
    ----------
    files, units
        By the keys of :data:`MAPS`.
    usual
        Units that the format prescribes.

    Raises
    ------
    UsageError
        If nothing says in which unit a map is.
    """
    found = []
    for key, path in files.items():
        if path is None:
            continue
        kind = MAPS[key]
        unit = units.get(key) or (usual or {}).get(key) or ""
        if not unit and len(kind.units) == 1:
            unit = kind.units[0]
        if kind.units and not unit:
            raise UsageError(
                f"{path.name}: nothing says in which unit the {key} map is; give --"
                f"{key.lower()}-unit ({' or '.join(kind.units)})"
            )
        found.append(Companion(kind, read_map(path, (f"{key}map", key)), unit))
    mask = next((one.picture.values > 0 for one in found if not one.kind.units), None)
    for companion in found:
        if companion.kind.units:
            _check_values(companion, mask)
    return found


_PARAMETERS: Mapping[str, str] = {"TB1map": "B1", "B0map": "w0"}
"""Of ``FIELD_MAPS``, by suffix; of the others R1."""
_WIDER = 3.0
"""Factor by which a median may leave the possible values where background counts too."""


def _check_values(companion: Companion, mask: NDArray[Any] | None) -> None:
    """Refuse a unit that the values contradict, as the application would."""
    kind, values = companion.kind, np.abs(companion.picture.values)
    about = FIELD_MAPS[_PARAMETERS.get(kind.suffix, "R1")]
    inside = mask is not None and mask.shape == values.shape
    chosen = values[mask] if inside else values
    chosen = chosen[np.isfinite(chosen) & (chosen != 0)]
    if not chosen.size:
        return
    median = float(np.median(chosen))
    low, high = about.plausible
    if not inside:
        low, high = low / _WIDER, high * _WIDER

    def fits(unit: MapUnit) -> bool:
        value = unit.factor / median if unit.inverse else median * unit.factor
        return low <= value <= high

    units = {unit.name: unit for unit in about.units if unit.name in kind.units}
    if fits(units[companion.unit]):
        return
    others = [name for name, unit in units.items() if fits(unit)]
    cure = "correct the map" if not others else f"if it is in {' or '.join(others)}, say so"
    raise DataError(
        f"{companion.picture.name}: the median of the {about.words} map is {median:.4g}, which "
        f"is impossible in the unit {companion.unit}; {cure}"
    )


def on_grid(companion: Companion, series: Picture, place: Place) -> Place:
    """Where a map lies: where its header says, else on the grid of the series.

    Raises
    ------
    DataError
        If its file says nothing and the matrix is another one.
    """
    picture = companion.picture
    if picture.affine is not None:
        return Place(picture.affine, picture.has_position)
    space = series.values.shape[:3]
    if picture.values.shape != space:
        raise DataError(
            f"{picture.name} is {times(picture.values.shape)}, the images of {series.name} are "
            f"{times(space)}; without a header both need one matrix"
        )
    return place


def check_maps(maps: list[Companion]) -> None:
    """Refuse two maps of one quantity.

    Raises
    ------
    UsageError
        Naming both.
    """
    seen: dict[str, str] = {}
    for item in maps:
        quantity = {"T1map": "R1map"}.get(item.kind.suffix, item.kind.suffix)
        if quantity in seen:
            raise UsageError(
                f"{seen[quantity]} and {item.picture.name} say the same; give one of them"
            )
        seen[quantity] = item.picture.name


def as_real(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Magnitudes.

    Raises
    ------
    DataError
        If the numbers are complex or negative.
    """
    if np.iscomplexobj(values):
        raise DataError(f"{name} holds complex numbers; magnitudes are needed here: take abs")
    low = float(np.nanmin(values, initial=0.0)) if values.dtype.kind == "f" else values.min()
    if low < 0:
        raise DataError(f"{name} holds {low:g}; magnitudes are not negative")
    return values
