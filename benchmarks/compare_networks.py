"""Networks against non-linear least squares on a qMT series: median differences in CRB std.

``python benchmarks/compare_networks.py BIDS_DIR CARD [CARD ...]``: least squares is started at the
first network; every voxel's difference is divided by the standard deviation that least squares
states for it (the Cramer-Rao bound at its solution, noise from the residual).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.evaluation.in_vivo import first_series
from bids_brnn.files import write_text
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.choice import card_path
from bids_brnn.zoo.store import load_model


def compare(root: Path, cards: list[Path], n: int, seed: int) -> dict[str, object]:
    """Median absolute differences and medians in white matter, per network and parameter."""
    measured = first_series(root, "qmt")
    rng = torch.Generator().manual_seed(seed)
    data = measured.data[torch.randperm(len(measured.data), generator=rng)[:n]]
    model = measured.model
    networks = {}
    for card in cards:
        stored = load_model(card)
        estimator = stored.estimator(subspace=model.subspace)
        began = time.perf_counter()
        result = estimator.estimate(data)
        networks[stored.card.name] = (result, time.perf_counter() - began)
    first = next(iter(networks.values()))[0]
    began = time.perf_counter()
    reference = NllsEstimator(model).estimate(data, start=first.theta)
    seconds = time.perf_counter() - began
    names = model.parameters.select("estimated").names
    columns = model.parameters.index(names)
    std = reference.std[:, columns]
    white = reference.theta[:, 0] > 0.15
    table: dict[str, object] = {
        "voxels": len(data),
        "white_matter_voxels": int(white.sum()),
        "nlls_seconds": round(seconds, 1),
        "nlls_white_matter": _medians(reference.theta[white][:, columns], names),
    }
    for name, (result, took) in networks.items():
        difference = (result.theta - reference.theta)[:, columns] / std
        table[name] = {
            "median_absolute_difference_in_std": _medians(difference.abs(), names),
            "median_difference_in_std": _medians(difference, names),
            "the_same_in_white_matter": _medians(difference[white].abs(), names),
            "white_matter": _medians(result.theta[white][:, columns], names),
            "residual": float(result.residual.nanmedian()),
            "flagged": float((result.quality["distance"] > 1).double().mean()),
            "voxels_per_second": round(len(data) / took),
        }
    return table


def write_into_cards(table: dict[str, object], cards: list[Path]) -> None:
    """Put the rows of each network, and what it was compared with, into its card."""
    shared = {key: value for key, value in table.items() if not isinstance(value, dict)}
    shared["nlls_white_matter"] = table["nlls_white_matter"]
    del shared["nlls_seconds"]
    for path in map(card_path, cards):
        card = ModelCard.from_file(path)
        row = table[card.name]
        assert isinstance(row, dict)
        evaluation = {**card.evaluation, "in_vivo": {"reference": "nlls", **shared, **row}}
        write_text(path, card.with_evaluation(evaluation).to_json())


def _medians(values: torch.Tensor, names: tuple[str, ...]) -> dict[str, float]:
    medians = values.double().nanmedian(0).values.tolist()
    return {name: float(f"{value:.4g}") for name, value in zip(names, medians, strict=True)}


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("cards", type=Path, nargs="+")
    parser.add_argument("--voxels", type=int, default=2000)
    parser.add_argument("--small", action="store_true", help="100 voxels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--update-cards", action="store_true", help="write into the cards")
    options = parser.parse_args()
    n = 100 if options.small else options.voxels
    table = compare(options.bids_dir, options.cards, n, options.seed)
    print(json.dumps(table, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if options.update_cards:
        write_into_cards(table, options.cards)


if __name__ == "__main__":
    main()
