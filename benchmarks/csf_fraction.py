"""What ``--csf-fraction`` makes of mixtures: how many are taken, and the tissue that is found.

``python benchmarks/csf_fraction.py TOML CARD``: white and grey matter (canonical values) with
shares of cerebrospinal fluid, and pure tissue of ``priors.TISSUE_SETS``, by the network and by
least squares. The noise level is known. One line of JSON per estimator, SNR and mixture.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.estimators.csf import CsfEstimator, fluid_mixture
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.information.noise import add_noise
from bids_brnn.priors import TISSUE_SETS, tissue_set, tissue_values
from bids_brnn.zoo.store import load_model

SEED = 909
"""Of fingerprints and noise; nothing was chosen with it."""


def estimators(experiment: Any, card: str, chosen: list[str]) -> dict[str, CsfEstimator]:
    """By name; both with the exact signal of the training's basis."""
    stored = load_model(card)
    exact = experiment.compressed
    mixture = fluid_mixture(exact, "QMTmap")
    network = replace(stored.estimator_in_training_basis(), exact=exact, spread="learnt")
    both: dict[str, CsfEstimator] = {
        "network": CsfEstimator(network, mixture),
        "nlls": CsfEstimator(NllsEstimator(exact), mixture),
    }
    return {name: both[name] for name in chosen}


def row(
    estimator: CsfEstimator, clean: Tensor, theta: Tensor | None, snr: float
) -> dict[str, Any]:
    """Share that is taken, and where ``theta`` ``(P,)`` is the tissue, what is found of it."""
    rng = torch.Generator().manual_seed(SEED)
    data = add_noise(clean.to(torch.complex64), snr, rng=rng)
    parameters = estimator.model.parameters
    names = parameters.select("supplied").names
    known = {name: torch.ones(len(data)) for name in names}
    began = time.process_time()
    found = estimator.estimate(data, known or None, sigma=1 / snr)
    taken = found.quality["csf"] > 0
    told: dict[str, Any] = {
        "taken": round(float(taken.double().mean()), 4),
        "ms": round(1e3 * (time.process_time() - began) / len(data), 2),
    }
    if theta is None or not bool(taken.any()):
        return told
    assert found.std is not None
    wanted = parameters.select("estimated").names
    for name in wanted:
        column = parameters.index((name,))[0]
        values, truth = found.theta[:, column], float(theta[column])
        within = (values - truth).abs() < 1.96 * found.std[:, column]
        told[name] = {
            "taken": round(float(values[taken].median()) / truth, 3),
            "all": round(float(values.median()) / truth, 3),
            "covered": round(float(within[taken].double().mean()), 2),
        }
    told["fraction"] = round(float(found.theta[taken, -1].median()), 3)
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("card", type=str)
    parser.add_argument("--estimators", nargs="+", default=["network", "nlls"])
    parser.add_argument("--snr", nargs="+", type=float, default=[20.0, 40.0, 80.0])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--pure", type=int, default=500, help="fingerprints of each tissue set")
    parser.add_argument("--small", action="store_true", help="10 draws, 10 fingerprints")
    options = parser.parse_args()
    draws, pure = (10, 10) if options.small else (options.draws, options.pure)
    torch.set_num_threads(1)
    experiment = read_experiment(options.experiment)
    parameters = experiment.parameters
    like = torch.zeros((), dtype=torch.float64)
    supplied = parameters.index(parameters.select("supplied").names)
    for name, estimator in estimators(experiment, options.card, options.estimators).items():
        for snr in options.snr:
            for tissue in ("WM", "GM"):
                theta = tissue_values(parameters, tissue, like)
                for share in (0.1, 0.2, 0.4):
                    mixed = torch.cat([theta, theta.new_tensor([share])])[None]
                    clean = estimator.mixture(mixed).expand(draws, -1)
                    told = row(estimator, clean, theta, snr)
                    label = f"{tissue} {100 * (1 - share):.0f}/{100 * share:.0f}"
                    print(name, f"{snr:g}", label, json.dumps(told), flush=True)
            for number, kind in enumerate(TISSUE_SETS if pure else ()):
                rng = torch.Generator().manual_seed(SEED + 1 + number)
                several = tissue_set(parameters, kind, pure, rng=rng)
                several[:, supplied] = 1.0
                told = row(estimator, experiment.compressed(several), None, snr)
                print(name, f"{snr:g}", kind, json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
