"""Tables of the shipped networks for the documentation: from what, how good, what to beware of.

Everything stands in the model cards beside the weights; nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_brnn.zoo.any_card import any_cards
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import SHIPPED, read_cards

TISSUES = ("WM", "GM", "lesion", "oedema")
"""Tissue sets of a card; columns of the table."""
MIDDLE = "40"
"""``|M0| / sigma`` of the tissue sets that the table shows."""
MIDDLE_SNR = float(MIDDLE)
GOAL_TISSUES = ("WM", "GM", "lesion")
GOAL_LEVELS = ("20", "40", "80")
SLOPE, SLOPE_OF_LESIONS = 0.95, 0.85
"""Least, from the middle SNR on: below it a slope of 1 costs more than it is worth."""
BIAS, BIAS_ABOVE, SINGLE_BIAS = 0.012, 0.03, 0.1
"""Largest mean squared biases over the bound: up to the middle SNR, above it, and single ones."""
EXCESS = 1.1
"""Largest standard deviation over slope, over the better bound."""
COVERAGE, LEAST_COVERAGE = (0.93, 0.97), 0.85
"""Of 95 % intervals: range of the mean, and the least of single ones."""
GOAL_HEADS = (
    "network", "SNR", f"slope, WM and GM (>= {SLOPE} from SNR {MIDDLE} on)",
    f"slope, lesion (>= {SLOPE_OF_LESIONS})",
    f"mean squared bias (<= {BIAS}; SNR 80: {BIAS_ABOVE})",
    f"largest single one (<= {SINGLE_BIAS})",
    f"std/slope over the better bound (<= {EXCESS})",
    "mean coverage ({:.0f} to {:.0f} %)".format(*(100 * share for share in COVERAGE)),
    f"least coverage (>= {LEAST_COVERAGE})",
)  # fmt: skip


def shipped() -> list[ModelCard]:
    """Cards of the networks that are installed with the program, by name."""
    return [card for _, card in read_cards([SHIPPED])[0]]


def trained_rows() -> list[tuple[str, ...]]:
    """How each network was trained."""
    return [
        (
            f"`{card.name}`",
            f"`{card.model}`",
            str(card.sequence.get("name", "")),
            f"{card.network['n_coefficients']}",
            f"{card.snr_range[0]:g} to {card.snr_range[1]:g}",
            f"{card.field_strength:g}" if card.field_strength else "",
            f"`{card.loss}`",
            f"{card.facts['Fingerprints']:,}",
            f"{card.facts['NoiseRealisations'] / 1e6:.0f} M",
            f"{card.training['seconds'] / 60:.0f}",
        )
        for card in shipped()
    ]


def quality_rows() -> list[tuple[str, ...]]:
    """Figures of each network over all of its parameters, and the verdict of the rule."""
    rows: list[tuple[str, ...]] = []
    for card in shipped():
        whole = card.evaluation["held_out"]["all"]
        rate = card.evaluation["voxels_per_core_second"]
        rows.append(
            (
                f"`{card.name}`",
                f"{whole['squared_bias_over_crb']:.3f}",
                f"{whole['variance_over_crb']:.2f}",
                f"{rate['float32_with_std']:,.0f}",
                "no: " + card.shortcoming if card.shortcoming else "yes",
                "; ".join(f"{name}: {words}" for name, words in card.marks.items()) or "none",
            )
        )
    return rows


def tissue_rows() -> list[tuple[str, ...]]:
    """Slope, squared bias, deviations against both bounds, and coverage in tissue, by map.

    Only of networks that serve by themselves and were trained without bias; at one SNR,
    :data:`MIDDLE`.
    """
    rows: list[tuple[str, ...]] = []
    for card in shipped():
        sets = card.evaluation["tissue_sets"]
        if card.shortcoming or card.loss == "mse-crb":
            continue
        for name in card.network["outputs"]:
            cells = [levels.get(MIDDLE, {}).get(name) for levels in map(sets.__getitem__, TISSUES)]
            if any(cells):  # else a nuisance, which is no map
                rows.append((f"`{card.name}`", name, *map(_cell, cells)))
    return rows


def _cell(figures: Mapping[str, float] | None) -> str:
    if figures is None:
        return "not judged"
    least = figures.get("second_order_over_crb")
    bound = "" if least is None else f" ({least:.2f})"
    return (
        f"{figures['slope']:.2f}; {max(0.0, figures['squared_bias_over_crb']):.3f}; "
        f"{figures['std_over_crb']:.2f}, {figures['std_over_slope']:.2f}{bound}; "
        f"{100 * figures['coverage']:.0f} %"
    )


def goal_rows() -> list[tuple[str, ...]]:
    """The worst figure of each network in healthy tissue and lesions, by SNR, against its goal.

    Of networks that serve by themselves and were trained without bias, at SNRs of training.
    """
    rows: list[tuple[str, ...]] = []
    for card in shipped():
        sets = card.evaluation["tissue_sets"]
        if card.shortcoming or card.loss == "mse-crb":
            continue
        low, high = card.snr_range
        for level in (item for item in GOAL_LEVELS if low <= float(item) <= high):
            if cells := goal_cells(sets, level):
                rows.append((f"`{card.name}`", level, *cells))
    return rows


def goal_cells(sets: Mapping[str, Any], level: str) -> tuple[str, ...]:
    """The worst figures at one SNR of what ``evaluation.tissue_sets`` returns; none if not judged.

    In healthy tissue and lesions; each with parameter and tissue, bold where it misses its goal.
    """
    told: dict[tuple[str, str], Mapping[str, float]] = {
        (name, tissue): row
        for tissue in GOAL_TISSUES
        for name, row in sets[tissue].get(level, {}).items()
    }
    if not told:
        return ()

    def worst(key: str, goal: float, digits: int, *, least: bool, of: str = "") -> str:
        values = {who: row[key] for who, row in told.items() if not of or (who[1] in of.split())}
        who = (min if least else max)(values, key=values.__getitem__)
        return _against(values[who], goal, digits, least=least) + f" ({who[0]}, {who[1]})"

    has_slope = float(level) >= MIDDLE_SNR
    healthy, changed = (SLOPE, SLOPE_OF_LESIONS) if has_slope else (0.0, 0.0)
    bias = BIAS_ABOVE if float(level) > MIDDLE_SNR else BIAS
    excess = {
        who: row["std_over_slope"] / max(1.0, row.get("second_order_over_crb", 1.0))
        for who, row in told.items()
    }
    who = max(excess, key=excess.__getitem__)
    mean = sum(row["coverage"] for row in told.values()) / len(told)
    shown = f"{100 * mean:.1f} %"
    return (
        worst("slope", healthy, 2, least=True, of="WM GM"),
        worst("slope", changed, 2, least=True, of="lesion"),
        worst("squared_bias_over_crb", bias, 3, least=False),
        worst("most_squared_bias_over_crb", SINGLE_BIAS, 3, least=False),
        _against(excess[who], EXCESS, 2, least=False) + f" ({who[0]}, {who[1]})",
        shown if COVERAGE[0] <= round(mean, 3) <= COVERAGE[1] else f"**{shown}**",
        worst("coverage", LEAST_COVERAGE, 3, least=True),
    )


def _against(value: float, goal: float, digits: int, *, least: bool) -> str:
    """A figure; bold where it misses its goal."""
    shown = f"{value:.{digits}f}"
    missed = float(shown) < goal if least else float(shown) > goal
    return f"**{shown}**" if missed else shown


def reach_rows() -> list[tuple[str, ...]]:
    """Least and largest figures of protocols that the network for any of them was trained with."""
    ((_, card),) = any_cards([SHIPPED])
    reach = {**card.reach, "field strength of the tissue (T)": card.field_strengths}
    return [(words, *map(_figure, ends)) for words, ends in reach.items()]


def _figure(value: float) -> str:
    return f"{float(f'{value:.3g}'):,g}"
