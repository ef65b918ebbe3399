"""Every map that is no parameter: what it is called, shows, warns of, and how it is summed up.

The one place where a quality map is made known: files, sidecars, flags, figures, region and group
tables follow. Loading this module loads no torch; what computes a map only calls its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bids_brnn.errors import DataError
from bids_brnn.parameters import MapItem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_brnn.parameters import ParameterSet

LEAST_MAGNITUDE = 5.0
"""Magnitude over noise below which the Rician bias (1 % at 7, 2 % at 5, 6 % at 3) matters."""
LEAST_MATCH = 0.9
"""Below it about a fifth of the energy of the signal, or more, is not explained."""
MOST_NOISE = 0.9
"""Share of noise above which data are not excused for matching nothing."""
ITERATION_LIMIT, STALLED = 3, 5
"""Reasons of stop of an iteration that has not converged."""
_NEAR_BOUND = 1e-6  # of the interval, as in the least-squares fit itself


@dataclass(frozen=True)
class Beside:
    """What data and noise tell beside an estimate, each ``(V,)`` or None."""

    mtr: Tensor | None = None
    """Magnetization transfer ratio."""
    chi2: Tensor | None = None
    """Reduced chi-squared, where the noise is known other than by the residual."""
    lowest: Tensor | None = None
    """Smallest magnitude over the noise of one image, where data are magnitudes."""
    noise_share: Tensor | None = None
    """Energy of the noise in that of the data, at most :data:`MOST_NOISE`; None: not known."""
    has_m0: bool = True
    """Whether M0 is estimated."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What is to be added to the description of a map, by its name."""


@dataclass(frozen=True)
class Voxels:
    """What a map is made of: an estimate of ``V`` voxels, and what is known beside it."""

    theta: Tensor
    """``(V, P)``."""
    m0: Tensor
    """``(V,)`` complex."""
    residual: Tensor
    """``(V,)``: norm of (data - fit) over norm of the data."""
    quality: Mapping[str, Tensor]
    """What the estimator tells beside, each ``(V,)``."""
    parameters: ParameterSet
    """Of the columns of ``theta``."""
    snr: Tensor | None = None
    """``(V,)``: |M0| over the noise standard deviation, if it is known."""
    beside: Beside = field(default_factory=Beside)


@dataclass(frozen=True)
class Flag:
    """A reason to doubt a voxel: a bit of the flag map."""

    bit: int
    words: str
    raised: Callable[[Voxels], Any]
    """``(V,)`` bool, or None where the estimator says nothing of it."""


@dataclass(frozen=True)
class Summary:
    """One number of a map over the mask, for the page of a participant and the group table."""

    column: str
    """Of the group table; maps of different estimators may share one."""
    words: str
    """Of that column."""
    title: str = ""
    """On the page; empty: not shown there."""
    rank: int = 9
    """Columns are in this order."""
    transform: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
    """Applied to the values before their median is taken for the column."""


@dataclass(frozen=True, kw_only=True)
class QualityMap:
    """A map beside those of the parameters."""

    name: str
    unit: str = "1"
    description: str
    values: Callable[[Voxels], Any]
    """``(V,)``, or None where this estimator has no such map."""
    display: tuple[float, float] | None = None
    """Colour range of figures, in ``unit``."""
    suffix: str = ""
    """Own BIDS suffix; empty: that of the kind of series, with the name in ``param-``."""
    kind: Literal["estimate", "flag"] = "estimate"
    flag: Flag | None = None
    """The doubt that this map may raise."""
    summary: Summary | None = None

    def item(self, suffix: str) -> MapItem:
        """As a map of a kind of series with the map suffix ``suffix``."""
        return MapItem(self.name, self.unit, self.suffix or suffix, self.description, self.display)


def _not_finite(voxels: Voxels) -> Any:
    estimated = voxels.theta[:, voxels.parameters.columns("estimated")]
    return ~estimated.isfinite().all(-1)


def on_bound(theta: Tensor, parameters: ParameterSet) -> Any:
    """Which values of ``theta`` ``(V, P)`` lie on a bound of their parameter, ``(V, P)``."""
    unit = parameters.to_unit(theta)
    return (unit <= _NEAR_BOUND) | (unit >= 1 - _NEAR_BOUND)


