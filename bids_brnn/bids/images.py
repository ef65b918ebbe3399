"""NIfTI files to arrays: headers checked first, every byte read, checksums verified."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from bids_brnn.bids.headers import check_header, has_position, open_image
from bids_brnn.bids.input.acquisition import Acquisition, Part
from bids_brnn.bids.safe import unreadable
from bids_brnn.errors import DataError, ReadError
from bids_brnn.system.memory import memory_limit
from bids_brnn.system.reading import open_regular
from bids_brnn.system.threads import in_threads
from bids_brnn.voxels import slabs, times

_CHUNK = 16 * 2**20
_SLACK = 2**20  # bytes after the image that are read for the checksum; more is an attack
_FITS = 2**24  # bytes that are there wherever this program is loaded
_GZIP = b"\x1f\x8b"
_DEFLATE_RATIO = 1100  # zlib cannot compress better than 1032:1
_BAD_FILE = (
    ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, zlib.error, ValueError,
    OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of an image, from its header alone."""

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    header: nib.Nifti1Header
    """Also of NIfTI-2 files, whose header class derives from this one."""
    # nibabel clears these three in the header of an image it has loaded.
    offset: int = 352
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_complex(self) -> bool:
        """Whether voxels are complex numbers."""
        return self.dtype.kind == "c"

    @property
    def space(self) -> tuple[int, int, int]:
        """The first three axes; those that are absent count 1."""
        x, y, z = (*self.shape[:3], 1, 1, 1)[:3]
        return x, y, z

    @property
    def has_position(self) -> bool:
        """Whether the header tells where the image lies; else the affine is a convention."""
        return has_position(self.header)


@dataclass(frozen=True, eq=False)
class Volume:
    """Coefficients or frames of a series."""

    data: NDArray[np.complex64]
    """``(X, Y, Z, R)``."""
    affine: NDArray[np.float64]
    header: nib.Nifti1Header
    n_invalid: int = 0
    """Voxels with a value that is not finite."""


def read_grid(path: Path, *, max_bytes: int | None = None) -> Grid:
    """Read and check the header of an image, before anything is allocated for its data.

    Raises
    ------
    ReadError
        If the file is missing, not downloaded, or not NIfTI.
    DataError
        If dimensions, size, scaling or affine cannot be those of an image.
    """
    try:
        check_header(path)
        with np.errstate(all="ignore"):  # an affine that is not finite is refused below
            image: Any = nib.load(path)
        header, affine = image.header, image.affine
        if not isinstance(header, nib.Nifti1Header):
            raise ImageFileError(f"a file of type {type(image).__name__} was found")
        raw_dims = [int(n) for n in header["dim"]]
        shape = tuple(int(n) for n in image.shape)
        dtype = header.get_data_dtype()
        stored = image.dataobj
    except _BAD_FILE as error:
        raise _no_image(path, error) from error
    if not 1 <= raw_dims[0] <= 7 or not shape or min(shape) < 1:
        raise DataError(f"{path.name}: dim is {raw_dims} in the header; every size must be > 0.")
    if dtype.names is not None:
        raise DataError(f"{path.name} is a colour image (RGB); an image of numbers is needed.")
    if dtype.kind not in "iufc":
        raise DataError(f"{path.name}: voxels of type {dtype} are not numbers.")
    offset = int(stored.offset)
    limit = None if max_bytes is None else (max_bytes, "those allowed")
    _check_size(path, shape, dtype, offset, limit)
    if affine is None or not _is_invertible(affine):
        raise DataError(f"{path.name}: the affine (qform, sform) is not finite and invertible.")
    position = np.asarray(affine, dtype=np.float64)
    scaling = float(stored.slope), float(stored.inter)
    return Grid(path, shape, position, dtype, header, offset, *scaling)


def check_alike(path: Path, others: Iterable[Path]) -> None:
    """Refuse images that have not the first three sizes of another one, by their headers.

    Raises
    ------
    DataError
        Naming the first.
    """
    shape = read_grid(path).shape[:3]
    for other in others:
        found = read_grid(other).shape[:3]
        if found != shape:
            raise DataError(
                f"{other} has {found} voxels and {path.name} beside it {shape}; one of them is of "
                "another run or was changed: run the participant level again."
            )


