"""Networks of one protocol on the same healthy and changed tissue, with the same noise.

``python benchmarks/compare_tissue_sets.py TOML CARD [CARD ...] --seed N``: slope of the expected
estimate, squared bias, deviation over slope and coverage, of the first card and, in brackets, of
the second one; then, of each, the worst of white and grey matter and lesions against the goals of
``docs/networks.md``. A network without learnt errors (of earlier versions) has the deviations of
its Jacobian.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_brnn.cli.network_tables import goal_cells
from bids_brnn.evaluation.functions import network_function
from bids_brnn.evaluation.tissue_sets import SetEffort, judge_tissue_sets
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.zoo.store import load_model

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
_SHOWN = "40"
_ROWS = {
    "slope": ("slope", 2),
    "bias²": ("squared_bias_over_crb", 3),
    "std/slope": ("std_over_slope", 2),
    "coverage": ("coverage", 2),
}
Table = Mapping[str, Any]


def judged(experiment: Any, card: str, seed: int, effort: SetEffort) -> Table:
    """Figures by tissue, SNR and parameter."""
    stored = load_model(card)
    parameters = stored.surrogate.parameters
    columns = parameters.index(parameters.select("estimated").names)
    estimator = stored.estimator_in_training_basis(precision="float32")
    if stored.errors is None:
        estimator = replace(estimator, spread="jacobian")
    network = network_function(stored)
    return judge_tissue_sets(
        network, estimator, experiment.compressed, columns, effort=effort, seed=seed
    )


def at_one_level(tables: Sequence[Table]) -> None:
    """A table in Markdown: cells of the first network, those of the second in brackets."""
    names = list(tables[0]["WM"][_SHOWN])
    print(f"| | SNR {_SHOWN} | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for tissue in tables[0]:
        for label, (key, digits) in _ROWS.items():
            cells = []
            for name in names:
                each = [f"{table[tissue][_SHOWN][name][key]:.{digits}f}" for table in tables]
                cells.append(each[0] + "".join(f" ({text})" for text in each[1:]))
            print(f"| {tissue} | {label} | {' | '.join(cells)} |")


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("cards", nargs="+")
    parser.add_argument("--seed", type=int, default=777001)
    parser.add_argument("--fingerprints", type=int, default=24)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--small", action="store_true", help="2 fingerprints, 20 draws")
    options = parser.parse_args()
    effort = SetEffort(options.fingerprints, options.draws, LEVELS)
    if options.small:
        effort = SetEffort(2, 20, LEVELS)
    experiment = read_experiment(options.experiment)
    tables = [judged(experiment, card, options.seed, effort) for card in options.cards]
    at_one_level(tables)
    for card, table in zip(options.cards, tables, strict=True):
        for level in map("{:g}".format, LEVELS):
            print(f"| {card} | {level} | {' | '.join(goal_cells(table, level))} |")


if __name__ == "__main__":
    main()
