"""The quality rule: which networks serve without being named, and which of their maps are marked.

One table of limits for all networks, shipped and own. A network that breaks a limit of the first
kind is *refused*: what one of its maps claims is wrong, or it hides what it should show. A
parameter that breaks a limit of the second kind is *marked*: its map is written, and sidecar, log
and report say what to beware of. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FEWEST_FINGERPRINTS = 50
"""Few fingerprints hold most of the squared bias, so that a handful tells nothing."""
FEWEST_DRAWS = 50
"""Of noise for each fingerprint: coverage of a dozen of them is then known to 0.018 (two standard
errors), the limit 0.05 away; with ten draws to 0.04, so that chance would judge."""
HEALTHY = ("WM", "GM")
"""Tissue in which a network has to follow; in changed tissue a parameter is marked instead."""
_SURE = 2.0
"""Standard errors by which a slope must miss its limit: noise of the evaluation is no fault."""
_TOLD = 0.5
"""Slope of the estimator of least error from which on a protocol tells a parameter: the standard
deviation of an efficient estimate is then below that over tissues."""
_FOLLOWED = 0.5
"""Share of that slope which a network follows where the protocol does not tell a parameter."""
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
    reason: str
    """Why these values: for the documentation."""
    healthy: bool = False
    """Whether only healthy tissue, at the highest SNR that was judged, refuses a network."""

    @property
    def doubt(self) -> float:
        """Uncertainty of a slope beyond which it does not tell 1 from a miss; else infinite.

        All other figures are known well enough with :data:`FEWEST_DRAWS`.
        """
        return 1 - self.marked if self.key == "slope" and self.least else math.inf

    def breaks(self, value: float, limit: float, error: float = 0.0) -> bool:
        """Whether a figure (NaN included, which is worse than any) misses a limit."""
        return not (value + error >= limit if self.least else value - error <= limit)


LIMITS: tuple[Limit, ...] = (
    Limit(
        "held_out", "squared_bias_over_crb", "squared bias", " Cramer-Rao bounds", math.inf, 1.0,
        False,
        "beyond 1 the bias exceeds the noise of an efficient estimator, and no map of standard "
        "deviations shows it; a few fingerprints hold most of the mean, so that it marks nothing",
    ),
    Limit(
        "held_out", "variance_over_crb", "variance", " Cramer-Rao bounds", 1.5, 2.0, False,
        "beyond 2 a voxel needs twice the averages, beyond 1.5 half as many again",
    ),
    Limit(
        "tissue_sets", "squared_bias_over_crb", "squared bias", " Cramer-Rao bounds", 0.25, 1.0,
        False,
        "0.25 is a bias of half a standard deviation: the error of a voxel is 12 % larger than "
        "noise alone makes it; at 1 its square is doubled",
    ),
    Limit(
        "tissue_sets", "std_over_slope", "standard deviation over slope",
        " Cramer-Rao standard deviations", 1.225, 1.414, False,
        "what decides which change can be seen: 1.5 and 2 times the averages",
    ),
    Limit(
        "tissue_sets", "slope", "slope against the truth", "", 0.8, 0.5, True,
        "below 0.8 a fifth of a change is lost; a map that shows less than half of a change in "
        "healthy tissue at the highest SNR shows the prior, not the data. Where the bound of a "
        "parameter exceeds its range, at low SNR or because the protocol does not tell it, no "
        "estimator can follow within that range: that marks only, down to half the slope of the "
        "estimator of least error",
        healthy=True,
    ),
    Limit(
        "tissue_sets", "slope", "slope against the truth", "", 1.2, 1.5, False,
        "changes are shown a fifth, or half, larger than they are", healthy=True,
    ),
    Limit(
        "tissue_sets", "coverage", "share of 95 % intervals that hold the truth", "", 0.9, 0.8,
        True, "twice and four times the misses that the map of standard deviations promises",
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


@dataclass(frozen=True)
class Verdict:
    """What a card says of a network."""

    refusal: str = ""
    """Why it must not serve unless it is named; empty where it may."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What to beware of in the map of a parameter, by name; only the worst of each limit."""
    cure: str = ""
    """What may help against a refusal; empty where only an evaluation is wanting, or nothing."""


@dataclass(frozen=True)
class _Finding:
    limit: Limit
    name: str
    value: float
    refuses: bool
    where: str
    excuse: str = ""
    doubt: float = 0.0
    """Uncertainty, where it is more than the limit allows; else 0."""

    @property
    def badness(self) -> float:
        """Relative miss; infinite for what is no number."""
        if math.isnan(self.value):
            return math.inf
        if self.doubt:
            return self.doubt / self.limit.doubt
        limit = self.limit.refused if self.refuses else self.limit.marked
        return (limit - self.value if self.limit.least else self.value - limit) / limit

    def words(self) -> str:
        """What is found, with the limit that it misses."""
        limit = self.limit.refused if self.refuses else self.limit.marked
        whose = f"{self.name}; " if self.refuses else ""
        if self.doubt:
            return (
                f"{self.limit.words} {self.where} is known to {self.doubt:.2g} only ({whose}"
                f"{self.limit.doubt:g} is needed, by more draws)"
            )
        return (
            f"{self.limit.words} {self.where} is {self.value:.3g}{self.limit.unit} "
            f"({whose}the limit is {limit:g}{self.excuse})"
        )