def _is_invertible(affine: NDArray[np.float64]) -> bool:
    if not np.isfinite(affine).all():
        return False
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        volume = abs(np.linalg.det(affine))
    return bool(1e-12 <= volume < np.inf)


def _check_size(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    offset: int,
    limit: tuple[int, str] | None,
) -> None:
    # What is read, what it is scaled to, and for a series the complex values that are made of it.
    each = dtype.itemsize + max(dtype.itemsize, 4) + (8 if math.prod(shape[3:]) > 1 else 0)
    needed = math.prod(shape) * each
    if limit is None:
        # The system is asked for images only that may not fit: each time are many small files.
        limit = (_FITS, "") if needed <= _FITS else memory_limit()
    if needed > limit[0]:
        raise DataError(
            f"{path.name}: {times(shape)} needs {needed / 1e9:.1f} GB of memory, more than the "
            f"{limit[0] / 1e9:.1f} GB of {limit[1]}; is the header right? If it is, give the run "
            "more."
        )
    stored = offset + math.prod(shape) * dtype.itemsize
    ratio = _DEFLATE_RATIO if path.name.endswith(".gz") else 1
    if path.stat().st_size * ratio < stored:
        raise ReadError(f"{path} is shorter than its header says ({times(shape)}); copy it again.")


def _no_image(path: Path, error: BaseException) -> ReadError:
    system = isinstance(error, OSError) and error.errno is not None
    if system or not path.exists():
        return unreadable(path, error)
    hint = "empty; not downloaded?" if path.stat().st_size == 0 else str(error).rstrip(".")
    with open_regular(path) as stream:
        start = stream.read(64)
    if b"annex/objects" in start or start.startswith(b"version https://git-lfs"):
        hint = "a pointer to a file that is not here; not downloaded? Get it first"
    elif start.startswith(_GZIP) and isinstance(error, EOFError | BadGzipFile):
        return _damaged(path, error)
    return ReadError(f"{path} is not a NIfTI image: {hint}.")


def _damaged(path: Path, error: BaseException) -> ReadError:
    return ReadError(f"{path} is damaged or incomplete: {error}; copy it again.")


