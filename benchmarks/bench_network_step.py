"""The network step of the App, part by part, against the published layout's bare forward.

    python benchmarks/bench_network_step.py                voxels of a brain that follow the model
    python benchmarks/bench_network_step.py --data DIR     and the real slice (arXiv 2312.11468)
    python benchmarks/bench_network_step.py --small        only that it works

Every row is voxels per CPU second and its ratio to the peer (2.19 M weights, float32, eager), the
best of several turns in which all rows are measured one after the other, so that what else runs on
the machine meets all of them. ``bf16`` is what the card of the network allows, where the processor
has arithmetic for it; the row above it is the same in float32. The brain is 45 % white and 40 %
grey matter, 8 % fluid and 7 % lesions at an SNR of 40; of the real slice three voxels in ten are
not explained by the estimate, which is what exact signals are asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from bids_brnn.bids import find_acquisitions
from bids_brnn.estimators.network.devices import precision_on
from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.estimators.network.series import noise_of_network
from bids_brnn.information.noise import add_noise
from bids_brnn.learning.networks import NetworkSpec, build_network
from bids_brnn.phantom.series import qmt_series
from bids_brnn.priors import tissue_set, tissue_values
from bids_brnn.sequences.designs import hybrid_state_train
from bids_brnn.zoo.recipe import EstimatorRecipe

SHARES = {"WM": 0.45, "GM": 0.4, "CSF": 0.08, "lesion": 0.07}
SNR, SEED = 40.0, 31
_TOGETHER = 4096


def network_for(folder: Path | None) -> NetworkEstimator:
    """The installed network for the series in ``folder``, or for the phantom."""
    if folder is None:
        series = qmt_series(hybrid_state_train(), 15)
        basis = series.model.subspace.basis.numpy()
        return EstimatorRecipe.of_network("qmt-demo", series.sequence, basis).build()
    series = find_acquisitions(folder).acquisitions[0]
    return EstimatorRecipe.of_network("qmt-invivo", series.sequence, series.basis).build()


def brain(estimator: NetworkEstimator, n: int) -> tuple[Tensor, Tensor]:
    """Coefficients ``(n, R)`` that follow the model, and their noise ``(n,)``."""
    rng = torch.Generator().manual_seed(SEED)
    parts = []
    for name, share in SHARES.items():
        count = round(share * n)
        theta = tissue_set(estimator.parameters, "GM" if name == "CSF" else name, count, rng=rng)
        if name == "CSF":
            fluid = tissue_values(estimator.parameters, "CSF", theta[0])
            fields = estimator.parameters.index(("w0", "B1"))
            kept = theta[:, fields]
            theta = fluid.repeat(count, 1)
            theta[:, fields] = kept
        parts.append(theta)
    theta = torch.cat(parts).float()
    theta = theta[torch.randperm(len(theta), generator=rng)]
    data = add_noise(estimator.exact(theta).to(torch.complex64), SNR, rng=rng)
    return data, torch.full((len(data),), 1 / SNR, dtype=torch.float64)


def real_slice(folder: Path, estimator: NetworkEstimator) -> tuple[Tensor, Tensor, float]:
    """Voxels above a tenth of the highest signal, their noise and degrees of freedom."""
    parts = find_acquisitions(folder).acquisitions[0].parts
    real, imaginary = (nibabel.load(parts[name]).get_fdata() for name in ("real", "imag"))
    values = real + 1j * imaginary
    masks = sorted(folder.glob("derivatives/*/sub-*/**/*mask.nii.gz"))
    if masks:
        mask = nibabel.load(masks[0]).get_fdata() > 0
    else:
        size = np.abs(values[..., 0])
        mask = size > 0.1 * size.max()
    data = torch.from_numpy(values[mask].astype(np.complex64))
    noise = noise_of_network(estimator, data, {}, torch.from_numpy(np.argwhere(mask)))
    assert noise is not None
    return data, noise.sigma, noise.freedom


def variants(
    estimator: NetworkEstimator, data: Tensor, sigma: Tensor, freedom: float | None
) -> dict[str, Callable[[], object]]:
    """What is measured, by label; the first is the peer."""
    parameters = estimator.parameters
    lower, upper = parameters.bounds(torch.zeros(1))
    spec = NetworkSpec(
        data.shape[1], parameters.names, layout="nested", normalisation="first",
        lower=tuple(lower.tolist()), upper=tuple(upper.tolist()),
    )  # fmt: skip
    peer = build_network(spec).eval().requires_grad_(False)
    inputs = peer.prepare(data, {})
    own = estimator.network.prepare(data, {})

    def bare(network: torch.nn.Module, values: Tensor, half: bool) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                for part in values.split(_TOGETHER):
                    network(part)

        return run

    quiet = replace(estimator, exact=None, spread="none")
    found = {
        "published layout, bare forward, float32": bare(peer, inputs, False),
        "our network alone, float32": bare(estimator.network, own, False),
    }
    precision = precision_on(data.device, estimator.precision)
    if precision == "bf16":
        found["our network alone, bf16"] = bare(estimator.network, own, True)
        wide = replace(quiet, precision="float32")
        found["with M0 and residual, float32"] = lambda: wide.estimate(data)
    found[f"with M0 and residual, {precision}"] = lambda: quiet.estimate(data)
    with_std = replace(estimator, exact=None)
    found[f"with std ({estimator.spread})"] = lambda: with_std.estimate(data, sigma=sigma)
    tested = replace(estimator, freedom=freedom)
    found["all maps and flags"] = lambda: tested.estimate(data, sigma=sigma)
    return found


def rates(works: dict[str, Callable[[], object]], n: int, turns: int) -> dict[str, float]:
    """Voxels per CPU second, the best of several turns; one more warms up."""
    best = dict.fromkeys(works, 0.0)
    for turn in range(turns + 1):
        for label, work in works.items():
            began = time.process_time()
            work()
            if turn:
                best[label] = max(best[label], n / (time.process_time() - began))
    return best


def show(title: str, found: dict[str, float], counts: str) -> None:
    """One row per variant."""
    peer = next(iter(found.values()))
    print(f"\n{title} ({counts})")
    for label, rate in found.items():
        print(f"  {label:44}{rate:10.0f}/s{rate / peer:8.2f} x")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="BIDS data of the real slice")
    parser.add_argument("--voxels", type=int, default=32768)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="512 voxels, one turn")
    parser.add_argument("--out", type=Path, help="JSON of the rates")
    options = parser.parse_args()
    if options.small:
        options.voxels, options.turns = 512, 1
    torch.set_num_threads(options.threads)
    estimator = network_for(options.data)
    data, sigma = brain(estimator, options.voxels)
    cases: dict[str, tuple[Tensor, Tensor, float | None]] = {"brain": (data, sigma, None)}
    if options.data is not None:
        cases["slice"] = real_slice(options.data, estimator)
    result = {}
    for name, (data, sigma, freedom) in cases.items():
        works = variants(estimator, data, sigma, freedom)
        result[name] = rates(works, len(data), options.turns)
        tested = replace(estimator, freedom=freedom)
        distance = tested.estimate(data, sigma=sigma).quality["distance"]
        flagged = float((distance > 1).float().mean())
        show(name, result[name], f"{len(data)} voxels, {100 * flagged:.1f} % flagged")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
