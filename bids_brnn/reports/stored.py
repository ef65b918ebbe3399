"""Tables that the page of a participant draws from, stored with the maps when they are made.

What protocols can measure and what models make of Z-spectra needs PyTorch and compiled kernels,
which are loaded where maps are made; pages are written from numbers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.safe import read_json
from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import BidsBrnnError, DataError
from bids_brnn.reports.content import Bound, Bounds, Spectra
from bids_brnn.system.kinds import Number, cell_number, shown

_Content = TypeVar("_Content")
_LOG = logging.getLogger("bids_brnn.report")
BOUND_COLUMNS: Mapping[str, str] = {
    "tissue": "Usual tissue at the field strength of the series",
    "param": "Parameter that the series is to tell",
    "units": "Unit of the next columns",
    "value": "Its usual value in the tissue",
    "crb_std": "Square root of the Cramer-Rao bound; n/a where the protocol does not see it",
    "second_order_std": "Square root of the second-order (Bhattacharyya) bound; n/a as before",
}
_SPECTRUM_COLUMNS: Mapping[str, str] = {
    "i": "Index of the voxel along the first axis of the images",
    "j": "Along the second axis",
    "k": "Along the third axis",
    "offset": "Offset of the MT pulse, Hz; n/a without pulse",
    "mt_flip_angle": "Flip angle of the MT pulse, degrees",
    "measured": "Image, in its units",
}
_FIT = "fit_"
_POSITIVE = Number(1e-6, 1e12)
_MOST_INDEX = 2**15  # NIfTI-1 has no longer axes
BOUNDS_FILE, SPECTRA_FILE = "desc-protocol_bounds.tsv", "desc-fitted_zspectra.tsv"
"""How the names of both tables end, after those of the series."""

Table = tuple[dict[str, Any], str]
"""Content of the JSON, and the text of the table."""


def bounds_as_table(bounds: Bounds) -> Table:
    """Bounds as they are stored; :func:`read_bounds` is the other way."""
    rows = [
        [row.tissue, row.parameter, row.unit, *map(_cell, (row.value, row.first, row.second))]
        for row in bounds.rows
    ]
    about: dict[str, Any] = {
        "Description": "Smallest standard deviations of unbiased estimates with this protocol",
        "SNR": float(f"{bounds.snr:.6g}"),
        "SNRSource": "median of the maps" if bounds.measured else "usual",
        "MagneticFieldStrength": bounds.field_strength,
        "KnownParameters": list(bounds.known),
    }
    return about | _described(BOUND_COLUMNS), _text(list(BOUND_COLUMNS), rows)


def spectra_as_table(spectra: Spectra) -> Table:
    """Z-spectra as they are stored; :func:`read_spectra` is the other way."""
    fits = {
        f"{_FIT}{key}": f"Signal of the model at the maps of desc-{key}; n/a without an estimate"
        for key in spectra.fitted
    }
    values = [spectra.measured, *spectra.fitted.values()]
    rows = [
        [*map(str, voxel), _cell(spectra.offset[n]), _cell(spectra.angle[n])]
        + [_cell(item[place, n]) for item in values]
        for place, voxel in enumerate(spectra.voxels.tolist())
        for n in range(len(spectra.offset))
    ]
    columns = {**_SPECTRUM_COLUMNS, **fits}
    words = (
        "Z-spectra of voxels that are spread evenly over the mask, and what models make of them"
    )
    return {"Description": words} | _described(columns), _text(list(columns), rows)


def read_bounds(path: Path) -> Bounds:
    """What :func:`bounds_as_table` made.

    Raises
    ------
    DataError
        If it is no such table.
    ReadError
        If it cannot be read.
    """
    table, about = _columns(path, BOUND_COLUMNS), read_json(path.with_suffix(".json"))
    snr, field = about.get("SNR", 0), about.get("MagneticFieldStrength", 0)
    known = about.get("KnownParameters")
    if not (_POSITIVE.holds(snr) and _POSITIVE.holds(field)):
        raise DataError(
            f"{path.with_suffix('.json')} lacks SNR or MagneticFieldStrength; it was changed: run "
            "the participant level again."
        )
    numbers = [
        np.nan_to_num(_numbers(path, name, table[name]), nan=np.inf)
        for name in ("value", "crb_std", "second_order_std")
    ]
    words = [table[name] for name in ("tissue", "param", "units")]
    return Bounds(
        snr=snr,
        measured=about.get("SNRSource") != "usual",
        field_strength=field,
        known=list(map(str, known)) if isinstance(known, list) else [],
        rows=[
            Bound(*texts, *map(float, values))
            for texts, values in zip(
                zip(*words, strict=True), zip(*numbers, strict=True), strict=True
            )
        ],
    )


def read_spectra(path: Path) -> Spectra:
    """What :func:`spectra_as_table` made.

    Raises
    ------
    DataError
        If it is no such table.
    ReadError
        If it cannot be read.
    """
    columns = _columns(path, _SPECTRUM_COLUMNS)
    table = {
        name: _numbers(path, name, cells)
        for name, cells in columns.items()
        if name in _SPECTRUM_COLUMNS or name.startswith(_FIT)
    }
    voxels = np.stack([table[name] for name in "ijk"], 1)
    count = 1 + int(np.argmax(np.append((voxels[1:] != voxels[0]).any(1), True)))
    if len(voxels) % count or not _is_repeated(voxels, np.repeat(voxels[::count], count, 0)):
        raise DataError(
            f"{path}: its voxels have unequal numbers of measurements; it was changed or cut: run "
            "the participant level again."
        )
    shape = len(voxels) // count, count
    told = np.stack([table["offset"], table["mt_flip_angle"]], 1)
    if not _is_repeated(told, np.tile(told[:count], (shape[0], 1))):
        raise DataError(
            f"{path}: its voxels have different offsets or flip angles; it was changed: run the "
            "participant level again."
        )
    return Spectra(
        voxels=voxels[::count].astype(int),
        offset=table["offset"][:count],
        angle=table["mt_flip_angle"][:count],
        measured=table["measured"].reshape(shape),
        fitted={
            name.removeprefix(_FIT): values.reshape(shape)
            for name, values in table.items() if name.startswith(_FIT)
        },
    )  # fmt: skip


def read_or_say(
    read: Callable[[Path], _Content], path: Path
) -> tuple[_Content | None, *tuple[str, ...]]:
    """What ``read`` makes of a table, None without one, and a sentence where it is damaged.

    So a damaged table costs its panel, not the page.
    """
    if not path.is_file():
        return (None,)
    try:
        return (read(path),)
    except BidsBrnnError as error:
        _LOG.warning("%s", error)
        return None, f"Not shown: {str(error).replace(f'{path.parent}/', '')}"


def _columns(path: Path, wanted: Mapping[str, str]) -> dict[str, list[str]]:
    table = read_columns(path)
    for name in wanted:
        if not table.get(name):
            raise DataError(
                f"{path}: column {name} is missing or empty; it was changed or cut: run the "
                "participant level again."
            )
    return table


def _numbers(path: Path, name: str, cells: Sequence[str]) -> NDArray[np.float64]:
    """Numbers of a column, NaN for n/a; indices of voxels have to be such."""
    numbers = np.array([cell_number(cell) for cell in cells])
    for cell, value in zip(cells, numbers.tolist(), strict=True):
        right = cell == "n/a" or math.isfinite(value)
        if name in ("i", "j", "k"):
            right = value in range(_MOST_INDEX)
        if not right:
            raise DataError(
                f"{path}: column {name} holds {shown(cell)}; it was changed: run the participant "
                "level again."
            )
    return numbers


def _is_repeated(values: NDArray[np.float64], expected: NDArray[np.float64]) -> bool:
    return bool(np.array_equal(values, expected, equal_nan=True))


def _described(columns: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"Description": words} for name, words in columns.items()}


def _cell(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "n/a"


def _text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("\t".join(row) for row in [columns, *rows]) + "\n"