def read_array(grid: Grid) -> NDArray[Any]:
    """All voxels of an image, scaled as the header says, in the byte order of this machine.

    The file is read to its end, so that a truncated or damaged ``.nii.gz`` is found by its
    checksum; nibabel alone stops after the last voxel and returns wrong numbers.

    Raises
    ------
    ReadError
        If the file is truncated or damaged, or much longer than its header says.
    """
    offset = grid.offset
    count = math.prod(grid.shape)
    buffer = np.empty(offset + count * grid.dtype.itemsize, dtype=np.uint8)
    try:
        with open_image(grid.path) as stream:
            filled = _fill(stream, buffer)
            rest = _drain(stream)
    except (OSError, EOFError) as error:
        raise _damaged(grid.path, error) from error
    if filled < len(buffer):
        raise ReadError(f"{grid.path} ends after {filled} of {len(buffer)} bytes; copy it again.")
    if rest > _SLACK:
        raise ReadError(f"{grid.path} goes on after its last voxel; its header is wrong.")
    array = np.ndarray(grid.shape, grid.dtype, buffer=buffer, offset=offset, order="F")
    # SimpleITK and torch take no other byte order.
    array = array.astype(grid.dtype.newbyteorder("="), copy=False)
    slope, intercept = grid.slope, grid.intercept
    if slope == 1 and intercept == 0:
        return array
    small = grid.dtype.itemsize <= (8 if grid.is_complex else 4)
    wide = np.result_type(grid.dtype, np.float32 if small else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # not finite then, and counted as such
        return np.asarray(array.astype(wide) * slope + intercept, dtype=wide)


def _fill(stream: Any, buffer: NDArray[np.uint8]) -> int:
    view = buffer.data
    filled = 0
    while filled < len(view):
        got = stream.readinto(view[filled : filled + _CHUNK])
        if not got:
            break
        filled += got
    return filled


def _drain(stream: Any) -> int:
    rest = 0
    while rest <= _SLACK and (piece := stream.read(65536)):
        rest += len(piece)
    return rest


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether the first three axes agree and no corner is off by 1 % of a voxel."""
    if first.space != second.space:
        return False
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in first.space])).reshape(3, -1)
    moved = (first.affine - second.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    voxel = np.linalg.norm(first.affine[:3, :3], axis=0).min()
    return bool(np.abs(moved).max() < 0.01 * voxel)


def read_coefficients(acquisition: Acquisition, threads: int = 1) -> Volume:
    """Coefficients, frames or measurements of a series, complex, one pass over each file.

    Magnitude-only series and Z-spectra come back with zero imaginary part. Up to ``threads`` files
    are read at a time.

    Raises
    ------
    ReadError, DataError
        See :func:`read_grid` and :func:`read_array`; also if a phase is not in radians.
    """
    if acquisition.representation == "zspectrum":
        from bids_brnn.bids.magnitudes import read_magnitudes  # which needs this module

        return read_magnitudes(acquisition.volumes or [[acquisition.parts]], threads)
    grids = {part: read_grid(path) for part, path in acquisition.parts.items()}
    first = next(iter(grids.values()))
    data = np.zeros(acquisition.shape, dtype=np.complex64, order="F")
    if "complex" in grids:
        data[...] = read_array(first).reshape(acquisition.shape)
    elif "real" in grids:

        def fill(part: Part) -> None:
            setattr(data, part, read_array(grids[part]))

        list(in_threads(fill, list(grids), threads))
    else:
        magnitude = read_array(grids["mag"])

        def place(frame: int) -> None:
            data.real[..., frame] = magnitude[..., frame]

        list(in_threads(place, range(acquisition.shape[3]), threads))
        if "phase" in grids:
            _turn(data, read_array(grids["phase"]), grids["phase"].path, threads)
    return Volume(data, first.affine, first.header.copy(), count_invalid(data, threads))


def count_invalid(data: NDArray[Any], threads: int = 1) -> int:
    """Voxels of ``(X, Y, Z, N)`` with a value that is not finite."""

    def invalid(part: slice) -> int:
        finite = np.isfinite(data[..., part, 0])
        for frame in range(1, data.shape[3]):
            finite &= np.isfinite(data[..., part, frame])
        return int(finite.size - finite.sum())

    return sum(in_threads(invalid, slabs(data.shape), threads))


_NORMALISED, _EXACT, _PARTS = ((-1, 1), (-0.5, 0.5), (0, 1), (0, 2)), 2e-3, 10
"""Least and largest value of phase in units of pi or of a turn, how closely it reaches them, and
equal parts of what lies between, in all of which there are values: one phase of 1 is no unit."""


def _fills(phase: NDArray[Any], least: float, most: float) -> bool:
    found, _ = np.histogram(phase[np.isfinite(phase)], _PARTS, (least, most))
    return bool(found.all())


def _turn(data: NDArray[np.complex64], phase: NDArray[Any], path: Path, threads: int) -> None:
    largest = float(np.nanmax(np.abs(phase), initial=0.0))
    if largest > 2 * np.pi * 1.01:
        raise DataError(f"{path.name}: phase reaches {largest:.4g}; radians are needed.")
    low, high = float(np.nanmin(phase, initial=0.0)), float(np.nanmax(phase, initial=0.0))
    for least, most in _NORMALISED:
        if max(abs(low - least), abs(high - most)) < _EXACT and _fills(phase, least, most):
            raise DataError(
                f"{path.name}: phase lies between {least:g} and {most:g}, as after a division by "
                "pi or a turn; radians are needed, which noise spreads over 6.28: multiply."
            )

    def turn(frame: int) -> None:
        data[..., frame] *= np.exp(1j * phase[..., frame]).astype(np.complex64)

    list(in_threads(turn, range(data.shape[3]), threads))
