"""What a NIfTI header says before anything is made of it: nibabel silently mends what is wrong."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nibabel as nib
from isal import igzip
from isal.isal_zlib import error as isal_error

from bids_brnn.errors import DataError
from bids_brnn.system.reading import open_regular

_MAGIC = ((nib.Nifti1Header, 344), (nib.Nifti2Header, 4))  # not all files tell their length
_LONGEST = 540
_MAX_OFFSET = 2**26  # header extensions of 64 MB: none in practice
_LEAST_EXTENSION = 16  # bytes
_MOST_EXTENSIONS = 1000
_UNPACKING: type[Exception] = isal_error  # type: ignore[assignment]  # no class in its types
_REPAIR = "correct the header (fslhd shows it), or convert the image again"


def check_header(path: Path) -> None:
    """Refuse scaling, voxel sizes and a repetition time that are no numbers.

    nibabel takes a slope that is not finite for 1 and a voxel size of 0 for 1 mm, and other
    programs do otherwise. A repetition time of 0 is common where the last axis is no time, and
    is not used.

    Raises
    ------
    DataError
        Naming the field of the header.
    """
    header = _header(path)
    if header is None:  # no NIfTI at all: said by who reads it
        return
    for name in ("scl_slope", "scl_inter"):
        value = float(header[name])
        if not math.isfinite(value):
            raise DataError(
                f"{path.name}: {name} is {value:g} in the header, so its values are unknown; "
                f"{_REPAIR}."
            )
    _check_offset(path, header)
    n_axes = int(header["dim"][0])
    for axis in range(1, min(n_axes, 4) + 1):
        size = float(header["pixdim"][axis])
        fine = size > 0 if axis < 4 else size >= 0
        if not (fine and math.isfinite(size)):
            what = "voxel sizes must be above 0" if axis < 4 else "a repetition time is a number"
            raise DataError(
                f"{path.name}: pixdim[{axis}] is {size:g} in the header; {what}: {_REPAIR}."
            )


def _check_offset(path: Path, header: Any) -> None:
    """Refuse voxels that begin within the header, and extensions that do not end before them.

    nibabel reads all that is before the voxels, takes 0 for the first byte of the file, and asks
    for as much memory as an extension says.
    """
    single = path.name.endswith((".nii", ".nii.gz"))
    length = header.sizeof_hdr
    offset = float(header["vox_offset"])
    if not (single * (length + 4) <= offset <= _MAX_OFFSET and offset.is_integer()):
        shown = f"{offset:.0f}" if offset.is_integer() else f"{offset:g}"
        raise DataError(f"{path.name}: vox_offset is {shown} in the header; {_REPAIR}.")
    left = int(offset) - length - 4 if single else _MAX_OFFSET
    order: Literal["little", "big"] = "little" if header.endianness == "<" else "big"
    with open_image(path) as stream:
        if stream.read(length + 4)[length:][:1] in (b"", b"\0"):
            return
        for _ in range(_MOST_EXTENSIONS):
            start = stream.read(4)
            if left < _LEAST_EXTENSION or not (start or single):
                return
            size = int.from_bytes(start, order, signed=True)
            if not _LEAST_EXTENSION <= size <= left:
                break
            stream.read(size - 4)
            left -= size
    raise DataError(
        f"{path.name}: the extensions of the header do not end before the voxels (vox_offset "
        f"{offset:.0f}); {_REPAIR}."
    )


def _header(path: Path) -> Any:
    with open_image(path) as stream:
        start = stream.read(_LONGEST)
    for kind, place in _MAGIC:
        found = start[place : place + 3]
        if found in (kind.pair_magic[:3], kind.single_magic[:3]):
            length = kind.sizeof_hdr
            return kind(start[:length], check=False) if len(start) >= length else None
    return None


@contextmanager
def open_image(path: Path) -> Iterator[BinaryIO]:
    """The bytes of an image, uncompressed; never of a pipe or device.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    """
    with open_regular(path) as stream:
        if not path.name.endswith(".gz"):
            yield stream
            return
        try:
            with igzip.open(stream) as inner:
                yield cast("BinaryIO", inner)
        except _UNPACKING as error:  # neither an OSError nor that of zlib
            raise gzip.BadGzipFile(str(error)) from error


def has_position(header: Any) -> bool:
    """Whether a header tells where its image lies: qform or sform has a code above 0.

    Without, nibabel puts the image to the centre and takes its first axis to point to the left.
    """
    return int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0


def position_codes(header: Any) -> tuple[int, int]:
    """Codes of qform and sform for an image on the same grid; both 0 only where both are."""
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    return qform or sform, sform or qform
