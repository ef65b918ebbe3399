"""Conventional qMT: what each two-pool model makes of the same spectra.

Spectra of the generalised Bloch model, without noise, are estimated by least squares with every
model of the registry that takes Z-spectra; how far m0s is off is what the choice of a model costs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from shared import Claim, Result, arguments

from bids_brnn.errors import BidsBrnnError
from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.information.averaged import Whitened
from bids_brnn.priors import tissue_values
from bids_brnn.sequences.z_designs import demo_protocol, qmrlab_like, wand_like
from bids_brnn.signals import build_model, model_entry, models
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1

TRUE = "gbloch-zspectrum"
_LIMIT = 10.0
"""Per cent of m0s that a choice of model should not cost."""


def reproduce(_data: Path | None, *, small: bool = False) -> Result:
    """White and grey matter, three protocols."""
    table: dict[str, dict[str, float]] = {}
    protocols = (demo_protocol(),) if small else (demo_protocol(), qmrlab_like(), wand_like())
    names = [name for name in models() if model_entry(name).protocol == "zspectrum"]
    for protocol in protocols:
        true = Whitened(ObservedR1(build_model(TRUE, protocol)))
        like = torch.zeros((), dtype=torch.float64)
        theta = torch.stack([tissue_values(true.parameters, t, like) for t in ("WM", "GM")])
        spectra = true(theta)
        pool = true.parameters.index(("m0s",))[0]
        for name in names:
            try:
                model = Whitened(ObservedR1(build_model(name, protocol)))
            except BidsBrnnError as error:
                print(f"{protocol.name}, {name}: {error}", flush=True)
                continue
            supplied = {
                key: theta[:, true.parameters.index((key,))[0]]
                for key in model.parameters.select("supplied").names
            }
            found = NllsEstimator(model, n_starts=5).estimate(spectra, supplied).theta
            column = model.parameters.index(("m0s",))[0]
            error = 100 * (found[:, column] / theta[:, pool] - 1)
            table[f"{protocol.name}, {name}"] = {
                "WM": round(float(error[0]), 2), "GM": round(float(error[1]), 2),
            }  # fmt: skip
    claims = []
    for key, row in table.items():
        worst = max(row.values(), key=abs)
        claims.append(
            Claim(
                f"{key}: m0s within {_LIMIT:g} % of that of the generalised Bloch model",
                worst, worst, worst, abs(worst) < _LIMIT,
                ", ".join(f"{tissue} {value:+.1f} %" for tissue, value in row.items()),
            )
        )  # fmt: skip
    return Result(
        "pools",
        "Two-pool models of Z-spectra",
        "Spectra of the generalised Bloch model without noise, R1 observed and fields known; what "
        "least squares with each model finds. No interval: there is no noise.",
        claims,
        tables={"m0s error in per cent": table},
    )


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
