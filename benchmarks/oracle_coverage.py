"""95 % intervals by our deviations, and by those that an oracle knows of each fingerprint.

``python benchmarks/oracle_coverage.py TOML CARD``: fingerprints, noise and estimates are those of
``benchmarks/compare_tissue_sets.py`` with the same seed. The oracle takes, for each fingerprint
and parameter, the root mean square error of the draws themselves; it knows the truth. A deviation
that follows from the data differs from draw to draw, and may be largest where the error is: the
last table asks, over fingerprints as in the training of the network of errors, whether voxels with
the same deviation have errors as large as it, and how many of their intervals hold the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.experiments.reading import read_experiment
from bids_brnn.information.noise import add_noise
from bids_brnn.priors import TISSUE_SETS, tissue_set
from bids_brnn.zoo.store import load_model

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
JUDGED = ("WM", "GM", "lesion")
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Row:
    """Of a tissue set at one SNR; ``(B, O)``: fingerprints, parameters."""

    ours: Tensor
    """Share of intervals by our deviations that hold the truth."""
    even: Tensor
    """The same, with the root mean square of our deviations over the draws of a fingerprint."""
    oracle: Tensor
    """The same, with the root mean square error of the fingerprint."""
    spread: Tensor
    """The same, with the standard deviation of the estimates of the fingerprint."""
    ratio: Tensor
    """Root of the mean square of our deviations over the root mean square error."""
    kurtosis: Tensor
    """Of the estimates; 3 for Gaussian ones."""
    together: Tensor
    """Correlation of our deviation and the size of the error between draws."""


def supplied(model: Any, theta: Tensor) -> dict[str, Tensor] | None:
    """What an estimator is told of ``theta`` ``(V, P)``."""
    columns = model.parameters.columns("supplied")
    return {model.parameters.names[column]: theta[:, column].float() for column in columns} or None


def row(estimator: Any, model: Any, theta: Tensor, snr: float, draws: int, rng: Any) -> Row:
    """Estimates of ``draws`` noise realisations of each fingerprint ``theta`` ``(B, P)``."""
    columns = list(model.parameters.columns("estimated"))
    clean = model(theta.double()).to(torch.complex64)
    for _ in theta:  # what the slopes of the other script take from the same source of noise
        add_noise(torch.zeros(draws, clean.shape[1], dtype=clean.dtype), snr, rng=rng)
    wide = theta.repeat_interleave(draws, 0)
    noisy = add_noise(clean.repeat_interleave(draws, 0), snr, rng=rng)
    found = estimator.estimate(noisy, supplied(model, wide), sigma=1 / snr)
    shape = (len(theta), draws, len(columns))
    errors = (found.theta[:, columns] - wide[:, columns]).double().reshape(shape)
    std = found.std[:, columns].double().reshape(shape)
    rms, about = errors.square().mean(1, True).sqrt(), errors - errors.mean(1, True)
    own = about.square().mean(1, True).sqrt()

    def held(limit: Tensor) -> Tensor:
        return (errors.abs() <= _NORMAL_95 * limit).double().mean(1)

    even = std.square().mean(1, True).sqrt()
    wide_std, size = std - std.mean(1, True), errors.abs() - errors.abs().mean(1, True)
    together = (wide_std * size).mean(1) / (wide_std.std(1) * size.std(1))
    kurtosis = (about / own).pow(4).mean(1)
    return Row(held(std), held(even), held(rms), held(own), (even / rms)[:, 0], kurtosis, together)


def by_deviation(estimator: Any, experiment: Any, snr: float, n: int, seed: int) -> None:
    """Errors over deviations of voxels with small and with large deviations.

    ``n`` fingerprints, less fluid, in the proportions of the training.
    """
    rng = torch.Generator().manual_seed(seed)
    model, parameters = experiment.compressed, experiment.parameters
    whole = experiment.fingerprints + sum(item.fingerprints for item in experiment.extra)
    parts = [(experiment.prior, experiment.fingerprints)]
    parts += [(item.prior, item.fingerprints) for item in experiment.extra]
    theta = torch.cat([prior.sample(round(n * k / whole), rng=rng) for prior, k in parts])
    if "R2f" in parameters.names:
        theta = theta[theta[:, parameters.names.index("R2f")] > 2]
    clean = torch.cat([model(some.double()).to(torch.complex64) for some in theta.split(1024)])
    noisy = add_noise(clean, snr, rng=rng)
    found = estimator.estimate(noisy, supplied(model, theta), sigma=1 / snr)
    print(f"\nSNR {snr:g}, {len(theta)} fingerprints of training, by eighths of the deviation:")
    print("| | std over rms error | coverage | kurtosis of error over std |\n|---|---|---|---|")
    for column in parameters.columns("estimated"):
        std = found.std[:, column].double()
        errors = (found.theta[:, column] - theta[:, column]).double()
        rows = std.argsort().chunk(8)
        ratio = [float((std[k].square().mean() / errors[k].square().mean()).sqrt()) for k in rows]
        scaled = [(errors / std)[k] for k in rows]
        held = [float((z.abs() <= _NORMAL_95).double().mean()) for z in scaled]
        peak = [float(z.pow(4).mean() / z.square().mean().square()) for z in scaled]
        cells = [
            " ".join(f"{value:.{digits}f}" for value in values)
            for values, digits in ((ratio, 2), (held, 3), (peak, 1))
        ]
        print(f"| {parameters.names[column]} | {' | '.join(cells)} | {sum(held) / 8:.3f}")


def show(found: dict[float, dict[str, Row]], names: Sequence[str]) -> None:
    """Each tissue set, and all of white and grey matter and lesions."""
    print("coverage ours / oracle; std over rms error; kurtosis; correlation of std and |error|")
    print(f"| SNR | | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for snr, by_tissue in found.items():
        judged = [by_tissue[tissue] for tissue in JUDGED]
        together = {
            item.name: torch.cat([getattr(one, item.name) for one in judged])
            for item in fields(Row)
        }
        for tissue, one in {**by_tissue, ", ".join(JUDGED): Row(**together)}.items():
            cells = [
                f"{one.ours[:, k].mean():.3f} / {one.oracle[:, k].mean():.3f}; "
                f"{one.ratio[:, k].mean():.2f}; {one.kurtosis[:, k].mean():.1f}; "
                f"{one.together[:, k].mean():.2f}"
                for k in range(len(names))
            ]
            print(f"| {snr:g} | {tissue} | {' | '.join(cells)} |")
        told = {key: round(float(value.mean()), 4) for key, value in together.items()}
        print(f"SNR {snr:g}, {', '.join(JUDGED)}: {told}")


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("card", type=str)
    parser.add_argument("--seed", type=int, default=777001)
    parser.add_argument("--fingerprints", type=int, default=24)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--small", action="store_true", help="2 fingerprints, 20 draws")
    options = parser.parse_args()
    n, draws = (2, 20) if options.small else (options.fingerprints, options.draws)
    torch.set_num_threads(1)
    experiment = read_experiment(options.experiment)
    model = experiment.compressed
    estimator = load_model(options.card).estimator_in_training_basis(precision="float32")
    names = model.parameters.select("estimated").names
    found: dict[float, dict[str, Row]] = {snr: {} for snr in LEVELS}
    for tissue in TISSUE_SETS:
        rng = torch.Generator().manual_seed(options.seed)
        theta = tissue_set(model.parameters, tissue, n, rng=rng)
        for snr in LEVELS:
            found[snr][tissue] = row(estimator, model, theta, snr, draws, rng)
    show(found, names)
    by_deviation(estimator, experiment, LEVELS[0], 400 if options.small else 40_000, options.seed)


if __name__ == "__main__":
    main()
