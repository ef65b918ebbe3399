"""Beyond the paper: slope, bias, spread and coverage of the shipped networks, from their cards.

The cards are written by ``brnn evaluate``, on fingerprints and noise that no choice was made with.
The second-order bound is that of Bhattacharyya; slopes are dE[estimate] / d truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared import Claim, Result, above, arguments

from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.store import list_cards

_SNR = "40"
_TOLD = 1.25
"""Second-order bound over CRB, as standard deviations, above which a slope of 1 costs more than it
is worth."""


def reproduce(_data: Path | None = None, *, small: bool = False) -> Result:
    """All networks without bias that are shipped."""
    del small
    cards = [
        card
        for _path, card in list_cards()
        if not card.is_biased and "tissue_sets" in card.evaluation
    ]
    tables = {card.name: _table(card) for card in cards}
    return Result(
        "cards",
        "Slope, bias and coverage of the shipped networks",
        f"From the cards, SNR {_SNR}: medians over fingerprints of a set of the slope (interval: "
        "two standard errors), means of squared bias and coverage of 95 % intervals.",
        [claim for card in cards for claim in _claims(card)],
        tables=tables,
    )


def _rows(card: ModelCard) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for tissue, levels in card.evaluation["tissue_sets"].items():
        for name, row in levels.get(_SNR, {}).items():
            yield tissue, name, row


def _table(card: ModelCard) -> dict[str, dict[str, float]]:
    keys = {
        "slope": "slope", "squared bias / CRB": "squared_bias_over_crb",
        "std / CRB": "std_over_crb", "std / slope": "std_over_slope",
        "second-order bound": "second_order_over_crb",
        "coverage": "coverage", "least coverage": "least_coverage",
    }  # fmt: skip
    return {
        f"{tissue} {name}": {
            label: float(f"{row[key]:.3g}") for label, key in keys.items() if key in row
        }
        for tissue, name, row in _rows(card)
    }


def _claims(card: ModelCard) -> list[Claim]:
    claims = []
    for group, tissues, limit in (
        ("white and grey matter", ("WM", "GM"), 0.95),
        ("lesions and oedema", ("lesion", "oedema"), 0.85),
    ):
        rows = [(t, n, row) for t, n, row in _rows(card) if t in tissues]
        tissue, name, row = min(rows, key=lambda entry: entry[2]["slope"])
        error = 2 * row["slope_error"]
        low, high = row["slope"] - error, row["slope"] + error
        note = f"least: {name} of {tissue}"
        if row.get("second_order_over_crb", 1.0) > _TOLD:
            note += f", second-order bound {row['second_order_over_crb']:.2f}"
        claims.append(
            Claim(f"{card.name}: slopes of at least {limit} in {group}",
                  row["slope"], low, high, above(low, high, limit), note)
        )  # fmt: skip
    bias = max(row["squared_bias_over_crb"] for *_, row in _rows(card))
    claims.append(
        Claim(f"{card.name}: mean squared bias of at most 0.012 CRB in every set",
              bias, bias, bias, bias <= 0.012)
    )  # fmt: skip
    covered = [row["coverage"] for *_, row in _rows(card) if "coverage" in row]
    if covered:
        mean, worst = sum(covered) / len(covered), min(covered)
        claims.append(
            Claim(f"{card.name}: 95 % intervals hold the truth in 93 to 97 % on average",
                  mean, mean, mean, 0.93 <= mean <= 0.97, f"worst set and parameter {worst:.3f}")
        )  # fmt: skip
    return claims


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
