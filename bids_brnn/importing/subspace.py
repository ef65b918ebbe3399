"""Coefficients and time frames of pulse trains, and the bases that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.tables import read_matrix
from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing.bart import basis_of, read_cfl
from bids_brnn.importing.pictures import Picture, read_variable
from bids_brnn.voxels import times

_IMAGINARY = 1e-5
"""Largest imaginary part of a real basis, relative to its largest entry: single precision."""
_ORTHONORMAL = 1e-4  # as the application wants it
_TURN = 2 * np.pi
_NAMES = ("U", "basis", "Phi")


def read_basis(
    path: Path, samples: int, rank: int | None, notes: list[str]
) -> NDArray[np.float64]:
    """A real basis ``(samples, columns)`` of ``.tsv``, ``.mat`` or BART files.

    ``rank``: columns to use, the first ones; None: all.

    Raises
    ------
    ReadError, DataError
        If it cannot be read, is complex, or has another number of rows.
    """
    if path.suffix == ".tsv":
        basis: NDArray[Any] = read_matrix(path)[1]
    elif path.suffix == ".mat":
        basis = read_variable(path, _NAMES)
    elif path.suffix in (".cfl", ".hdr") or path.with_name(f"{path.name}.hdr").is_file():
        basis = basis_of(read_cfl(path), path.name)
    else:
        raise UsageError(f"{path.name}: a basis is read from .tsv, .mat and .cfl files")
    if basis.ndim != 2:
        raise DataError(f"{path.name}: the basis is {times(basis.shape)}; it has two axes")
    if np.iscomplexobj(basis):
        if np.abs(basis.imag).max(initial=0) > _IMAGINARY * np.abs(basis).max(initial=0):
            raise DataError(
                f"{path.name} is a complex basis; only real ones are known (signals of real "
                "pulses need no other): multiply by a phase, or compute it of real and imaginary "
                "parts"
            )
        basis = basis.real
    if basis.shape[0] != samples:
        if basis.shape[1] == samples:
            notes.append(f"{path.name} has a row for each coefficient; it is transposed")
            basis = basis.T
        else:
            raise DataError(
                f"{path.name} has {basis.shape[0]} rows, the pulse train {samples} samples; they "
                "must be the same"
            )
    if rank is not None and not 1 <= rank <= basis.shape[1]:
        raise UsageError(f"--rank {rank}: {path.name} has {basis.shape[1]} columns")
    return np.asarray(basis[:, :rank], np.float64)


def check_basis(basis: NDArray[np.float64], name: str, coefficients: int | None) -> None:
    """Refuse a basis that is not that of the coefficients; None: of time frames.

    Raises
    ------
    DataError
        If numbers differ, or columns are not orthonormal.
    """
    columns = basis.shape[1]
    if coefficients is not None and coefficients != columns:
        cure = "the coefficients are the last axis of the images"
        if coefficients < columns:
            cure = f"if they belong to the first columns, say so with --rank {coefficients}"
        raise DataError(
            f"{name} has {columns} columns, the images have {coefficients} coefficients; {cure}"
        )
    with np.errstate(all="ignore"):
        away = np.abs(basis.T @ basis - np.eye(columns))
    if not away.max(initial=0) <= _ORTHONORMAL:
        raise DataError(
            f"{name}: the columns are not orthonormal (largest error {away.max():.3g}), so that "
            "coefficients = basis^T signal does not hold; orthonormalise it before the "
            "reconstruction"
        )


def projected(
    values: NDArray[Any], basis: NDArray[np.float64], notes: list[str]
) -> NDArray[np.complex64]:
    """Coefficients ``(X, Y, Z, R)`` of time frames ``(X, Y, Z, N)``: ``basis^T signal``."""
    notes.append(f"time frames are projected onto the {basis.shape[1]} columns of the basis")
    found = values.astype(np.complex64, copy=False) @ basis.astype(np.float32)
    return np.asarray(found, np.complex64)


def complex_of(first: Picture, second: Picture | None, kind: str, unit: str) -> NDArray[Any]:
    """Complex images of two parts, or of one complex image.

    Parameters
    ----------
    first
        Complex; real part, with an imaginary ``second``; magnitude, with a phase.
    second
        None where the first is complex.
    kind
        ``imaginary`` or ``phase``: what the second is.
    unit
        Of the phase, ``rad`` or ``deg``.

    Raises
    ------
    DataError
        If parts do not fit together, or phases are in another unit.
    """
    if second is None:
        return first.values
    if np.iscomplexobj(first.values) or np.iscomplexobj(second.values):
        which = first.name if np.iscomplexobj(first.values) else second.name
        raise DataError(f"{which} is complex already; give it alone")
    if first.values.shape != second.values.shape or not _same_place(first, second):
        raise DataError(
            f"{first.name} is {times(first.values.shape)}, {second.name} "
            f"{times(second.values.shape)}; both parts need one shape and one affine"
        )
    if kind == "imaginary":
        return np.asarray(first.values + 1j * second.values, np.complex64)
    largest = float(np.nanmax(np.abs(second.values), initial=0.0))
    if unit == "rad" and largest > _TURN * 1.01:
        raise DataError(
            f"{second.name}: the phase reaches {largest:.4g}, no radians; if it is in degrees, "
            "give --phase-unit deg, and scale what is in units of the scanner (4096 a turn) first"
        )
    if unit == "deg" and 0 < largest <= _TURN * 1.01:
        raise DataError(
            f"{second.name}: the phase reaches {largest:.4g} degrees only; if it is in radians, "
            "give --phase-unit rad"
        )
    turn = second.values if unit == "rad" else np.radians(second.values)
    if first.values.min(initial=0) < 0:
        raise DataError(f"{first.name} is negative somewhere; a magnitude is not")
    return np.asarray(first.values * np.exp(1j * turn), np.complex64)


def _same_place(first: Picture, second: Picture) -> bool:
    if first.affine is None or second.affine is None:
        return True
    return bool(np.allclose(first.affine, second.affine, atol=1e-4))
