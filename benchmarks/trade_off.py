"""Slope against bias and variance, between a network that obeys its prior and one that does not.

``python benchmarks/trade_off.py TOML CARD_OF_MSE_CRB CARD``: the estimates ``(1 - a) x + a y`` of
the two networks, for weights ``a`` from 0 (``mse-crb``) over 1 (the other one) to what would
follow every change. SNR 40; fingerprints and noise of a seed that chose nothing. One line each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from bids_brnn.evaluation.functions import network_function
from bids_brnn.evaluation.sensitivity import sensitivity
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.priors import TISSUE_SETS, tissue_set
from bids_brnn.zoo.store import load_model

WEIGHTS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)
SEED = 515


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("first", help="card of the network trained with mse-crb")
    parser.add_argument("second", help="card of the other one, of the same signals")
    parser.add_argument("--snr", type=float, default=40.0)
    parser.add_argument("--fingerprints", type=int, default=6)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--small", action="store_true", help="2 fingerprints, 20 draws")
    options = parser.parse_args()
    n, draws = (2, 20) if options.small else (options.fingerprints, options.draws)
    torch.set_num_threads(1)
    experiment = read_experiment(options.experiment)
    parameters, model = experiment.parameters, experiment.compressed
    both = [network_function(load_model(card)) for card in (options.first, options.second)]
    names = parameters.select("estimated").names
    columns = parameters.index(names)
    for tissue in TISSUE_SETS:
        theta = tissue_set(parameters, tissue, n, rng=torch.Generator().manual_seed(SEED))
        for weight in WEIGHTS:

            def blend(data: Tensor, truth: Tensor, share: float = weight) -> Tensor:
                low, high = (each(data, truth) for each in both)
                return torch.lerp(low, high, share)

            found = sensitivity(
                blend, model, theta, columns, options.snr,
                draws=draws, rng=torch.Generator().manual_seed(SEED),
            )  # fmt: skip
            bias = (found.bias.square() - found.std.square() / draws) / found.bound.square()
            std = found.std / found.bound
            for place, name in enumerate(names):
                slope = found.own[:, place]
                print(
                    f"{tissue:8}{weight:5.2f} {name:5}"
                    f" slope {float(slope.median()):6.3f}"
                    f" bias^2/CRB {float(bias[:, place].mean()):7.4f}"
                    f" std/CRB {float(std[:, place].median()):6.3f}"
                    f" std/slope {float((std[:, place] / slope).median()):6.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