def _at_bound(voxels: Voxels) -> Any:
    free = voxels.parameters.columns("estimated", "nuisance")
    return on_bound(voxels.theta, voxels.parameters)[:, free].any(-1)


def _not_converged(voxels: Voxels) -> Any:
    stop = voxels.quality.get("stop")
    return None if stop is None else (stop == ITERATION_LIMIT) | (stop == STALLED)


def _rician(voxels: Voxels) -> Any:
    lowest = voxels.beside.lowest
    return None if lowest is None else lowest < LEAST_MAGNITUDE


def _low_match(voxels: Voxels) -> Any:
    match, share = voxels.quality.get("match"), voxels.beside.noise_share
    if match is None:
        return None
    # Noise takes its share of the energy from the match of the best signal there is.
    return match < (LEAST_MATCH if share is None else LEAST_MATCH * (1 - share) ** 0.5)


def _beyond(name: str, test: Callable[[Any], Any]) -> Callable[[Voxels], Any]:
    def raised(voxels: Voxels) -> Any:
        return test(voxels.quality[name]) if name in voxels.quality else None

    return raised


SPREADS: Mapping[str, tuple[str, str]] = {
    "std": ("Std", "Standard deviation"),
    "rmse": ("Rmse", "Root mean square error"),
}
"""What follows the estimator in ``desc-`` of a map of uncertainty, and what it is, by kind. An
estimator with bias has no standard deviation that would tell its error."""


def spread_of(desc: str) -> str:
    """Kind of uncertainty that a ``desc-`` names, or nothing."""
    return next((kind for kind, (end, _) in SPREADS.items() if desc.endswith(end)), "")


def without_spread(desc: str) -> str:
    """The estimator of a ``desc-``."""
    kind = spread_of(desc)
    return desc.removesuffix(SPREADS[kind][0]) if kind else desc


def with_spread(estimator: str, kind: str) -> str:
    """``desc-`` of a map of some kind: an estimate, a flag, or an uncertainty."""
    return estimator + (SPREADS[kind][0] if kind in SPREADS else "")


NO_ESTIMATE = Flag(1, "no estimate", _not_finite)
AT_BOUND = Flag(2, "a parameter lies on a bound", _at_bound)
_ALWAYS = (
    NO_ESTIMATE,
    AT_BOUND,
    Flag(4, "the iterations of the least-squares fit did not converge", _not_converged),
    Flag(
        128,
        "a value, or off-resonance or B1 of the signal, lies beyond the training of the network",
        lambda voxels: voxels.quality["edge"] > 0 if "edge" in voxels.quality else None,
    ),
    Flag(
        256,
        "the voxel holds cerebrospinal fluid (fCSF); parameters are those of the rest",
        lambda voxels: voxels.quality["csf"] > 0 if "csf" in voxels.quality else None,
    ),
    Flag(
        64,
        f"a magnitude is below {LEAST_MAGNITUDE:g} noise standard deviations, where it is biased "
        "upwards (Rician)",
        _rician,
    ),
)
_MAPS: dict[str, QualityMap] = {}


def register_map(item: QualityMap) -> QualityMap:
    """Make a map known to every part of the program.

    Raises
    ------
    DataError
        If another map has this name or its flag this bit, or the name is no BIDS label.
    """
    others = [entry for entry in _MAPS.values() if entry is not item]
    if any(entry.name == item.name for entry in others):
        raise DataError(f'there is a map "{item.name}" already')
    if not (item.name.isascii() and item.name.isalnum()):
        raise DataError(f'"{item.name}" cannot follow param-: letters and digits only')
    taken = [flag.bit for flag in _ALWAYS] + [entry.flag.bit for entry in others if entry.flag]
    if item.flag and (item.flag.bit in taken or item.flag.bit & (item.flag.bit - 1)):
        raise DataError(f"bit {item.flag.bit} of the flag map is taken, or is not a single bit")
    _MAPS[item.name] = item
    return item


def quality_maps() -> Mapping[str, QualityMap]:
    """All maps by name, in the order in which they are written; the flag map is the last."""
    last = {"flags": _flag_map()}
    return {**_MAPS, **last}


