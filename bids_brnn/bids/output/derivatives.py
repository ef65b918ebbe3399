"""Writing maps, masks and other images of the output data set.

A sidecar is there before its image, and both appear in one step: whoever sees an image sees
all of it, and can read what it is.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import grammar
from bids_brnn.bids.headers import position_codes
from bids_brnn.bids.images import Volume
from bids_brnn.bids.output.naming import Origin, map_path, mask_path, reference_path
from bids_brnn.bids.output.sidecars import Provenance, count, image_sidecar, map_sidecar
from bids_brnn.errors import DataError
from bids_brnn.files import write_bytes
from bids_brnn.maps import spread_of, without_spread
from bids_brnn.parameters import MapItem
from bids_brnn.voxels import to_voxels

_LEVEL = 4  # of gzip; above it only time grows


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON as it is written everywhere: indented, finite numbers only, a newline at the end."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def save_image(path: Path, values: NDArray[Any], like: Volume) -> Path:
    """Write a 3D image on the grid of a series; equal input gives equal bytes.

    Parameters
    ----------
    path
        ``.nii.gz``.
    values
        ``(X, Y, Z)``; floats are stored in single precision, others in their own type.
    like
        Affine, axis codes and units come from here.

    Raises
    ------
    DataError
        If the shape is not that of the series.
    OutputError
        If the file cannot be written.
    """
    if values.shape != like.data.shape[:3]:
        raise DataError(
            f"{path.name}: shape {values.shape}, the series has {like.data.shape[:3]}."
        )
    dtype = values.dtype
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype.kind == "f":
        dtype = np.dtype(np.float32)
    image = nib.Nifti1Image(np.asarray(values, dtype=dtype), like.affine, dtype=dtype)
    qform, sform = position_codes(like.header)
    image.set_qform(like.affine, qform)
    image.set_sform(like.affine, sform)
    image.header.set_xyzt_units("mm")
    # A gzip file carries its time of writing unless told not to.
    write_bytes(path, gzip.compress(image.to_bytes(), _LEVEL, mtime=0))
    return path


def _write_pair(
    path: Path, values: NDArray[Any], like: Volume, sidecar: Mapping[str, Any]
) -> Path:
    write_bytes(_json_of(path), json_bytes(sidecar))
    return save_image(path, values, like)


def _json_of(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def output_uri(path: Path, output_dir: Path) -> str:
    """BIDS URI of a file of the output data set itself."""
    return f"bids::{path.relative_to(output_dir).as_posix()}"


def write_map(
    output_dir: Path,
    origin: Origin,
    item: MapItem,
    desc: str,
    values: NDArray[np.floating],
    *,
    mask: NDArray[np.bool_],
    like: Volume,
    provenance: Provenance,
    space: str = "",
    estimated: NDArray[np.bool_] | None = None,
) -> Path:
    """Write one map and its sidecar.

    Parameters
    ----------
    output_dir
        Root of the derivative.
    origin, item, desc
        Series, quantity, and estimator (or ``<estimator>Std``).
    values
        ``(X, Y, Z)`` or ``(V,)`` inside the mask, in ``item.unit``; NaN where there is no
        estimate. Outside the mask the file holds 0.
    mask
        ``(X, Y, Z)``.
    like
        Grid of the series.
    provenance
        What else went into the map.
    space
        Value of ``space-`` of a map that was moved; ``mask`` and ``like`` are those of it.
    estimated
        ``(X, Y, Z)`` voxels that were estimated at all, which shares refer to; all by default.

    Returns
    -------
    Path
        The image.

    Raises
    ------
    DataError
        If shapes differ.
    OutputError
        If the file cannot be named or written.
    """
    inside = to_voxels(values, mask) if values.ndim == 3 else values
    if inside.shape != (int(mask.sum()),):
        raise DataError(f"{item.name}: {inside.shape} values for {int(mask.sum())} voxels.")
    # Infinities crash viewers, and mean no estimate all the same.
    inside = np.where(np.isfinite(inside), inside, np.nan).astype(np.float32)
    volume = np.zeros(mask.shape, dtype=np.float32, order="F")  # as in the file
    volume[mask] = inside
    path = map_path(output_dir, origin, item, desc, space=space)
    of = map_path(output_dir, origin, item, without_spread(desc), space=space)
    valid_range = None if spread_of(desc) else provenance.valid_range
    counted = inside if estimated is None else inside[estimated[mask]]
    sidecar = map_sidecar(
        origin, item, desc, provenance, count(counted, valid_range), of=output_uri(of, output_dir)
    )
    return _write_pair(path, volume, like, sidecar)


def write_mask(
    output_dir: Path,
    origin: Origin,
    mask: NDArray[np.bool_],
    *,
    like: Volume,
    source: str,
    extra: Mapping[str, Any] | None = None,
    space: str = "",
) -> Path:
    """Write the brain mask; ``source`` says in words or as a BIDS URI where it comes from."""
    is_uri = source.startswith("bids:")
    sidecar = image_sidecar(
        origin,
        grammar()["output"]["descriptions"]["brain"],
        sources=[source] if is_uri else [],
        extra={"Type": "Brain", "MaskSource": source, **(extra or {})},
    )
    path = mask_path(output_dir, origin, space=space)
    return _write_pair(path, mask.astype(np.uint8), like, sidecar)


def write_reference(
    output_dir: Path,
    origin: Origin,
    values: NDArray[np.floating],
    *,
    like: Volume,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the 3D magnitude image of the series; ``extra`` keys tell of noise and preparation."""
    words = grammar()["output"]["descriptions"]["mean"]
    sidecar = image_sidecar(origin, words, units="arbitrary", extra=extra)
    return _write_pair(reference_path(output_dir, origin), values, like, sidecar)


def write_image(
    path: Path, values: NDArray[Any], like: Volume, sidecar: Mapping[str, Any]
) -> Path:
    """Write any other image with its sidecar: label images, resampled field maps."""
    return _write_pair(path, values, like, sidecar)
