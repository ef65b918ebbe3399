"""Files of qMT-SPGR of qMRLab by the names that its model has for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bids_brnn.bids.grammar import IMAGE_EXTENSIONS
from bids_brnn.bids.safe import unreadable
from bids_brnn.errors import DataError
from bids_brnn.importing.matlab import open_mat

UNITS: Mapping[str, str] = {"R1": "1/s", "B1": "1", "B0": "Hz"}
"""That the model prescribes, by map."""
FILES: Mapping[str, str] = {"R1": "R1map", "B1": "B1map", "B0": "B0map", "mask": "Mask"}
"""Names of inputs of the model, by map."""
DATA = "MTdata"


def find_protocol(folder: Path) -> Path:
    """The protocol in a folder: a saved model, else a ``.mat`` file that holds a protocol.

    Raises
    ------
    DataError
        If there is none, or more than one.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".mat")
    except OSError as error:
        raise unreadable(folder, error) from error
    saved = [path for path in files if path.name.endswith(".qmrlab.mat")]
    names = {name.lower() for name in (DATA, *FILES.values())}
    others = [path for path in files if path.stem.lower() not in names and path not in saved]
    found = saved or [path for path in others if {"Angles", "Offsets"} <= {*open_mat(path).names}]
    if len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"{folder} must hold one protocol (*.qmrlab.mat, or a .mat file with Angles and "
            f"Offsets), and holds {what}; name it with --protocol"
        )
    return found[0]


def find_image(folder: Path, name: str) -> Path | None:
    """The file of an input of the model: ``<name>.nii[.gz]``, ``<name>.mat``.

    Raises
    ------
    DataError
        If there are several.
    """
    endings = (*IMAGE_EXTENSIONS, ".mat")
    try:
        found = [
            path
            for path in sorted(folder.iterdir())
            if path.name.lower() in [f"{name}{ending}".lower() for ending in endings]
        ]
    except OSError as error:
        raise unreadable(folder, error) from error
    if len(found) > 1:
        words = " and ".join(path.name for path in found)
        raise DataError(f"{folder} holds {words}; remove one of them")
    return found[0] if found else None
