"""Whether a reference is run in all voxels of a series, and in which of them if not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_brnn.config.choices import ALL, AUTO, MOST_MINUTES, USUAL_SAMPLE
from bids_brnn.errors import DataError
from bids_brnn.estimators.run import duration
from bids_brnn.imaging.grids import load, save
from bids_brnn.regions.sampling import LEAST_OF_REGION, stratified_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

SAMPLE_FILE = "sample.nii"
"""Mask of the voxels that were estimated, beside the maps."""
_PILOT = (256, 2048)
"""Voxels of the first trial, which also loads and compiles, and of the one that is measured."""
_LOG = logging.getLogger("bids_brnn.estimate")


def draw_sample(
    wanted: str,
    mask: Mask,
    strata: Sequence[str],
    seed: int,
    run: Callable[[Mask], object],
    label: str,
) -> Mask:
    """The voxels of ``mask`` that are to be estimated; ``mask`` itself where all are.

    Parameters
    ----------
    wanted
        A number of voxels, ``all``, or ``auto``: all where they take at most ``MOST_MINUTES`` by
        the rate of a few of them, or are no more than ``USUAL_SAMPLE``; else so many.
    mask
        ``(X, Y, Z)``.
    strata
        Label images on its grid: each region has its share.
    seed
        Of the draw.
    run
        Estimates the voxels of a mask, to be timed.
    label
        Name of series and estimator for messages.

    Raises
    ------
    DataError
        If a label image has another grid.
    """
    available = int(mask.sum())
    if wanted == ALL or available == 0:
        return mask

    def drawn(n: int) -> Mask:
        chosen = np.zeros(mask.shape, dtype=bool)
        chosen[mask] = stratified_sample(_labels(strata, mask), available, n, seed)
        return chosen

    why = ""
    if wanted != AUTO:
        n = min(int(wanted), available)
    elif available <= USUAL_SAMPLE:
        n = available
    else:
        rate = measured_rate(run, drawn)
        n = available if available <= 60 * MOST_MINUTES * rate else USUAL_SAMPLE
        why = f" all would take {duration(available / rate)} at {rate:.0f} voxels/s,"
        why += " and --reference-voxels all takes them;"
    if n == available:
        return mask
    _LOG.info("%s:%s %s", label, why, sample_words(n, available, seed, by_region=bool(strata)))
    return drawn(n)


def measured_rate(run: Callable[[Mask], object], drawn: Callable[[int], Mask]) -> float:
    """Voxels per second of a small sample, once everything is loaded."""
    first, timed = _PILOT
    run(drawn(first))
    started = time.monotonic()
    run(drawn(timed))
    return timed / max(time.monotonic() - started, 1e-9)


def _labels(strata: Sequence[str], mask: Mask) -> list[NDArray[np.integer[Any]]]:
    """Labels ``(V,)`` of each image inside the mask."""
    found = []
    for path in strata:
        values = np.asanyarray(load(path).dataobj)
        if values.shape != mask.shape:
            raise DataError(f"{path} has shape {values.shape}, the series has {mask.shape}.")
        found.append(values[mask].astype(np.int32))
    return found


def sample_words(n: int, available: int, seed: int, *, by_region: bool) -> str:
    """What was estimated, in words.

    >>> sample_words(500, 20000, 1, by_region=False)
    'estimated in 500 of 20000 voxels of the mask, drawn at random (seed 1)'
    """
    how = "at random"
    if by_region:
        how += f" from each region by its size, at least {LEAST_OF_REGION} where the number allows"
    return f"estimated in {n} of {available} voxels of the mask, drawn {how} (seed {seed})"


def sample_row(
    folder: Path, chosen: Mask, mask: Mask, affine: NDArray[Any], *, seed: int, by_region: bool
) -> dict[str, Any]:
    """What the rows of ``maps.json`` tell of a sample, whose mask is written; empty for all."""
    n, available = int(chosen.sum()), int(mask.sum())
    if n == available:
        return {}
    save(folder / SAMPLE_FILE, chosen, affine)
    keys = {
        "EstimatedVoxels": n,
        "MaskVoxels": available,
        "RandomSeed": seed,
        "VoxelSelection": sample_words(n, available, seed, by_region=by_region),
    }
    return {"sample": keys, "sample_file": SAMPLE_FILE}


def sample_keys(row: Mapping[str, Any]) -> dict[str, Any]:
    """Sidecar keys of a map of a sample; empty for one of all voxels."""
    return dict(row.get("sample", {}))


def estimated_mask(maps_file: Path, row: Mapping[str, Any]) -> Mask | None:
    """``(X, Y, Z)`` voxels that a row of ``maps_file`` was estimated in; None: all of the mask."""
    if "sample_file" not in row:
        return None
    inside: Mask = np.asanyarray(load(maps_file.parent / row["sample_file"]).dataobj) > 0
    return inside
