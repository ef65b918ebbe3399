"""``brnn models``: what trained models there are, and what is known about one of them."""

from __future__ import annotations

import argparse
import sys

from bids_brnn.errors import EXIT_OK
from bids_brnn.zoo.any_card import any_cards, any_problems, named_any_card
from bids_brnn.zoo.any_store import load_any
from bids_brnn.zoo.card import ModelCard
from bids_brnn.zoo.places import WEIGHTS_VARIABLE, read_cards, weight_folders
from bids_brnn.zoo.store import load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn models``."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="show the card of this model")
    parser.epilog = (
        f"further folders of models are taken from ${WEIGHTS_VARIABLE}; auto: whether bids_brnn "
        "takes the model by itself; with care: parameters that miss a limit (docs/training.md)"
    )


def run(options: argparse.Namespace) -> int:
    """List all models, or check one (shape, checksum, finite values) and show its card."""
    if options.model is not None and (path := named_any_card(options.model)) is not None:
        sys.stdout.write(load_any(path).card.to_json())
        return EXIT_OK
    if options.model is not None:
        sys.stdout.write(load_model(options.model).card.to_json())
        return EXIT_OK
    found, problems = read_cards(weight_folders())
    for problem in [*problems, *any_problems(weight_folders())]:
        sys.stderr.write(f"brnn models: left aside: {problem}\n")
    cards = [card for _, card in found]
    if not cards:
        sys.stdout.write("no models; how to train one: brnn train --help\n")
        return EXIT_OK
    width = max(len(card.name) for card in cards)
    sys.stdout.write(
        f"{'name':{width}}  {'model':7} {'rank':>4} {'loss':13} {'bias^2/CRB':>10} "
        f"{'var/CRB':>8} auto pulse train\n"
    )
    for card in cards:
        sys.stdout.write(_line(card, width))
    for _, general in any_cards(weight_folders()):
        sys.stdout.write(
            f"{general.name:{width}}  for any protocol of Z-spectra; bids_brnn makes a network of "
            f"it for each, and judges that one\n"
        )
    return EXIT_OK


def _line(card: ModelCard, width: int) -> str:
    overall = card.evaluation.get("held_out", {}).get("all", {})
    bias = overall.get("squared_bias_over_crb", float("nan"))
    spread = overall.get("variance_over_crb", float("nan"))
    rank, serves = card.network["n_coefficients"], "no" if card.shortcoming else "yes"
    care = f"; with care: {', '.join(card.marks)}" if card.marks and not card.shortcoming else ""
    return (
        f"{card.name:{width}}  {card.model:7} {rank:4} {card.loss:13} {bias:10.4f} "
        f"{spread:8.3f} {serves:4} {card.sequence.get('name', '')} ({card.sequence['digest']})"
        f"{care}\n"
    )
