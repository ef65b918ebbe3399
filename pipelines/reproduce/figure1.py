"""Figure 1: estimates at SNR 20 while R2f goes from 5 to 19 1/s, white matter otherwise.

Claimed: the Bias-Reduced network has less bias than the MSE-CRB network in all parameters but T2s.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from scipy import stats
from shared import BIASED, COLOURS, REDUCED, Claim, Pair, Result, arguments, generator, qmt_pair

from bids_brnn.evaluation.moments import Moments, moments

SNR = 20.0


def reproduce(data: Path | None, *, small: bool = False) -> Result:
    """Both networks on the same noise, 1000 draws for each of 15 values of R2f."""
    pair = qmt_pair(data)
    draws = 50 if small else 1000
    theta = pair.tissue("WM").repeat(15, 1)
    swept = pair.parameters.index(("R2f",))[0]
    theta[:, swept] = torch.linspace(5, 19, 15, dtype=torch.float64)
    fingerprints = pair.fingerprints(theta)
    levels = torch.full((len(theta),), SNR)
    found = {
        name: moments(
            function, fingerprints, pair.columns, levels, draws=draws, rng=generator()
        )
        for name, function in pair.functions.items()
    }  # fmt: skip
    return Result(
        "figure1",
        "Bias while R2f changes",
        f"{pair.experiment.name}: 15 values of R2f, {draws} draws each, SNR {SNR:g}; Welch's t "
        "test of the 15 absolute biases of each network, two-sided 95 % interval of it.",
        [_claim(name, output, found) for output, name in enumerate(pair.names)],
        _figure(pair, theta[:, swept], theta, found),
    )


def _claim(name: str, output: int, found: dict[str, Moments]) -> Claim:
    """In units of the Cramer-Rao standard deviation."""
    bias = {
        key: (m.bias.abs() / m.bound.sqrt())[:, output].numpy() for key, m in found.items()
    }  # fmt: skip
    test = stats.ttest_ind(bias[BIASED], bias[REDUCED], equal_var=False)
    interval = test.confidence_interval(0.95)
    difference = float(bias[BIASED].mean() - bias[REDUCED].mean())
    low, high = float(interval.low), float(interval.high)
    holds = True if low > 0 else False if high < 0 else None
    return Claim(
        f"{name}: the mean |bias| over the sweep is smaller than that of {BIASED}",
        difference, low, high, holds,
        f"{bias[BIASED].mean():.2f} and {bias[REDUCED].mean():.2f} CRB std, p = {test.pvalue:.2g}",
    )  # fmt: skip


def _figure(
    pair: Pair, swept: torch.Tensor, theta: torch.Tensor, found: dict[str, Moments]
) -> Figure:  # fmt: skip
    figure = Figure(figsize=(2.4 * len(pair.names), 2.6), layout="constrained")
    for axis, (output, name) in zip(
        figure.subplots(1, len(pair.names)), enumerate(pair.names), strict=True
    ):
        truth = theta[:, pair.columns[output]]
        axis.plot(swept, truth, "k--", lw=1)
        for key, m in found.items():
            mean, std = truth + m.bias[:, output], m.variance[:, output].sqrt()
            axis.errorbar(swept, mean, std, fmt=".", ms=4, lw=0.8, color=COLOURS[key], label=key)
        axis.set(title=name, xlabel="R2f / (1/s)")
    axis.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
