"""Figure 3: distributions of squared bias and variance over the CRB on a test set.

Claimed: MSE-CRB has the lowest variance and the highest bias. Weights of the losses: losses.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from shared import (
    BIASED,
    COLOURS,
    REDUCED,
    Claim,
    Pair,
    Result,
    arguments,
    bootstrap,
    generator,
    qmt_pair,
)  # fmt: skip

from bids_brnn.evaluation.moments import Moments, moments, uniform_snr


def reproduce(data: Path | None, *, small: bool = False) -> Result:
    """New fingerprints of the prior, each at an SNR of its own."""
    pair = qmt_pair(data)
    n, draws = (60, 20) if small else (2000, 200)
    theta = pair.experiment.prior.sample(n, rng=generator(2), dtype=torch.float64)
    fingerprints = pair.fingerprints(theta)
    snr = uniform_snr(n, (10.0, 50.0), generator(3))
    found = {
        name: moments(function, fingerprints, pair.columns, snr, draws=draws, rng=generator(4))
        for name, function in pair.functions.items()
    }
    return Result(
        "figure3",
        "Squared bias and variance over the bound",
        f"{pair.experiment.name}: {n} fingerprints of the prior that no training saw, {draws} "
        "draws each, SNR uniform from 10 to 50; intervals by bootstrap over fingerprints.",
        [
            claim
            for output, name in enumerate(pair.names)
            for claim in _claims(name, output, found)
        ],
        _figure(pair, found),
    )


def _claims(name: str, output: int, found: dict[str, Moments]) -> list[Claim]:
    claims = []
    for word, attribute, sign in (
        ("squared bias", "squared_bias_over_bound", 1),
        ("variance", "variance_over_bound", -1),
    ):
        columns = [getattr(found[key], attribute)[:, output].numpy() for key in (BIASED, REDUCED)]
        number, low, high = bootstrap(
            sign * (columns[0] - columns[1]), lambda rows: float(np.mean(rows))
        )
        claims.append(
            Claim(
                f"{name}: {BIASED} has {'more' if sign > 0 else 'less'} {word}",
                number, low, high, True if low > 0 else False if high < 0 else None,
                f"mean {columns[0].mean():.3g} against {columns[1].mean():.3g} of {REDUCED}",
            )
        )  # fmt: skip
    return claims


def _figure(pair: Pair, found: dict[str, Moments]) -> Figure:
    figure = Figure(figsize=(2.3 * len(pair.names), 4.4), layout="constrained")
    axes = figure.subplots(2, len(pair.names))
    for output, name in enumerate(pair.names):
        for key, m in found.items():
            values = m.squared_bias_over_bound[:, output].clamp(1e-4, 10).log10().numpy()
            style = {"histtype": "step", "color": COLOURS[key], "label": key, "bins": 40}
            axes[0, output].hist(values, range=(-4, 1), **style)
            axes[1, output].hist(m.variance_over_bound[:, output].numpy(), range=(0, 2), **style)
        axes[0, output].set(title=name, xlabel="log10(bias² / CRB)")
        axes[1, output].set(xlabel="variance / CRB")
    axes[1, -1].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
