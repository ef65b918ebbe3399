"""The network for any protocol of Z-spectra, on protocols that it was not trained with.

    python benchmarks/any_spectrum.py                                   ramani, all protocols
    python benchmarks/any_spectrum.py --model gbloch-zspectrum --protocol "like WAND"
    python benchmarks/any_spectrum.py --rate                            voxels per second

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

import numpy as np
import torch

from bids_brnn.evaluation.assess import assess_quickly
from bids_brnn.evaluation.tissue_sets import lines
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.experiments.specialise import specialise
from bids_brnn.information.noise import add_noise
from bids_brnn.sequences.z_designs import Z_PROTOCOLS, demo_protocol
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.zoo.any_card import named_any_card
from bids_brnn.zoo.any_store import load_any
from bids_brnn.zoo.cache import Job
from bids_brnn.zoo.recipe import EstimatorRecipe
from bids_brnn.zoo.store import StoredModel, load_model

_TIMED = 2**17


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


def judge(general: Path, name: str, model: str, *, draws: int, rate: bool) -> None:
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
    parser.add_argument("--rate", action="store_true", help="also voxels per second")
    options = parser.parse_args()
    general = named_any_card(options.weights)
    if general is None:
        parser.error(f"there is no network {options.weights} for any protocol")
    for name in options.protocol or DESIGNS:
        judge(general, name, options.model, draws=options.draws, rate=options.rate)


if __name__ == "__main__":
    main()
