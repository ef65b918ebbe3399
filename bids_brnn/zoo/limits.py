"""The limits of the quality rule: one table for all networks, shipped and own. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

FEWEST_FINGERPRINTS = 50
"""Few fingerprints hold most of the squared bias, so that a handful tells nothing."""
FEWEST_DRAWS = 50
"""Of noise for each fingerprint: coverage of a dozen of them is then known to 0.018 (two standard
errors), the limit 0.05 away; with ten draws to 0.04, so that chance would judge."""
ERROR = "_error"
"""Behind the key of a figure: its standard error, by the finite number of draws."""
HEALTHY = ("WM", "GM")
"""Tissue in which a network has to follow; in changed tissue a parameter is marked instead."""
LONGER = "train longer (docs/training.md)"
"""What may help a network whose figures are poor."""


@dataclass(frozen=True)
class Limit:
    """Of one figure of a card."""

    table: str
    """``held_out`` (all tissue of training) or ``tissue_sets`` (by tissue and SNR)."""
    key: str
    """Of the figure in a row of that table."""
    words: str
    unit: str
    marked: float
    refused: float
    least: bool
    """Whether these are the smallest values allowed, else the largest."""
    ideal: float
    """Of an efficient estimator without bias."""
    reason: str
    """Why these values: for the documentation."""
    healthy: bool = False
    """Whether only healthy tissue, at the highest SNR that was judged, refuses a network."""

    @property
    def doubt(self) -> float:
        """Uncertainty beyond which the figure does not tell what is ideal from a miss."""
        return abs(self.ideal - (self.marked if math.isfinite(self.marked) else self.refused))

    def surely_kept(self, value: float, error: float) -> bool:
        """Whether a figure is within the limit that marks, whatever chance has added to it."""
        return not self.breaks(value, self.marked, -error)

    def breaks(self, value: float, limit: float, error: float = 0.0) -> bool:
        """Whether a figure (NaN included, which is worse than any) misses a limit."""
        return not (value + error >= limit if self.least else value - error <= limit)


LIMITS: tuple[Limit, ...] = (
    Limit(
        "held_out", "squared_bias_over_crb", "squared bias", " Cramer-Rao bounds", math.inf, 1.0,
        False, 0.0,
        "beyond 1 the bias exceeds the noise of an efficient estimator, and no map of standard "
        "deviations shows it; a few fingerprints hold most of the mean, so that it marks nothing",
    ),
    Limit(
        "held_out", "variance_over_crb", "variance", " Cramer-Rao bounds", 1.5, 2.0, False, 1.0,
        "beyond 2 a voxel needs twice the averages, beyond 1.5 half as many again",
    ),
    Limit(
        "tissue_sets", "squared_bias_over_crb", "squared bias", " Cramer-Rao bounds", 0.25, 1.0,
        False, 0.0,
        "0.25 is a bias of half a standard deviation: the error of a voxel is 12 % larger than "
        "noise alone makes it; at 1 its square is doubled",
    ),
    Limit(
        "tissue_sets", "std_over_slope", "standard deviation over slope",
        " Cramer-Rao standard deviations", 1.225, 1.414, False, 1.0,
        "what decides which change can be seen: 1.5 and 2 times the averages",
    ),
    Limit(
        "tissue_sets", "slope", "slope against the truth", "", 0.8, 0.5, True, 1.0,
        "below 0.8 a fifth of a change is lost; a map that shows less than half of a change in "
        "healthy tissue at the highest SNR shows the prior, not the data. Where the bound of a "
        "parameter exceeds its range, at low SNR or because the protocol does not tell it, no "
        "estimator can follow within that range: that marks only, down to half the slope of the "
        "estimator of least error",
        healthy=True,
    ),
    Limit(
        "tissue_sets", "slope", "slope against the truth", "", 1.2, 1.5, False, 1.0,
        "changes are shown a fifth, or half, larger than they are", healthy=True,
    ),
    Limit(
        "tissue_sets", "coverage", "share of 95 % intervals that hold the truth", "", 0.9, 0.8,
        True, 0.95, "twice and four times the misses that the map of standard deviations promises",
    ),
)  # fmt: skip
"""Held-out fingerprints and tissue sets; rows of a card by parameter."""


@dataclass(frozen=True)
class FlagLimit:
    """Of the distance from the training distribution, which no parameter has for itself."""

    key: str
    words: str
    limit: float
    least: bool
    reason: str
    cure: str = LONGER


FLAG_LIMITS = (
    FlagLimit(
        "flagged_noise_only", "share of signals of pure noise that are flagged", 0.9, True,
        "a flag that lets one of ten signals pass that hold nothing is none",
        "a higher lowest SNR of training, or a protocol of more samples; a longer training does "
        "not mend that (docs/training.md)",
    ),
    FlagLimit(
        "flagged_white_matter_snr_20",
        "share of white matter at SNR 20, or twice the lowest of training, that is flagged", 0.05,
        False, "false alarms in one of twenty voxels hide the true ones",
    ),
)  # fmt: skip


def limit_rows() -> list[tuple[str, str, str, str]]:
    """Figure, limits to mark and to refuse, and reason: the table of the documentation."""
    where = {"held_out": "held-out fingerprints", "tissue_sets": "tissue sets"}
    rows = []
    for item in LIMITS:
        sign = ">=" if item.least else "<="
        marked = "" if math.isinf(item.marked) else f"{sign} {item.marked:g}"
        healthy = " (WM and GM, highest SNR)" if item.healthy else ""
        rows.append(
            (f"{item.words}; {where[item.table]}", marked, f"{sign} {item.refused:g}{healthy}",
             item.reason)
        )  # fmt: skip
    for flag in FLAG_LIMITS:
        sign = ">=" if flag.least else "<="
        rows.append((flag.words, "", f"{sign} {flag.limit:g}", flag.reason))
    return rows
