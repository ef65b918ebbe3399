"""Networks of one protocol on the same healthy and changed tissue, with the same noise.

``python benchmarks/compare_tissue_sets.py TOML CARD [CARD ...] --seed N``: slope of the expected
estimate, squared bias, deviation over slope and coverage, of the first card and, in brackets, of
the second one; then the worst of white and grey matter and lesions at every SNR. A network without
learnt errors (of earlier versions) has the deviations of its Jacobian.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_brnn.evaluation.functions import network_function
from bids_brnn.evaluation.tissue_sets import SetEffort, judge_tissue_sets
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.zoo.store import load_model

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
_SHOWN = "40"
_HEALTHY, _GOALS = ("WM", "GM"), ("WM", "GM", "lesion")
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


def worst(table: Table) -> None:
    """The worst of all parameters, by SNR."""
    for level in (f"{level:g}" for level in LEVELS):
        cells = [
            (tissue, name, values)
            for tissue in _GOALS
            for name, values in table[tissue][level].items()
        ]
        least = {
            label: min((values["slope"], name, tissue) for tissue, name, values in part)
            for label, part in {
                "slope, WM and GM": [cell for cell in cells if cell[0] in _HEALTHY],
                "slope, lesion": [cell for cell in cells if cell[0] not in _HEALTHY],
            }.items()
        }
        most = {
            label: max((figure(values), name, tissue) for tissue, name, values in cells)
            for label, figure in {
                "mean squared bias": lambda row: row["squared_bias_over_crb"],
                "largest single one": lambda row: row["most_squared_bias_over_crb"],
                "std/slope over the better bound": lambda row: (
                    row["std_over_slope"] / max(1.0, row["second_order_over_crb"])
                ),
            }.items()
        }
        covered = [values["coverage"] for _, _, values in cells]
        row = {**least, **most, "mean coverage": round(sum(covered) / len(covered), 4)}
        row["least coverage"] = min((values["coverage"], n, t) for t, n, values in cells)
        print(f"SNR {level}: {json.dumps(row)}")


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
        print(card)
        worst(table)


if __name__ == "__main__":
    main()
