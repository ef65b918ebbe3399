"""What happens to tissue beyond the training: estimates, and whether they are marked.

The paper leaves this open. A network knows the range of its training only; NLLS does not care.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from shared import (
    REDUCED,
    Claim,
    Pair,
    Result,
    above,
    arguments,
    below,
    generator,
    qmt_pair,
    share,
)

from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.information.noise import add_noise

SNR = 40.0
CASES = {
    "white matter": {},
    "m0s 0.5": {"m0s": 0.5},
    "T1 of the free pool 6 s and little pool": {"R1f": 1 / 6, "m0s": 0.02},
    "R2f 40 1/s": {"R2f": 40.0},
    "T2s 28 us": {"T2s": 28e-6},
    "B1 0.52": {"B1": 0.52},
}
_MARKED = 0.9


def reproduce(data: Path | None, *, small: bool = False) -> Result:
    """White matter with one value moved; the network with all that marks voxels."""
    pair = qmt_pair(data)
    draws = 40 if small else 1000
    table = {name: _case(pair, moved, draws) for name, moved in CASES.items()}
    claims = []
    for name, row in table.items():
        number, low, high = share(round(row["marked"] * draws), draws)
        if name == "white matter":
            claims.append(
                Claim(f"{name}: at most 1 % are marked", number, low, high, below(low, high, 0.01))
            )
            continue
        note = f"bias {row['bias / CRB std of the worst parameter']:.1f} CRB std"
        claims.append(
            Claim(
                f"{name}: at least {_MARKED:.0%} are marked",
                number, low, high, above(low, high, _MARKED), note,
            )
        )  # fmt: skip
    return Result(
        "outside",
        "Beyond the training",
        f"{pair.experiment.name}: white matter with one value outside, {draws} draws at SNR "
        f"{SNR:g}, noise level known. Marked: chi-squared of the residual above its limit, or an "
        "estimate at the edge of training.",
        claims,
        tables={"cases": table},
    )


def _case(pair: Pair, moved: dict[str, float], draws: int) -> dict[str, Any]:
    theta = pair.tissue("WM").clone()
    for name, value in moved.items():
        theta[pair.parameters.index((name,))[0]] = value
    clean = pair.experiment.compressed(theta[None])
    noisy = add_noise(clean.repeat(draws, 1).to(torch.complex64), SNR, rng=generator(10))
    estimator = pair.stored[REDUCED].estimator_in_training_basis()
    found = estimator.estimate(noisy, sigma=1 / SNR)
    distant, edge = found.quality["distance"] > 1, found.quality["edge"] > 0
    nlls = NllsEstimator(pair.experiment.compressed).estimate(noisy[: max(1, draws // 10)])
    bound = pair.fingerprints(theta[None]).bound[0, pair.columns].double().sqrt() / SNR
    truth = theta[pair.columns]
    bias = (found.theta[:, pair.columns].double().nanmean(0) - truth) / bound
    peer = (nlls.theta[:, pair.columns].double().nanmean(0) - truth) / bound
    return {
        "marked": float((distant | edge).double().mean()),
        "marked by residual": float(distant.double().mean()),
        "marked at the edge": float(edge.double().mean()),
        "bias / CRB std of the worst parameter": round(float(bias[bias.abs().argmax()]), 2),
        "worst parameter": pair.names[int(bias.abs().argmax())],
        "the same of NLLS": round(float(peer[bias.abs().argmax()]), 2),
    }


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
