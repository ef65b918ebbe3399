"""Files of the phantom: deterministic bytes, each written in one step."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import grammar
from bids_brnn.bids.input.folders import DESCRIPTION
from bids_brnn.bids.output.derivatives import json_bytes
from bids_brnn.files import write_bytes


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """A JSON file with the keys in their order."""
    write_bytes(path, json_bytes(content))


def write_image(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    sidecar: Mapping[str, object] | None = None,
    *,
    code: int = 1,
) -> None:
    """A ``.nii.gz`` in the type of ``data`` (double becomes single) and its sidecar before it.

    ``code`` 0: the header says that nobody knows where the image lies. Not that of the
    derivatives, which is for 3D images on the grid of a series that was read: here the series
    themselves are made.
    """
    if data.dtype == np.float64:
        data = data.astype(np.float32)
    image: Any = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=code)
    image.set_sform(affine, code=code)
    image.header.set_xyzt_units("mm", "sec")
    if sidecar is not None:
        write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    # Noise hardly compresses, hence the fastest level; no time stamp, for equal files.
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def write_description(folder: Path, name: str, *, derivative: str | None = None) -> None:
    """``dataset_description.json``, of a derivative where the name of its maker is given."""
    content: dict[str, object] = {
        "Name": name,
        "BIDSVersion": grammar()["bids"]["version"],
        "DatasetType": "raw" if derivative is None else "derivative",
        "License": "CC0",
        "Authors": ["made by formula with bids_brnn"],
    }
    if derivative is not None:
        content["GeneratedBy"] = [{"Name": derivative, "Description": "made by formula"}]
        content["DatasetLinks"] = {"raw": "../.."}
    write_json(folder / DESCRIPTION, content)
