"""Quality at a glance: one row for each question that a reader asks first.

A rule is a function from a series to rows; :func:`register_rule` adds one. Limits are conventions
to look by, not tests: each row gives its number, and what it was compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bids_brnn.estimators.registry import NETWORK
from bids_brnn.maps import AT_BOUND, NO_ESTIMATE, flags
from bids_brnn.reports.content import LITERATURE, WHITE_MATTER, EstimatorView, SeriesView

Level = Literal["good", "look", "bad", "unknown"]
WORDS: Mapping[Level, str] = {
    "good": "good", "look": "look at it", "bad": "problem", "unknown": "not known",
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """One question, its number, and what to do."""

    level: Level
    title: str
    value: str
    compared: str
    """What the number was compared with."""
    advice: str
    """What to do; empty where nothing is to be done."""
    link: str
    """Name of the panel (:class:`bids_brnn.reports.panels.Panel`) or section that shows it."""

    @property
    def words(self) -> str:
        """The level for readers who see no colours."""
        return WORDS[self.level]


Rule = Callable[[SeriesView], Iterable[Light]]


def lights(series: SeriesView) -> list[Light]:
    """The rows of all rules: problems first, then in the order of the rules."""
    found = [light for rule in _RULES for light in rule(series)]
    order: list[Level] = ["bad", "look", "unknown", "good"]
    return sorted(found, key=lambda light: order.index(light.level))


def register_rule(rule: Rule) -> Rule:
    """Add a rule; its rows come after those of the others."""
    _RULES.append(rule)
    return rule


def _graded(value: float, good: float, bad: float) -> Level:
    """For numbers that are better the smaller they are; ``good`` and ``bad`` in this order."""
    if not np.isfinite(value):
        return "unknown"
    return "good" if value <= good else "look" if value <= bad else "bad"


def _mask(series: SeriesView) -> Iterator[Light]:
    check = str(series.about.get("MaskCheck", "not checked"))
    method = str(series.about.get("MaskMethod", "unknown"))
    litres = series.about.get("MaskVolumeLitres")
    size = f", {litres:.3g} l" if isinstance(litres, int | float) else ""
    level: Level = {"passed": "good", "not checked": "unknown"}.get(check, "bad")  # type: ignore[assignment]
    advice = "Look at the outline; give a better mask with --mask." if level == "bad" else ""
    if method == "threshold":
        level = "bad"
        advice = (
            "There is no brain mask, only an intensity threshold: give one with --mask or from "
            "--derivatives fmriprep=FOLDER."
        )
    yield Light(level, "Mask", f"{check}{size}", "volume and place of a brain", advice, "mask")


def _registration(series: SeriesView) -> Iterator[Light]:
    about = series.about.get("Registration")
    if not isinstance(about, Mapping):
        return
    words = str(about.get("Description", "unknown"))
    rotation, shift = about.get("RotationDegrees"), about.get("TranslationMillimetres")
    moved = ""
    if isinstance(rotation, int | float) and isinstance(shift, int | float):
        moved = f"{shift:.2g} mm, {rotation:.2g} degrees: "
    rigid, failed = about.get("Method") == "rigid", "failed" in words
    level: Level = "bad" if failed else "good" if rigid else "look"
    advice = {
        "good": "",
        "look": "The headers are believed: see whether the outline fits both images.",
        "bad": "See whether the outline fits both images; if not, regions and mask are wrong, and "
        "a mask in the space of the series (--mask) is needed.",
    }[level]
    yield Light(
        level, "Registration", f"{moved}{words}", "rigid, better than the headers", advice,
        "registration",
    )  # fmt: skip


GOOD_MOTION, MOST_MOTION = 0.2, 0.5
"""mm, mean framewise displacement (Power 2012 marks frames above 0.5)."""


def _motion(series: SeriesView) -> Iterator[Light]:
    if not series.motion:
        return
    steps = np.asarray(series.motion["framewise_displacement"], dtype=np.float64)
    mean = float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")
    level = _graded(mean, GOOD_MOTION, MOST_MOTION)
    advice = "" if level == "good" else "Distrust thin structures and edges; acquire again if bad."
    yield Light(
        level, "Motion", f"{mean:.2g} mm mean framewise displacement",
        f"{GOOD_MOTION:g} and {MOST_MOTION:g} mm", advice, "motion",
    )  # fmt: skip


GOOD_SNR, LEAST_SNR = 50.0, 20.0
"""|M0| over sigma: biases of fingerprints reach 10 % at the first and the maps are useless at the
second (docs/inputs.md)."""


def _snr(series: SeriesView) -> Iterator[Light]:
    for item in series.estimators[:1]:
        values = _inside(item, "snr", series)
        if values is None:
            continue
        middle = _median(values)
        level = _graded(-middle, -GOOD_SNR, -LEAST_SNR)
        advice = {
            "good": "", "unknown": "State NoiseStandardDeviation in the sidecar of the series.",
        }.get(level, "Average, enlarge voxels, or read means of regions only.")  # fmt: skip
        yield Light(
            level, "SNR", f"{middle:.3g} (median of |M0| / noise)",
            f"{GOOD_SNR:g} and {LEAST_SNR:g}", advice, f"{item.key}Quality",
        )  # fmt: skip


GOOD_FLAGGED, MOST_FLAGGED = 0.10, 0.25
GOOD_BOUND, MOST_BOUND = 0.02, 0.10
GOOD_FAILED, MOST_FAILED = 0.001, 0.02


def _flagged(series: SeriesView) -> Iterator[Light]:
    for item in series.estimators:
        values = _inside(item, "flags", series)
        if values is None:
            continue
        found = values[np.isfinite(values)].astype(np.int64)  # wherever it was run
        for title, bits, good, most, advice in (
            ("Voxels with a flag", -1, GOOD_FLAGGED, MOST_FLAGGED, "See which flags, and where."),
            ("On a bound", AT_BOUND.bit, GOOD_BOUND, MOST_BOUND,
             "Values on a bound are limits, no estimates: leave them out of means."),
            ("Without an estimate", NO_ESTIMATE.bit, GOOD_FAILED, MOST_FAILED,
             "See whether the mask holds voxels without signal."),
        ):  # fmt: skip
            share = float(np.mean(found & bits > 0)) if found.size else float("nan")
            level = _graded(share, good, most)
            value = f"{100 * share:.2g} %{_reasons(found) if bits == -1 else ''}"
            yield Light(
                level, f"{title}: {item.title}", value, f"{100 * good:g} and {100 * most:g} %",
                "" if level == "good" else advice, f"{item.key}Quality",
            )  # fmt: skip


def _reasons(found: Any) -> str:
    """The two flags that most voxels have."""
    shares = [(float(np.mean(found & flag.bit > 0)), flag.words) for flag in flags()]
    named = [f"{100 * share:.2g} % {words}" for share, words in sorted(shares)[::-1][:2] if share]
    return f": {'; '.join(named)}" if named else ""


GOOD_CHI2, MOST_CHI2 = 1.5, 3.0


def _residual(series: SeriesView) -> Iterator[Light]:
    for item in series.estimators:
        warned = item.about.get("NoiseWarning")
        chi2 = _inside(item, "chi2", series)
        link = f"{item.key}Quality"
        if chi2 is not None:
            middle = _median(chi2)
            level = _graded(middle, GOOD_CHI2, MOST_CHI2)
            advice = "" if level == "good" else (
                "The model leaves more than noise: see where, compare models, and check the "
                "protocol in the sidecar."
            )  # fmt: skip
            yield Light(
                level, f"Residual against noise: {item.title}",
                f"reduced chi-squared {middle:.3g} (median)", f"{GOOD_CHI2:g} and {MOST_CHI2:g}",
                advice, link,
            )  # fmt: skip
        elif warned or item.about.get("NoiseSource") not in (None, "n/a"):
            values = _inside(item, "relres", series)
            residual = "" if values is None else f"; residual {100 * _median(values):.2g} %"
            yield Light(
                "bad" if warned else "good", f"Residual against noise: {item.title}",
                f"{warned or 'agree within a factor of 2'}{residual}", "a factor of 2",
                "Check NoiseStandardDeviation; standard deviations follow it." if warned else "",
                link,
            )  # fmt: skip


def _network(series: SeriesView) -> Iterator[Light]:
    """What the sidecars say of the network, and how far data lie from its training."""
    for item in series.estimators:
        if item.key != NETWORK:
            continue
        notes = [str(note) for note in series.about.get("NetworkNotes", [])]
        notes += [str(item.about[key]) for key in ("WeightsWarning",) if item.about.get(key)]
        # The page says already of which series it speaks.
        notes = [note.removeprefix(f"{series.name}: ").rstrip(".") for note in notes]
        far = _inside(item, "distance", series)
        share = float(np.mean(far > 1)) if far is not None and far.size else float("nan")
        level = "look" if notes else _graded(share, 0.02, 0.10)
        name = item.about.get("WeightsName", "unknown")
        outside = ""
        if np.isfinite(share):
            outside = f", {100 * share:.2g} % of the voxels outside of its training"
        yield Light(
            level, "Network", "; ".join([f"{name}{outside}", *notes]),
            "limits of its model card; 2 and 10 % outside",
            "" if level == "good" else "Prefer the reference fit where both differ.",
            f"{item.key}Quality",
        )  # fmt: skip


LITERATURE_FACTOR = 1.5


def _literature(series: SeriesView) -> Iterator[Light]:
    """Medians in white matter at 3 T against what is published."""
    for item in series.estimators[:1]:
        field = item.about.get("MagneticFieldStrength")
        if not isinstance(field, int | float) or abs(field - 3) > 0.2:
            continue
        parts, worst = [], 1.0
        for view in item.estimates:
            known = [value for tissue, value, _ in LITERATURE.get(view.name, ()) if tissue == "WM"]
            here = _white_matter(item, view.name)
            if not known or here is None or here <= 0:
                continue
            low, high = min(known), max(known)
            worst = max(worst, low / here, here / high)
            span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            parts.append(f"{view.name} {here:.3g} ({span})")
        if parts:
            level = _graded(worst, LITERATURE_FACTOR, 2 * LITERATURE_FACTOR)
            yield Light(
                level, f"White matter: {item.title}", ", ".join(parts),
                f"published values in brackets, within a factor of {LITERATURE_FACTOR:g}",
                "" if level == "good" else "Check units of B1 and B0 maps, protocol and mask.",
                f"{item.key}Hist",
            )  # fmt: skip


def _white_matter(item: EstimatorView, name: str) -> float | None:
    values = [
        row["median"] for row in item.statistics
        if row.get("param") == name and WHITE_MATTER.search(str(row.get("name", "")))
        and isinstance(row.get("median"), float)
    ]  # fmt: skip
    return float(np.mean(values)) if values else None  # type: ignore[arg-type]


def _inside(item: EstimatorView, name: str, series: SeriesView) -> Any:
    found = [view.values[series.mask] for view in item.quality if view.name == name]
    return found[0] if found else None


def _median(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


_RULES: list[Rule] = [
    _mask, _registration, _motion, _snr, _residual, _flagged, _network, _literature,
]  # fmt: skip
