"""Z-spectra of other programs: constants from the file or the user, never from a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing.pictures import Picture
from bids_brnn.importing.series import as_real
from bids_brnn.sequences.z_spectrum import ZSpectrum

OPTIONS: Mapping[str, str] = {
    "MTPulseShape": "--pulse-shape",
    "MTPulseDuration": "--pulse-duration",
    "MTPulseBandwidth": "--pulse-bandwidth",
    "MTDelay": "--mt-delay",
    "ExcitationDuration": "--excitation-duration",
    "FlipAngle": "--flip-angle",
    "RepetitionTimeExcitation": "--repetition-time",
}
"""Options that say what a file does not, by constant."""
_WITHOUT_BANDWIDTH = ("HARD", "FERMI")
_SAME = 1e-4  # relative; files are rounded
_LARGEST = 2.0  # of images that are divided by that without MT pulse; noise included
_SEQUENCE = "spoiled gradient echo with off-resonant MT pulses"


def metadata() -> dict[str, object]:
    """Keys of the sidecar of every such series."""
    return {"PulseSequenceType": _SEQUENCE}


def constants_of(
    said: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> dict[str, Any]:  # fmt: skip
    """Constants of a protocol, of the file and of options together.

    Parameters
    ----------
    said
        By constant; what the file does not say is absent.
    given
        Of the command line, None where an option is not given.
    where
        Name of the file.

    Raises
    ------
    UsageError
        If both say something else, or neither says it.
    """
    found = {key: value for key, value in said.items() if value is not None}
    for key, value in given.items():
        if value is None:
            continue
        if key in found and not _same(found[key], value):
            raise UsageError(
                f"{OPTIONS[key]} {value} contradicts {where}, which says {found[key]}; leave it "
                "out, or correct the file"
            )
        found.setdefault(key, value)
    shape = str(found.get("MTPulseShape", "")).upper()
    needed = [
        key for key in OPTIONS if key != "MTPulseBandwidth" or shape not in _WITHOUT_BANDWIDTH
    ]
    missing = [OPTIONS[key] for key in needed if key not in found]
    if missing:
        raise UsageError(
            f"{where} does not say all of the sequence; give {', '.join(missing)} (s, degrees, "
            "Hz; see --help)"
        )
    if shape in _WITHOUT_BANDWIDTH:
        found.pop("MTPulseBandwidth", None)
    return found


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, str) or isinstance(second, str):
        return str(first).upper() == str(second).upper()
    return math.isclose(float(first), float(second), rel_tol=_SAME, abs_tol=1e-12)


def spectrum_of(
    angles: Sequence[float],
    offsets: Sequence[float],
    constants: Mapping[str, Any],
    *,
    normalised: bool,
    name: str,
) -> ZSpectrum:
    """The protocol of rows in deg and Hz; an angle of 0 is an image without MT pulse.

    Raises
    ------
    SequenceError
        If values mean another unit, or do not fit together.
    """
    table = {
        "mt_flip_angle": [repr(float(angle)) for angle in angles],
        "offset": [repr(float(offset)) for offset in offsets],
        "mt_state": ["on" if angle > 0 or angle < 0 else "off" for angle in angles],
    }
    return ZSpectrum.from_table(table, {**constants, "Normalised": normalised}, name)


def check_images(
    picture: Picture, protocol: ZSpectrum, mask: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Magnitudes, one volume for each row of the protocol.

    Raises
    ------
    DataError
        If numbers of volumes differ, numbers are no magnitudes, or images that are said to be
        divided by that without MT pulse are not.
    """
    values = as_real(picture.values, picture.name)
    if values.shape[3] != protocol.n_samples:
        raise DataError(
            f"{picture.name} has {values.shape[3]} volumes, {protocol.name} tells of "
            f"{protocol.n_samples} images; they must be the same, in the same order"
        )
    inside = values[np.isfinite(values).all(axis=3) & (values > 0).any(axis=3)]
    if mask is not None and mask.shape == values.shape[:3] and (values[mask > 0].size):
        inside = values[mask > 0]
    if protocol.normalised and inside.size and float(np.nanmedian(inside)) > _LARGEST:
        raise DataError(
            f"{picture.name}: no image is without MT pulse, so that all should be divided by it, "
            f"but their median is {float(np.nanmedian(inside)):.4g}, above {_LARGEST:g}; give "
            "that image (--mt-off), or divide"
        )
    return np.asarray(values, dtype=np.float32)