def flags() -> list[Flag]:
    """All flags by rising bit; 0 is a voxel without doubt."""
    own = [entry.flag for entry in _MAPS.values() if entry.flag is not None]
    return sorted([*_ALWAYS, *own], key=lambda flag: flag.bit)


def flag_words() -> dict[str, str]:
    """Meaning of the bits of a flag map, for sidecars."""
    return {str(flag.bit): flag.words for flag in flags()}


def flag_values(voxels: Voxels) -> Tensor:
    """Sum of the flags of each voxel ``(V,)``, whole numbers in the type of the residual."""
    total = voxels.residual.new_zeros(voxels.residual.shape)
    for flag in flags():
        where = flag.raised(voxels)
        if where is not None:
            total = total + flag.bit * where
    return total


def summaries() -> list[Summary]:
    """One summary for each column of the group table, in their order."""
    found = {
        entry.summary.column: entry.summary
        for entry in reversed(_MAPS.values())
        if entry.summary is not None
    }
    return sorted(found.values(), key=lambda item: item.rank)


def _flag_map() -> QualityMap:
    reasons = "; ".join(f"{flag.bit} {flag.words}" for flag in flags())
    return QualityMap(
        name="flags",
        description=f"Reasons to doubt a voxel, the sum of: {reasons}",
        values=flag_values,
        display=(0.0, float(flags()[-1].bit)),
        kind="flag",
    )


_RESIDUAL = (
    "Median over the mask of the norm of data - fit over the norm of the data; "
    "for a dictionary sqrt(1 - match^2). Not to be compared between estimators: a network sees "
    "coefficients, a dictionary may see time frames with all their noise"
)
register_map(
    QualityMap(
        name="M0",
        unit="arbitrary",
        suffix="M0map",
        description="Magnitude of the equilibrium magnetization",
        values=lambda voxels: voxels.m0.abs() if voxels.beside.has_m0 else None,
    )
)
register_map(
    QualityMap(
        name="relres",
        description="Norm of the difference between data and fit over the norm of the data",
        # A dictionary tells the same as its match.
        values=lambda voxels: None if "match" in voxels.quality else voxels.residual,
        display=(0.0, 0.1),
        summary=Summary("median_residual", _RESIDUAL, "Median relative residual", 1),
    )
)
register_map(
    QualityMap(
        name="match",
        description="Normalized inner product of the data and the best dictionary entry",
        values=lambda voxels: voxels.quality.get("match"),
        display=(0.9, 1.0),
        flag=Flag(
            16,
            f"the match with the dictionary is below {LEAST_MATCH:g}, as far as noise does not "
            "explain it",
            _low_match,
        ),
        summary=Summary(
            "median_residual",
            _RESIDUAL,
            "Median match",
            1,
            lambda match: np.sqrt(np.clip(1 - match**2, 0, None)),
        ),
    )
)
register_map(
    QualityMap(
        name="distance",
        description="Distance from what the network was trained on; above 1 do not trust the "
        "estimate",
        values=lambda voxels: voxels.quality.get("distance"),
        display=(0.0, 2.0),
        flag=Flag(
            8,
            "the voxel lies outside of what the network was trained on (distance above 1)",
            _beyond("distance", lambda distance: distance > 1),
        ),
        summary=Summary(
            "median_distance",
            "Median over the mask of the distance from what the network was trained on",
            rank=2,
        ),
    )
)
register_map(
    QualityMap(
        name="snr",
        description="Magnitude of M0 over the noise standard deviation in each channel (real, "
        "imaginary)",
        values=lambda voxels: voxels.snr,
        summary=Summary("median_snr", "Median of |M0| / noise over the mask", rank=0),
    )
)
register_map(
    QualityMap(
        name="chi2",
        description="Reduced chi-squared: weighted squared residual over the noise variance, per "
        "degree of freedom; 1 where model and noise explain the data",
        values=lambda voxels: voxels.beside.chi2,
        display=(0.0, 5.0),
        summary=Summary(
            "median_chi2",
            "Median over the mask of the reduced chi-squared",
            "Median reduced chi-squared",
            2,
        ),
    )
)
register_map(
    QualityMap(
        name="MTR",
        description="Magnetization transfer ratio: 1 - image with MT pulse / image without",
        values=lambda voxels: voxels.beside.mtr,
        display=(0.0, 0.6),
    )
)
