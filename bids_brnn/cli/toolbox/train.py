"""``brnn train``: from a sidecar, a prior and a rank to a model that the App can use."""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bids_brnn.cli.options import count, positive
from bids_brnn.config.choices import PRESETS
from bids_brnn.errors import EXIT_OK, UsageError
from bids_brnn.evaluation.assess import assess_quickly
from bids_brnn.experiments.any_spectrum import Plan, is_plan, make_any, read_plan
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.fingerprints import held_out_data
from bids_brnn.experiments.make import Progress, make_models
from bids_brnn.experiments.reading import read_experiment
from bids_brnn.files import expanded, write_text
from bids_brnn.system.reading import read_toml
from bids_brnn.zoo.places import WEIGHTS_VARIABLE
from bids_brnn.zoo.store import load_model

_QUIET = 10.0  # s between two lines of the simulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn train``."""
    parser.add_argument("config", type=expanded, metavar="CONFIG.toml", help="what to train")
    parser.add_argument(
        "out", type=expanded, metavar="OUT", help="folder; an interrupted training in it goes on"
    )
    parser.add_argument(
        "--preset", choices=PRESETS,
        help="budget of the training, where CONFIG.toml says nothing else: quick (minutes on "
        "2 CPUs), standard (half an hour), thorough (hours); without a rank in it, one is chosen",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all)")
    parser.add_argument(
        "--seed", type=count, metavar="N",
        help="seed of weights, draws and noise in place of that in [training]: another network",
    )  # fmt: skip
    parser.epilog = (
        "a configuration needs no more than three lines:\n"
        '  model = "gbloch"\n  sidecar = "sub-01/anat/sub-01_acq-hsfp_QMT.json"\n  rank = 15\n'
        "see docs/training.md and pipelines/train for all others."
    )


def run(options: argparse.Namespace) -> int:
    """Train, store, judge, say what to do next."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no usable CUDA device; use cpu")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))
    if (plan := _plan(options)) is not None:
        return _train_any(plan, options)
    experiment = read_experiment(options.config, options.preset or "")
    if options.seed is not None:
        training = replace(experiment.training, seed=options.seed)
        experiment = replace(experiment, training=training)
    reporter = _Reporter(options.out)
    cards = make_models(
        experiment,
        options.out,
        device=device,
        progress=Progress(reporter.simulated, reporter.trained, reporter.imitated),
    )
    for card in cards:
        sys.stdout.write(f"{card}\n{_judged(card, experiment)}\n")
    best = load_model(cards[0]).card
    folder = shlex.quote(str(options.out.absolute()))
    sys.stdout.write(
        "next:\n"
        f"  {best.evaluate_command(cards[0], options.config)}\n"
        f"  {shlex.join(['brnn', 'models', str(cards[0])])}\n"
        f"  export {WEIGHTS_VARIABLE}={folder}\n"
    )
    return EXIT_OK


def _plan(options: argparse.Namespace) -> Plan | None:
    """A training over many protocols, if the configuration is of one.

    Raises
    ------
    UsageError
        For options that such a training does not have.
    """
    try:
        content = read_toml(options.config)
    except (OSError, ValueError):
        return None  # said where every configuration is read
    if not is_plan(content):
        return None
    if options.preset or options.device == "cuda":
        raise UsageError(
            f"{options.config.name} trains over many protocols, on CPUs and without presets; "
            "leave --preset and --device cuda out"
        )
    plan = read_plan(content, options.config)
    if options.seed is None:
        return plan
    return replace(plan, training=replace(plan.training, seed=options.seed))


def _train_any(plan: Plan, options: argparse.Namespace) -> int:
    """Train one network for many protocols, and say what to do next."""
    reporter = _Reporter(options.out)

    def log(step: int, losses: Sequence[float], seconds: float) -> None:
        numbers = " ".join(f"{loss:.3f}" for loss in losses)
        sys.stderr.write(f"{plan.name} step {step}: loss {numbers} ({seconds:.0f} s)\n")

    def errors(step: int, loss: float) -> None:
        sys.stderr.write(f"{plan.name}, errors, step {step}: loss {loss:.3f}\n")

    card = make_any(plan, options.out, simulation=reporter.protocols, log=log, errors=errors)
    sys.stdout.write(
        f"{card}\nnext:\n  {shlex.join(['bids_brnn', 'DATA', 'OUT', 'participant'])} "
        f"--weights {shlex.quote(str(card))}\n"
    )
    return EXIT_OK


def _judged(card: Path, experiment: Experiment) -> str:
    """Put the numbers that decide into the card, unless they are there; what they say."""
    stored = load_model(card)
    if not stored.card.evaluation:
        held_out = held_out_data(experiment, card.parent)
        found = assess_quickly(stored, experiment.compressed, held_out)
        write_text(card, stored.card.with_evaluation(found).to_json())
    judged = load_model(card).card
    overall = judged.evaluation["held_out"]["all"]
    words = (
        f"  squared bias {overall['squared_bias_over_crb']:.3g}, variance "
        f"{overall['variance_over_crb']:.3g} of the Cramer-Rao bound"
    )
    if judged.shortcoming:
        words += f"; bids_brnn will not take it by itself: {judged.shortcoming}"
    return words


class _Reporter:
    """Lines on stderr and a table of the live curves per network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = time.monotonic()

    def simulated(self, done: int, total: int) -> None:
        """Fingerprints simulated so far."""
        self._counted(done, total, "fingerprints")

    def _counted(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - self.last > _QUIET or done == total:
            self.last = now
            sys.stderr.write(f"simulated {done} of {total} {what}\n")

    def protocols(self, done: int, total: int) -> None:
        """Protocols simulated so far."""
        self._counted(done, total, "protocols")

    def imitated(self, step: int, error: float) -> None:
        """Relative error of the surrogate signal."""
        sys.stderr.write(f"surrogate step {step}: relative residual {error:.2e}\n")

    def trained(self, name: str, row: Any) -> None:
        """One row of the live curves."""
        bias = [v for key, v in row.items() if key.endswith("squared_bias_over_crb")]
        spread = [v for key, v in row.items() if key.endswith("variance_over_crb")]
        text = f"{name} step {row['step']}: loss {row['loss']:.4f}"
        if bias:
            text += f", squared bias {' '.join(f'{v:.3f}' for v in bias)}"
            text += f", variance {' '.join(f'{v:.2f}' for v in spread)}"
        sys.stderr.write(f"{text} ({row['seconds']:.0f} s)\n")
        path = self.folder / f"{name}.curves.tsv"
        new = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(row), delimiter="\t", lineterminator="\n")
            if new:
                table.writeheader()
            table.writerow(row)
