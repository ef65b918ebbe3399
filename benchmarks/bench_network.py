"""Speed of networks: training draws and mapped voxels per second, on this machine, in one run.

The published layout (2.19 M weights, batch normalisation) in plain float32 PyTorch is the peer;
every other row is a ratio to it. Weights are random: speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bids_brnn.estimators.network.estimator import NetworkEstimator
from bids_brnn.learning.config import Stage, TrainingConfig
from bids_brnn.learning.losses import Loss
from bids_brnn.learning.networks import NetworkSpec, build_network, count_weights
from bids_brnn.learning.surrogate import SurrogateModel, SurrogateNetwork
from bids_brnn.learning.trainer import train
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import QMT

RANK = 15


def _spec(layout: str, width: int) -> NetworkSpec:
    lower, upper = QMT.bounds(torch.zeros(1))
    return NetworkSpec(
        RANK, QMT.names, layout=layout, width=width, normalisation="first",
        lower=tuple(lower.tolist()), upper=tuple(upper.tolist()),
    )  # fmt: skip


def _data(n: int) -> TrainingSet:
    rng = torch.Generator().manual_seed(0)
    coefficients = torch.view_as_complex(torch.randn(n, RANK, 2, generator=rng))
    theta = QMT.from_unit(torch.rand(n, len(QMT), generator=rng))
    return TrainingSet(coefficients, theta, torch.ones(n, len(QMT)))


def _rate(work: Callable[[], None], amount: int, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return amount / min(times)


def inference(n: int, repeats: int) -> dict[str, float]:
    """Voxels/s of the network alone and of the whole estimator."""
    data = _data(n)
    rates = {}
    for label, layout, width, half in (
        ("published layout, float32 eager", "nested", 0, False),
        ("published layout, bf16", "nested", 0, True),
        ("residual 256 x 4, float32", "residual", 256, False),
        ("residual 256 x 4, bf16 blocks", "residual", 256, True),
        ("residual 192 x 4, bf16 blocks", "residual", 192, True),
    ):
        network = build_network(_spec(layout, width or 256)).eval()
        inputs = network.prepare(data.coefficients, {})

        def forward(network=network, inputs=inputs, half=half) -> None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                for part in inputs.split(8192):
                    network(part)

        rates[label] = _rate(forward, n, repeats)
    network = build_network(_spec("residual", 192)).eval().requires_grad_(False)
    surrogate = SurrogateModel(SurrogateNetwork(len(QMT), RANK, 128, 3), QMT)
    for label, precision, spread in (
        ("estimator 192 x 4, bf16: maps, M0, residual", "bf16", "none"),
        ("estimator 192 x 4, float32: the same with std", "float32", "jacobian"),
    ):
        estimator = NetworkEstimator(network, surrogate, precision=precision, spread=spread)
        rates[label] = _rate(lambda e=estimator: e.estimate(data.coefficients), n, repeats)
    return rates


def training(steps: int, batch: int) -> dict[str, float]:
    """Noise draws/s of a training step, forward and backward with the optimiser."""
    data = _data(4 * batch)
    rates = {}
    for label, layout, width, precision, optimiser in (
        ("published layout, float32, RAdam", "nested", 256, "float32", "radam"),
        ("published layout, bf16, RAdam", "nested", 256, "bf16", "radam"),
        ("residual 256 x 4, float32, Muon", "residual", 256, "float32", "muon"),
        ("residual 256 x 4, bf16, Muon", "residual", 256, "bf16", "muon"),
        ("residual 192 x 4, bf16, Muon", "residual", 192, "bf16", "muon"),
    ):
        network = build_network(_spec(layout, width))
        stage = Stage(Loss("bias-reduced"), steps + 2, batch // 4, 4, 1e-4, optimiser=optimiser)
        config = TrainingConfig((stage,), precision=precision, report_every=10**6)
        # two steps to warm up, in a run of their own
        train(network, data, QMT, config, max_steps=2)
        began = time.perf_counter()
        train(network, data, QMT, config, max_steps=steps)
        rates[label] = steps * batch / (time.perf_counter() - began)
    return rates


def show(title: str, rates: dict[str, float]) -> None:
    """One row per variant; the first is the peer."""
    peer = next(iter(rates.values()))
    print(f"\n{title}")
    for label, rate in rates.items():
        print(f"  {label:48}{rate:12.0f}/s{rate / peer:8.1f} x")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of a minute")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {
        "threads": options.threads,
        "weights": {
            "nested": count_weights(build_network(_spec("nested", 256))),
            "residual 256 x 4": count_weights(build_network(_spec("residual", 256))),
            "residual 192 x 4": count_weights(build_network(_spec("residual", 192))),
        },
        "voxels_per_second": inference(
            8192 if options.small else 65536, 1 if options.small else 3
        ),
        "draws_per_second": training(*((2, 1024) if options.small else (10, 8192))),
    }
    print(json.dumps({"threads": options.threads, "weights": result["weights"]}))
    show("voxels mapped", result["voxels_per_second"])
    show("draws in training", result["draws_per_second"])
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
