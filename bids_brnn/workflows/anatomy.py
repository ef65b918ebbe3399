"""What the T1w image of a participant serves for: registration, and a mask where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bids_brnn.bids.images import Grid, read_grid
from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.bids.input.spaces import follows_t1w
from bids_brnn.config.run_config import RunConfig
from bids_brnn.estimators.registry import estimators
from bids_brnn.imaging.resampling import thin_axis
from bids_brnn.workflows.masking import Anatomy

_NEEDED = ("deepbet", "cc3d", "fill_voids")
_GIVE = "Give a mask with --mask or --derivatives"


def find_anatomy(
    config: RunConfig, acquisition: Acquisition, estimations: Mapping[str, Mapping[str, Any]]
) -> Anatomy:
    """What the preparation of a series can use of the head.

    Parameters
    ----------
    config
        What was asked for.
    acquisition
        The series.
    estimations
        Options of ``init_estimation_wf`` by estimator, for a mask from a quick estimate.
    """
    t1w = acquisition.t1w
    found: dict[str, Any] = {
        "t1w": t1w,
        "registration": config.registration,
        "session": acquisition.companions.session or "",
    }
    if config.mask is not None:
        return Anatomy(**found)
    if acquisition.mask is not None:
        return Anatomy(**found, mask_in_t1w=follows_t1w(acquisition, acquisition.mask))
    if config.skull_strip == "skip":
        return Anatomy(**found, hint=f"{_GIVE}, or leave out --skull-strip skip.")
    if not deepbet_installed():
        return Anatomy(**found, hint=f"{_GIVE}, or install deepbet: pip install bids_brnn[mask].")
    if t1w is not None and _thick(read_grid(t1w)):
        return Anatomy(**found, strip_t1w=True)
    if not _thick(read_grid(_first(acquisition))):
        return Anatomy(**found, hint=f"It is too thin for deepbet. {_GIVE}.")
    for name, entry in estimators().items():  # of several quick ones the first is the better
        if entry.quick and name in estimations:
            return Anatomy(**found, quick=estimations[name])
    hint = f"{_GIVE}, or a T1w image: without a network there is no quick estimate to make one of."
    return Anatomy(**found, hint=hint)


def deepbet_installed() -> bool:
    """Whether deepbet and what it needs here can be imported; its window toolkit is not needed."""
    return all(find_spec(name) is not None for name in _NEEDED)


def _first(acquisition: Acquisition) -> Path:
    return next(iter(acquisition.parts.values()))


def _thick(grid: Grid) -> bool:
    return thin_axis(grid.space, grid.affine) is None
