"""The quality rule: which networks serve without being named, and which of their maps are marked.

One table of limits for all networks (:mod:`bids_brnn.zoo.limits`). A network that breaks a limit
of the first kind is *refused*: what one of its maps claims is wrong, or it hides what it should
show. A parameter that breaks a limit of the second kind is *marked*: its map is written, and
sidecar, log and report say what to beware of. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bids_brnn.zoo.limits import (
    ERROR,
    FEWEST_DRAWS,
    FEWEST_FINGERPRINTS,
    FLAG_LIMITS,
    HEALTHY,
    LIMITS,
    LONGER,
    Limit,
)

_SURE = 2.0
"""Standard errors by which a figure must miss its limit: noise of the evaluation is no fault."""
_TOLD = 0.5
"""Slope of the estimator of least error from which on a protocol tells a parameter: the standard
deviation of an efficient estimate is then below that over tissues."""
_FOLLOWED = 0.5
"""Share of that slope which a network follows where the protocol does not tell a parameter."""


Place = tuple[str, str]
"""Tissue set and SNR of figures, as in the keys of a card."""
HELD_OUT: Place = ("", "")
"""The figures of held-out fingerprints."""


@dataclass(frozen=True)
class Verdict:
    """What a card says of a network."""

    refusal: str = ""
    """Why it must not serve unless it is named; empty where it may."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What to beware of in the map of a parameter, by name; only the worst of each limit."""
    cure: str = ""
    """What may help against a refusal; empty where only an evaluation is wanting, or nothing."""
    in_doubt: frozenset[Place] = frozenset()
    """Where more draws may decide otherwise: a figure that refuses lies within its error of the
    limit, on either side, or its error is too large to tell."""


@dataclass(frozen=True)
class _Finding:
    limit: Limit
    name: str
    value: float
    refuses: bool
    place: Place
    misses: bool = True
    """Whether a limit is missed; else it is only near."""
    excuse: str = ""
    doubt: float = 0.0
    """Uncertainty, where it is more than the limit allows; else 0."""
    by_chance: bool = False
    """Whether the limit that refuses lies within the uncertainty."""

    @property
    def badness(self) -> float:
        """Relative miss; infinite for what is no number."""
        if math.isnan(self.value):
            return math.inf
        if self.doubt:
            return self.doubt / self.limit.doubt
        limit = self.limit.refused if self.refuses else self.limit.marked
        return (limit - self.value if self.limit.least else self.value - limit) / limit

    @property
    def where(self) -> str:
        """The place in words."""
        tissue, level = self.place
        return (
            f"in {tissue} at SNR {level}" if self.place != HELD_OUT else "on held-out fingerprints"
        )

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
    missed = [item for item in findings if item.misses]
    for name in dict.fromkeys(item.name for item in missed if item.name != "all"):
        worst: dict[int, _Finding] = {}
        for item in (item for item in missed if item.name == name):
            seen = worst.setdefault(id(item.limit), item)
            if item.badness > seen.badness:
                worst[id(item.limit)] = item
        marks[name] = "; ".join(item.words() for item in worst.values())
    if refusing:
        # What is told surely comes before what more draws may clear.
        first = max(refusing, key=lambda item: (not item.doubt, item.badness))
        cure, sure = "" if first.doubt else LONGER, not all(item.by_chance for item in refusing)
        return Verdict(f"its {first.words()}", marks, cure, in_doubt=_in_doubt(findings, sure))
    refusal, cure = _flags(evaluation)
    return Verdict(refusal, marks, cure, in_doubt=_in_doubt(findings, bool(refusal)))


def _in_doubt(findings: Iterable[_Finding], is_sure: bool) -> frozenset[Place]:
    """Where chance may have decided; nowhere if something else did, surely."""
    return frozenset(() if is_sure else (item.place for item in findings if item.by_chance))


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
                yield from _findings(limit, name, row, HELD_OUT)


def _tissue_sets(evaluation: Mapping[str, Any], snr_range: Sequence[float]) -> Iterator[_Finding]:
    for tissue, levels in evaluation["tissue_sets"].items():
        judged = _judged(levels, snr_range)
        for level in judged:
            is_best = level == judged[-1]
            for limit in (item for item in LIMITS if item.table == "tissue_sets"):
                may_refuse = not limit.healthy or (is_best and tissue in HEALTHY)
                for name, row in levels[level].items():
                    place = (tissue, level)
                    yield from _findings(limit, name, row, place, may_refuse=may_refuse)


def _findings(
    limit: Limit, name: str, row: Mapping[str, Any], place: Place, *, may_refuse: bool = True
) -> Iterator[_Finding]:
    value = number(row.get(limit.key))
    error = _uncertainty(limit, value, row)
    excuse = _excuse(limit, value, error, row)
    may_refuse = may_refuse and not excuse
    near = may_refuse and limit.breaks(value, limit.refused, -error)
    found = _Finding(limit, name, value, may_refuse, place, excuse=excuse, by_chance=near)
    if may_refuse and limit.breaks(value, limit.refused, error):
        # What is surely beyond the limit stays so with more draws.
        yield replace(found, by_chance=False)
    elif (
        _SURE * number(row.get(limit.key + ERROR)) > limit.doubt
        and not excuse
        and not limit.surely_kept(value, error)
    ):
        yield replace(found, doubt=error, by_chance=may_refuse)
    elif limit.breaks(value, limit.marked, error):
        yield replace(found, refuses=False)
    elif near:
        yield replace(found, refuses=False, misses=False)


def _uncertainty(limit: Limit, value: float, row: Mapping[str, Any]) -> float:
    """What noise of the evaluation may have added to a figure, or to what it is divided by."""
    told = number(row.get(limit.key + ERROR))
    if told >= 0:
        return _SURE * told
    # A card of an earlier version knows the error of its slope alone.
    error = _SURE * max(0.0, number(row.get("slope" + ERROR, 0.0)))
    slope = number(row.get("slope"))
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