def judge(evaluation: Mapping[str, Any], snr_range: Sequence[float]) -> Verdict:
    """The verdict of :data:`LIMITS` on the figures of a card.

    Parameters
    ----------
    evaluation
        ``evaluation`` of the card; empty for a network that was never evaluated.
    snr_range
        ``|M0| / sigma`` of training: tissue sets at other levels are not judged.
    """
    if refusal := _unjudged(evaluation):
        return Verdict(refusal)
    findings = list(_held_out(evaluation))
    refusing = [item for item in findings if item.refuses]
    if not refusing and (refusal := _incomplete(evaluation, snr_range)):
        return Verdict(refusal)
    if not refusing:
        findings += _tissue_sets(evaluation, snr_range)
        refusing = [item for item in findings if item.refuses]
    marks: dict[str, str] = {}
    for name in dict.fromkeys(item.name for item in findings if item.name != "all"):
        worst: dict[int, _Finding] = {}
        for item in (item for item in findings if item.name == name):
            seen = worst.setdefault(id(item.limit), item)
            if item.badness > seen.badness:
                worst[id(item.limit)] = item
        marks[name] = "; ".join(item.words() for item in worst.values())
    if refusing:
        # What is told surely comes before what more draws may clear.
        first = max(refusing, key=lambda item: (not item.doubt, item.badness))
        return Verdict(f"its {first.words()}", marks, "" if first.doubt else LONGER)
    refusal, cure = _flags(evaluation)
    return Verdict(refusal, marks, cure)


def _unjudged(evaluation: Mapping[str, Any]) -> str:
    """Why there is nothing to judge; empty where there is."""
    if not evaluation.get("held_out"):
        return "it was never evaluated"
    least = {"fingerprints": ("on", FEWEST_FINGERPRINTS), "draws": ("with", FEWEST_DRAWS)}
    for what, (word, fewest) in least.items():
        count = number(evaluation.get(what))
        if not count >= fewest:
            told = "an unknown number of" if math.isnan(count) else f"{count:g}"
            return f"it was evaluated {word} {told} {what}, {fewest} are needed"
    return ""


def _incomplete(evaluation: Mapping[str, Any], snr_range: Sequence[float]) -> str:
    """What an evaluation lacks, as by an earlier version; empty where nothing."""
    absent = {
        "tissue_sets": "slope and coverage in healthy and changed tissue",
        "outside_training": "what it flags",
    }
    for key, words in absent.items():
        if not evaluation.get(key):
            return f"its evaluation lacks {words}"
    for tissue, levels in evaluation["tissue_sets"].items():
        if not _judged(levels, snr_range):
            return f"its evaluation lacks {tissue} at an SNR of its training"
    return ""


def _judged(levels: Iterable[str], snr_range: Sequence[float]) -> list[str]:
    """SNRs within training, the lowest first."""
    low, high = snr_range
    found = [key for key in levels if low <= number_of(key) <= high]
    return sorted(found, key=number_of)


def _held_out(evaluation: Mapping[str, Any]) -> Iterator[_Finding]:
    for limit in LIMITS:
        if limit.table == "held_out":
            for name, row in evaluation["held_out"].items():
                yield from _findings(limit, name, row, "on held-out fingerprints")


def _tissue_sets(evaluation: Mapping[str, Any], snr_range: Sequence[float]) -> Iterator[_Finding]:
    for tissue, levels in evaluation["tissue_sets"].items():
        judged = _judged(levels, snr_range)
        for level in judged:
            is_best = level == judged[-1]
            for limit in (item for item in LIMITS if item.table == "tissue_sets"):
                may_refuse = not limit.healthy or (is_best and tissue in HEALTHY)
                for name, row in levels[level].items():
                    where = f"in {tissue} at SNR {level}"
                    yield from _findings(limit, name, row, where, may_refuse=may_refuse)


def _findings(
    limit: Limit, name: str, row: Mapping[str, Any], where: str, *, may_refuse: bool = True
) -> Iterator[_Finding]:
    value = number(row.get(limit.key))
    error = _uncertainty(limit, value, row)
    excuse = _excuse(limit, value, error, row)
    if may_refuse and not excuse and limit.breaks(value, limit.refused, error):
        yield _Finding(limit, name, value, True, where)
    elif error > limit.doubt and not excuse:
        yield _Finding(limit, name, value, may_refuse, where, doubt=error)
    elif limit.breaks(value, limit.marked, error):
        yield _Finding(limit, name, value, False, where, excuse)


def _uncertainty(limit: Limit, value: float, row: Mapping[str, Any]) -> float:
    """What noise of the evaluation may have added to a slope, or to what is divided by it."""
    error = _SURE * max(0.0, number(row.get("slope_error", 0.0)))
    slope = number(row.get("slope"))
    if limit.key == "slope":
        return error
    if limit.key == "std_over_slope" and slope > 0 and math.isfinite(value) and error > 0:
        return value * error / (slope + error)
    return 0.0


def _excuse(limit: Limit, slope: float, error: float, row: Mapping[str, Any]) -> str:
    """Why a slope is no fault of the network; empty where it is one, or nothing is known.

    A map of one value follows nothing: only a slope that is surely above 0 is excused, and not far
    below that of the estimator of least error.
    """
    possible = number(row.get("slope_of_prior"))
    if limit.key != "slope" or not limit.least or not possible < _TOLD:
        return ""
    if not slope > error or slope + error < _FOLLOWED * possible:
        return ""
    return "; the bound of the protocol exceeds the range of tissue"


def _flags(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    """Why the flags of a network refuse it, and what may help; empty where they do not."""
    for item in FLAG_LIMITS:
        value = number(evaluation["outside_training"].get(item.key))
        if not (value >= item.limit if item.least else value <= item.limit):
            return f"its {item.words} is {value:.3g} (the limit is {item.limit:g})", item.cure
    return "", ""


def number(value: object) -> float:
    """A number of a card; NaN for whatever is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan  # type: ignore[arg-type]


def number_of(text: str) -> float:
    """The SNR in a key of a card; NaN for whatever is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


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
