"""Figure 5: MR fingerprinting by two networks and by dictionary matching, on a simulated head.

The scan of the paper is not public. Claimed: the Bias-Reduced network is nearer to matching than
MSE-CRB; supplement: bias and standard deviation in simulation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from shared import (
    BIASED,
    COLOURS,
    REDUCED,
    SEED,
    Claim,
    Pair,
    Result,
    arguments,
    bootstrap,
    generator,
    named_pair,
)  # fmt: skip

from bids_brnn.estimators.dictionary.estimator import DictionaryEstimator
from bids_brnn.information.noise import add_noise
from bids_brnn.phantom import anatomy

SNR = 20.0
REGIONS = {2: "left white matter", 41: "right white matter", 10: "left thalamus"}
Array = np.ndarray[Any, np.dtype[np.float64]]


def head(pair: Pair, size: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """A slice of the phantom: labels ``(size, size, 1)``, theta ``(V, P)`` and M0 ``(V,)``."""
    made = anatomy.draw_head(pair.parameters, np.random.default_rng(SEED))
    shape = (size, size, 1)
    points = anatomy.points_of(shape, anatomy.affine_of(shape, 5.0))
    labels = anatomy.label_map(made, points)
    inside = labels > 0
    flat, where = labels[inside], points[inside]
    columns = [
        anatomy.transmit_field(made, where) if item.name == "B1"
        else anatomy.parameter_map(made, item.name, flat, where)
        for item in pair.parameters
    ]  # fmt: skip
    m0 = anatomy.scale_map(made, flat, where)
    return labels, torch.from_numpy(np.stack(columns, -1)), torch.from_numpy(m0)


def reproduce(_data: Path | None, *, small: bool = False) -> Result:
    """The two networks and matching on the same noise; B1 is known."""
    pair = named_pair("mrf-jiang")
    labels, theta, m0 = head(pair, 24 if small else 96)
    clean = pair.experiment.compressed(theta)
    noisy = m0[:, None] * add_noise(clean, SNR * m0.abs(), rng=generator(6))
    noisy = noisy.to(torch.complex64)
    known = {
        name: theta[:, pair.parameters.index((name,))[0]].float()
        for name in pair.parameters.select("supplied").names
    }
    estimators = {
        **{name: stored.estimator_in_training_basis() for name, stored in pair.stored.items()},
        "matching": DictionaryEstimator(pair.experiment.compressed, refine=0),
    }
    found = {name: est.estimate(noisy, known).theta for name, est in estimators.items()}
    bound = pair.fingerprints(theta).bound.double().sqrt() / (SNR * m0.abs())[:, None]
    flat = labels[labels > 0]
    tissue = anatomy.tissue_map(flat) != "CSF"
    claims = [
        claim
        for column, name in zip(pair.columns, pair.names, strict=True)
        for claim in _claims(name, column, theta, found, bound, tissue)
    ]
    return Result(
        "figure5",
        "MR fingerprinting on a simulated head",
        f"{pair.experiment.name}: {len(theta)} voxels of the phantom, SNR {SNR:g} times the "
        "proton density, B1 known, dictionary without refinement as published; medians over white "
        "and grey matter in units of the CRB std.",
        claims,
        _figure(pair, labels, theta, found),
        {"regions": _regions(pair, flat, theta, found)},
    )


def _claims(
    name: str,
    column: int,
    theta: torch.Tensor,
    found: dict[str, torch.Tensor],
    bound: torch.Tensor,
    tissue: np.ndarray,
) -> list[Claim]:
    claims = []
    for text, target in (("matching", found["matching"]), ("the truth on average", None)):
        if target is None:
            errors = np.stack(
                [
                    ((found[key] - theta) / bound)[tissue, column].numpy()
                    for key in (BIASED, REDUCED)
                ],
                axis=1,
            )

            def statistic(rows: Array) -> float:
                return float(np.subtract(*np.abs(rows.mean(0))))

        else:
            errors = np.stack(
                [((found[key] - target) / bound)[tissue, column].abs().numpy()
                 for key in (BIASED, REDUCED)],
                axis=1,
            )  # fmt: skip

            def statistic(rows: Array) -> float:
                return float(np.subtract(*np.median(rows, axis=0)))

        number, low, high = bootstrap(errors, statistic)
        claims.append(
            Claim(
                f"{name}: {REDUCED} is nearer to {text} than {BIASED}",
                number, low, high, True if low > 0 else False if high < 0 else None,
            )
        )  # fmt: skip
    return claims


def _regions(
    pair: Pair, flat: np.ndarray, theta: torch.Tensor, found: dict[str, torch.Tensor]
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean error and standard deviation of it in per cent of the mean truth, by region."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for label, region in REGIONS.items():
        inside = torch.from_numpy(flat == label)
        for column, name in zip(pair.columns, pair.names, strict=True):
            truth = theta[inside, column]
            for key, values in found.items():
                error = 100 * (values[inside, column] - truth) / truth.mean()
                table.setdefault(region, {}).setdefault(name, {})[key] = round(
                    float(error.mean()), 2
                )
                table[region][name][f"{key}, std"] = round(float(error.std()), 2)
    return table


def _figure(
    pair: Pair, labels: np.ndarray, theta: torch.Tensor, found: dict[str, torch.Tensor]
) -> Figure:
    maps = {"truth": theta, **found}
    figure = Figure(figsize=(2.1 * (len(maps) + 1), 2.3 * len(pair.names)), layout="constrained")
    axes = figure.subplots(len(pair.names), len(maps) + 1, squeeze=False)
    flat = labels[labels > 0]
    for line, column, name in zip(axes, pair.columns, pair.names, strict=True):
        low, high = pair.parameters[name].item.display
        for axis, (label, values) in zip(line, maps.items(), strict=False):
            image = np.full(labels.shape, np.nan)
            image[labels > 0] = values[:, column]
            axis.imshow(image[:, :, 0].T, vmin=low, vmax=high, origin="lower", cmap="viridis")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{name}, {label}", fontsize=8)
        boxes = [
            (1 / values[torch.from_numpy(flat == label), column]).numpy()
            for label in (2, 41) for values in maps.values()
        ]  # fmt: skip
        drawn = line[-1].boxplot(boxes, showfliers=False, patch_artist=True)
        for patch, label in zip(drawn["boxes"], [*maps, *maps], strict=True):
            patch.set_facecolor(COLOURS.get(label, "white"))
        line[-1].set_xticks([])
        line[-1].set_title(f"1/{name}, left and right WM", fontsize=8)
    return figure


if __name__ == "__main__":
    options = arguments(__doc__)
    reproduce(options.data, small=options.small).write(options.out)
