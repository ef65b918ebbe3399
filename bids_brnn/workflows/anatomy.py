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
    give = _advice(config)
    found |= {"reason": _no_mask(config, acquisition), "hint": f"{give}."}
    good_t1w = t1w is not None and _thick(read_grid(t1w))
    if not good_t1w and not _thick(read_grid(_first(acquisition))):
        return Anatomy(**found | {"hint": f"It is too thin for deepbet. {give}."})
    ways = [] if deepbet_installed() else ["install deepbet: pip install bids_brnn[mask]"]
    if config.skull_strip == "skip":
        ways.append("leave out --skull-strip skip")
    if ways:
        return Anatomy(**found | {"hint": f"{give}, or {', and '.join(ways)}."})
    if good_t1w:
        return Anatomy(**found, strip_t1w=True)
    for name, entry in estimators().items():  # of several quick ones the first is the better
        if entry.quick and name in estimations:
            return Anatomy(**found, quick=estimations[name])
    lacking = "without a network there is no quick estimate to make one of"
    return Anatomy(**found | {"hint": f"{give}, or a T1w image: {lacking}."})


def _no_mask(config: RunConfig, acquisition: Acquisition) -> str:
    """Why there is no mask of the data set."""
    if "mask" in config.ignore:
        return "brain masks are left out by --ignore mask"
    if config.derivatives:
        participant = f"sub-{acquisition.entities['subject']}"
        return f"{searched(config.derivatives)} no brain mask for this series of {participant}"
    return "no brain mask was found"


def _advice(config: RunConfig) -> str:
    """What would give a mask, without what was done already."""
    if "mask" in config.ignore:
        return "Give a mask with --mask, or leave out --ignore mask"
    if config.derivatives:
        return "Give a mask with --mask"
    return "Give a mask with --mask or --derivatives"


def searched(derivatives: Mapping[str, Path]) -> str:
    """The derivative data sets that were given, and a verb.

    >>> searched({"fmriprep": Path("/prep")})
    '--derivatives fmriprep=/prep holds'
    """
    listed = " and ".join(f"{name}={path}" for name, path in derivatives.items())
    return f"--derivatives {listed} {'holds' if len(derivatives) == 1 else 'hold'}"


def deepbet_installed() -> bool:
    """Whether deepbet and what it needs here can be imported; its window toolkit is not needed."""
    return all(find_spec(name) is not None for name in _NEEDED)


def _first(acquisition: Acquisition) -> Path:
    return next(iter(acquisition.parts.values()))


def _thick(grid: Grid) -> bool:
    return thin_axis(grid.space, grid.affine) is None
