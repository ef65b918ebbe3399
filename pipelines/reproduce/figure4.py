"""Figure 4: qMT maps in vivo by MSE-CRB, Bias-Reduced and NLLS.

Claimed: the Bias-Reduced network is nearer to NLLS than MSE-CRB, in all parameters but T2s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from shared import BIASED, REDUCED, Claim, Pair, Result, arguments, bootstrap, generator, qmt_pair

from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.evaluation.in_vivo import Measured, first_series

_SHOWN = 0.02
"""Semi-solid pool above which a voxel counts: fluid has no T2s and no exchange."""


def reproduce(data: Path | None, *, small: bool = False) -> Result:
    """Every voxel of the brain mask; NLLS starts at the Bias-Reduced network."""
    if data is None:
        return Result("figure4", "Maps in vivo", "Left out: give the data set with --data.", [])
    pair, measured = qmt_pair(data), first_series(data, "qmt")
    rows = torch.arange(len(measured.data))
    if small:
        rows = torch.randperm(len(rows), generator=generator(5))[:200].sort().values
    voxels = measured.data[rows]
    found = {
        name: stored.estimator(subspace=measured.model.subspace).estimate(voxels)
        for name, stored in pair.stored.items()
    }
    nlls = NllsEstimator(measured.model).estimate(voxels, start=found[REDUCED].theta)
    assert nlls.std is not None
    maps = {name: estimate.theta for name, estimate in found.items()} | {"NLLS": nlls.theta}
    pool = pair.parameters.index(("m0s",))[0]
    tissue = nlls.theta[:, pool] > _SHOWN
    claims = []
    for column, name in zip(pair.columns, pair.names, strict=True):
        distance = {
            key: ((maps[key] - nlls.theta).abs() / nlls.std)[tissue, column].double().numpy()
            for key in found
        }
        claims.append(_claim(name, distance))
    return Result(
        "figure4",
        "Maps in vivo",
        f"{len(rows)} voxels of the brain mask of the public slice, of which {int(tissue.sum())} "
        f"hold more than {_SHOWN:.0%} of semi-solid pool by NLLS; distances in standard "
        "deviations that NLLS states, which starts at the Bias-Reduced network; medians, "
        "bootstrap over voxels (neighbours are not independent: intervals are too narrow).",
        claims,
        _figure(pair, measured, rows, maps),
    )


def _claim(name: str, distance: dict[str, NDArray[np.float64]]) -> Claim:
    both = np.stack([distance[BIASED], distance[REDUCED]], axis=1)
    both = both[np.isfinite(both).all(1)]
    number, low, high = bootstrap(
        both, lambda rows: float(np.subtract(*np.median(rows, axis=0))), repeats=300
    )
    middle = np.median(both, axis=0)
    return Claim(
        f"{name}: {REDUCED} is nearer to NLLS than {BIASED}",
        number, low, high, True if low > 0 else False if high < 0 else None,
        f"median distance {middle[0]:.2f} and {middle[1]:.2f} std of NLLS",
    )  # fmt: skip


def _figure(
    pair: Pair, measured: Measured, rows: torch.Tensor, maps: dict[str, torch.Tensor]
) -> Figure:
    where = np.argwhere(measured.mask)[rows.numpy()]
    figure = Figure(figsize=(2.0 * len(pair.names), 6.4), layout="constrained")
    axes = figure.subplots(len(maps), len(pair.names))
    for line, (label, theta) in zip(axes, maps.items(), strict=True):
        for axis, column, name in zip(line, pair.columns, pair.names, strict=True):
            image = np.full(measured.mask.shape, np.nan)
            image[tuple(where.T)] = theta[:, column]
            low, high = pair.parameters[name].item.display
            shown = image[:, :, image.shape[2] // 2].T
            axis.imshow(shown, vmin=low, vmax=high, origin="lower", cmap="viridis")
            axis.set(xticks=[], yticks=[])
            axis.set_title(name, fontsize=8)
        line[0].set_ylabel(label, fontsize=8)
    return figure


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
