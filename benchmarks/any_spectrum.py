"""The network for any protocol of Z-spectra, on protocols that it was not trained with.

    python benchmarks/any_spectrum.py                                   ramani, all protocols
    python benchmarks/any_spectrum.py --model gbloch-zspectrum --protocol "like WAND"
    python benchmarks/any_spectrum.py --rate                            voxels per second
    python benchmarks/any_spectrum.py --protocol "5 optimised" --peers  least squares beside it

A network of each protocol is made as the application makes it, and judged on tissue sets: slope,
squared bias, deviation over the Cramer-Rao bound, coverage, by SNR. What came out is in
docs/theory/networks.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bids_brnn.estimators.nlls.estimator import NllsEstimator
from bids_brnn.evaluation.assess import assess_quickly
from bids_brnn.evaluation.functions import estimator_function
from bids_brnn.evaluation.tissue_sets import SetEffort, judge_tissue_sets, lines
from bids_brnn.experiments.fingerprints import held_out_data
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.experiments.specialise import specialise
from bids_brnn.information.noise import add_noise
from bids_brnn.sequences.z_designs import Z_PROTOCOLS, demo_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model
from bids_brnn.signals.base import amplitude_of
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1
from bids_brnn.zoo.any_card import named_any_card
from bids_brnn.zoo.any_store import load_any
from bids_brnn.zoo.cache import Job
from bids_brnn.zoo.recipe import EstimatorRecipe
from bids_brnn.zoo.store import StoredModel, load_model

_TIMED = 2**17
PEER_LEVELS = (80.0,)
"""SNR at which least squares stand beside the network."""


def _some_of_demo(rows: list[int]) -> Callable[[], ZSpectrum]:
    demo = demo_protocol()
    fewer = replace(demo, mt_flip_angle=demo.mt_flip_angle[rows], offset=demo.offset[rows])
    return lambda: fewer


def _five() -> ZSpectrum:
    """Smallest bound of m0s in white and grey matter of all grids of 70 MT pulses, ``ramani``."""
    return replace(
        demo_protocol(),
        mt_flip_angle=np.radians([0.0, 200.0, 350.0, 500.0, 900.0]),
        offset=np.array([0.0, 609.0, 2513.0, 7273.0, 1237.0]),
    )


DESIGNS: Mapping[str, Callable[[], ZSpectrum]] = {
    **Z_PROTOCOLS,
    "10 of demo": _some_of_demo([0, 1, 2, 4, 6, 7, 8, 9, 10, 11]),
    "5 of demo": _some_of_demo([0, 2, 7, 9, 11]),
    "5 optimised": _five,
}
"""Protocols of the literature and of the demonstration, none of them drawn at random."""


def judge(general: Path, name: str, model: str, *, draws: int, rate: bool) -> dict[str, Any]:
    """Print what the network of one protocol does, and what it took to make it."""
    protocol = replace(DESIGNS[name](), name=name)
    recipe = EstimatorRecipe(estimator="nlls", model=model, sequence=protocol)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), "network", name, "quick", 3.0, recipe)
        experiment = read_experiment(job.write_configuration("float32"))
        began = time.process_time()
        path, held_out = specialise(load_any(general), experiment, job.name, job.folder)
        made = time.process_time() - began
        stored = load_model(path)
        found = assess_quickly(stored, experiment.compressed, held_out, draws=draws)
        judged = time.process_time() - began - made
    card = stored.card.with_evaluation(found)
    row = found["held_out"]["all"]
    print(
        f"\n{name}, {model}: squared bias {row['squared_bias_over_crb']:.3f}, variance "
        f"{row['variance_over_crb']:.2f} over the prior; made in {made:.1f}, judged in "
        f"{judged:.1f} CPU s; {card.shortcoming or 'serves'}; marked: {', '.join(card.marks)}"
    )
    print("\n".join(lines(found["tissue_sets"])))
    if rate:
        print_rate(replace(stored, card=card))
    return found


def judge_peer(name: str, model_name: str, *, draws: int, starts: int) -> dict[str, Any]:
    """Least squares within bounds on the tissues and the noise of :func:`judge`."""
    model = ObservedR1(build_model(model_name, DESIGNS[name]()))
    fit = NllsEstimator(model, n_starts=starts)
    columns = model.parameters.columns("estimated")
    effort = SetEffort(fingerprints=8, draws=draws, levels=PEER_LEVELS)
    sets = judge_tissue_sets(
        estimator_function(fit, amplitude_of(model)), fit, model, columns, effort=effort, seed=7
    )
    print(f"\n{name}, {model_name}: least squares, {starts} starts")
    print("\n".join(lines(sets)))
    return {"tissue_sets": sets}


def print_errors(found: Mapping[str, Any], method: str) -> None:
    """Rows of a table: squared bias and variance of m0s, with two standard errors."""
    for tissue, levels in found["tissue_sets"].items():
        row = levels[f"{PEER_LEVELS[0]:g}"]["m0s"]
        bias, std = row["squared_bias_over_crb"], row["std_over_crb"]
        about = 2 * row["squared_bias_over_crb_error"], 4 * std * row["std_over_crb_error"]
        least = row.get("second_order_over_crb", float("nan")) ** 2
        print(
            f"| {method} | {tissue} | {bias:.3f} ± {about[0]:.3f} | {std**2:.2f} ± {about[1]:.2f} "
            f"| {row['slope']:.2f} ± {2 * row['slope_error']:.2f} | {row['coverage']:.3f} "
            f"| {least:.2f} |"
        )


def print_rate(stored: StoredModel) -> None:
    """Voxels per second with deviations, covariance, M0 and flags."""
    estimator = stored.estimator_in_training_basis(precision=None)
    parameters = stored.surrogate.parameters
    theta = parameters.start(torch.zeros(1)).repeat(_TIMED, 1)
    clean = stored.surrogate(theta)
    data = add_noise(clean, 100.0, rng=torch.Generator().manual_seed(0))
    data = torch.complex(data.real, torch.zeros_like(data.real))
    supplied = {name: theta[:, parameters.index((name,))[0]] for name in ("B1", "R1", "w0")}
    estimator.estimate(data[:4096], {key: value[:4096] for key, value in supplied.items()})
    wall, cpu = time.perf_counter(), time.process_time()
    estimator.estimate(data, supplied, sigma=0.01)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{_TIMED / wall:.3g} voxels/s, {_TIMED / cpu:.3g} per CPU s ({estimator.precision})")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--weights", default="any-spectrum", help="name or card")
    parser.add_argument("--model", default="ramani", help="signal model")
    parser.add_argument("--protocol", choices=DESIGNS, action="append", help="default: all")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--peers", action="store_true", help="also least squares")
    parser.add_argument("--card", type=Path, help="with --peers: of a network for this protocol")
    parser.add_argument("--config", type=Path, help="that --card was trained with")
    parser.add_argument("--starts", type=int, action="append", help="of least squares")
    parser.add_argument("--rate", action="store_true", help="also voxels per second")
    options = parser.parse_args()
    options.starts = options.starts or [3]
    if options.card is not None and options.config is None:
        parser.error("--card needs the --config that it was trained with")
    general = named_any_card(options.weights)
    if general is None:
        parser.error(f"there is no network {options.weights} for any protocol")
    for name in options.protocol or DESIGNS:
        found = judge(general, name, options.model, draws=options.draws, rate=options.rate)
        if options.peers:
            print_errors(found, "any-spectrum")
            if options.card is not None:
                stored = load_model(options.card)
                experiment = read_experiment(options.config)
                held_out = held_out_data(experiment, options.card.parent)
                print_errors(
                    assess_quickly(stored, experiment.compressed, held_out, draws=options.draws),
                    stored.card.name,
                )
            for starts in options.starts:
                fit = judge_peer(name, options.model, draws=options.draws, starts=starts)
                print_errors(fit, f"least squares, {starts} starts")


if __name__ == "__main__":
    main()
