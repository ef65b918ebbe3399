"""Means and spread over networks that differ in the seed of their training alone.

``python benchmarks/compare_seeds.py CARD CARD ... [--update-card SHIPPED]``: every card must hold
its evaluation, as ``pipelines/train/train.sbatch`` writes it for an array of seeds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.errors import DataError
from bids_brnn.files import write_text
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import card_path

_LOWEST_SNR = 20.0


def numbers(card: ModelCard) -> dict[str, float]:
    """What is compared: one number per key."""
    evaluation = card.evaluation
    if "held_out" not in evaluation:
        raise DataError(f'the card of "{card.name}" has no evaluation; run brnn evaluate on it')
    found: dict[str, float] = {}
    groups = {"held out": evaluation["held_out"]}
    in_band = evaluation.get("in_band", {})
    groups |= {f"in band, SNR {level}": row for level, row in in_band.items()}
    for group, summary in groups.items():
        for key in ("squared_bias_over_crb", "variance_over_crb", "variance_above_1.1"):
            found[f"{group}, {key}"] = summary["all"][key]
    curves = evaluation["tissues"]["WM"]["network"]
    for row, level in enumerate(curves["snr"]):
        for name, curve in curves.items():
            if isinstance(curve, Mapping) and level >= _LOWEST_SNR:
                where = f"WM, SNR {level:g}, {name}"
                found[f"{where}, bias_percent"] = curve["bias_percent"][row]
                found[f"{where}, std_over_bound"] = curve["std_over_bound"][row]
    return found


def compare(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """Per key the values in the order of the cards, their mean and standard deviation."""
    # Through the class: options that are younger than a card had their default.
    configs = [TrainingConfig.from_dict(card.training["config"]) for card in cards]
    training = [config.to_dict() for config in configs]
    seeds = [config.pop("seed") for config in training]
    if len(set(seeds)) < len(seeds) or any(config != training[0] for config in training[1:]):
        raise DataError("these networks must differ in the seed of their training, and in it only")
    rows = [numbers(card) for card in cards]
    return {
        "seeds": seeds,
        **{
            key: {
                "values": [row[key] for row in rows],
                "mean": float(f"{statistics.fmean(row[key] for row in rows):.4g}"),
                "spread": float(f"{statistics.stdev(row[key] for row in rows):.2g}"),
            }
            for key in rows[0]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cards", nargs="+", type=Path)
    parser.add_argument("--update-card", type=Path, metavar="CARD", help="write into this card")
    options = parser.parse_args()
    if len(options.cards) < 2:
        parser.error("give the cards of at least two seeds")
    table = compare([ModelCard.from_file(card_path(card)) for card in options.cards])
    print(f"seeds {table['seeds']}")
    for key, row in table.items():
        if isinstance(row, Mapping):
            print(f"{key:50} {row['mean']:9.4g} +- {row['spread']:<8.2g} {row['values']}")
    if options.update_card is not None:
        path = card_path(options.update_card)
        card = ModelCard.from_file(path)
        write_text(path, card.with_evaluation({**card.evaluation, "seeds": table}).to_json())


if __name__ == "__main__":
    main()
