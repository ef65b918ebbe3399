"""Detection against false alarms of the test of the residual (flag 8), and a figure of it.

``python benchmarks/roc_flags.py TOML CARD OUT.png``: fingerprints of healthy and changed tissue
(``priors.TISSUE_SETS``, a seed of their own) give the false alarms, disturbed white matter the
detections. The noise level is known, and chi-squared is that of the exact signal.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from bids_brnn.estimators.series_noise import FALSE_ALARMS
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.information.noise import add_noise
from bids_brnn.priors import TISSUE_SETS, tissue_set, tissue_values
from bids_brnn.zoo.store import load_model

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
SEED = 2024
"""Of fingerprints and noise; nothing was chosen with it."""


def disturbed(experiment) -> dict[str, Tensor]:
    """Coefficients ``(1, R)`` of white matter that the model does not describe."""
    like = torch.zeros((), dtype=torch.float64)
    full, parameters = experiment.model, experiment.parameters
    white, grey, fluid = (
        full(tissue_values(parameters, name, like)[None]) for name in ("WM", "GM", "CSF")
    )
    n = white.shape[-1]
    moved, jump = white.clone(), white.clone()
    moved[:, n * 5 // 6 :] = grey[:, n * 5 // 6 :]
    jump[:, n // 2 :] *= torch.exp(torch.tensor(0.5j))
    samples = {
        "80/20 white matter and CSF": 0.8 * white + 0.2 * fluid,
        "moved into grey matter, last sixth": moved,
        "phase jump of 0.5 rad": jump,
    }
    basis = experiment.subspace.basis.to(white.dtype).conj()
    return {name: values @ basis for name, values in samples.items()}


def statistics(estimator, clean: Tensor, snr: float, draws: int, supplied: tuple) -> np.ndarray:
    """Chi-squared of ``draws`` noise realisations of each fingerprint."""
    rng = torch.Generator().manual_seed(SEED)
    noisy = add_noise(clean.to(torch.complex64).repeat_interleave(draws, 0), snr, rng=rng)
    known = {name: torch.ones(len(noisy)) for name in supplied}
    energy = estimator.residual_energy(noisy, known or None, sigma=1 / snr, scan=True)
    return (energy * snr**2).numpy()


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("card", type=str)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--small", action="store_true", help="10 draws")
    options = parser.parse_args()
    draws = 10 if options.small else options.draws
    experiment, stored = read_experiment(options.experiment), load_model(options.card)
    estimator = replace(stored.estimator_in_training_basis(), exact=experiment.compressed)
    supplied = experiment.parameters.select("supplied").names
    rng = torch.Generator().manual_seed(SEED)
    sets = [tissue_set(experiment.parameters, name, 10, rng=rng) for name in TISSUE_SETS]
    theta = torch.cat(sets)
    theta[:, experiment.parameters.index(supplied)] = 1.0
    usual, cases = experiment.compressed(theta), disturbed(experiment)
    table: dict[str, dict[str, float]] = {}
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    for place, snr in enumerate(LEVELS, 1):
        axes = figure.add_subplot(1, len(LEVELS), place)
        null = np.sort(statistics(estimator, usual, snr, draws, supplied))
        rates = np.geomspace(2e-3, 1, 60)
        limits = np.quantile(null, 1 - rates)
        row = {}
        for name, clean in cases.items():
            found = statistics(estimator, clean, snr, 10 * draws, supplied)
            axes.semilogx(rates, [(found > limit).mean() for limit in limits], label=name)
            row[name] = float((found > np.quantile(null, 1 - FALSE_ALARMS)).mean())
        axes.axvline(FALSE_ALARMS, color="0.7", lw=0.8)
        axes.set(title=f"SNR {snr:g}", xlabel="false alarms", ylim=(0, 1.02))
        table[f"{snr:g}"] = row
    figure.axes[0].set_ylabel("detected")
    figure.axes[-1].legend(fontsize=6, loc="lower right")
    figure.savefig(options.figure, dpi=130)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
