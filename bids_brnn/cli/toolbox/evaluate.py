"""``brnn evaluate``: judge a trained model against the Cramer-Rao bound and against fits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bids_brnn.cli.options import positive
from bids_brnn.errors import EXIT_OK, DataError
from bids_brnn.estimators import estimator_entry, references
from bids_brnn.estimators.base import Estimator
from bids_brnn.evaluation.assess import Effort, assess
from bids_brnn.evaluation.tissue_sets import lines as set_lines
from bids_brnn.experiments.describe import prior_table
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.reading import experiment_of, read_experiment
from bids_brnn.experiments.specialise import judged_fingerprints
from bids_brnn.files import expanded, make_folder, write_text
from bids_brnn.reports.evaluation import draw_figures
from bids_brnn.signals.base import amplitude_of
from bids_brnn.zoo.choice import card_path
from bids_brnn.zoo.recognition import rotation_from
from bids_brnn.zoo.sameness import check_options, same_train
from bids_brnn.zoo.store import StoredModel, load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn evaluate``."""
    parser.add_argument(
        "model", metavar="MODEL", help="path of a card, or name of a shipped model"
    )
    parser.add_argument(
        "--config", type=expanded, metavar="CONFIG.toml",
        help="configuration that it was trained with; needed where that names files",
    )  # fmt: skip
    parser.add_argument("--out", type=expanded, metavar="DIR",
        help="folder for tables and figures (default: MODEL.evaluation here)",
    )  # fmt: skip
    parser.add_argument("--fingerprints", type=positive, default=4096, metavar="N")
    parser.add_argument(
        "--draws", type=positive, default=1000, metavar="N", help="per fingerprint"
    )
    parser.add_argument(
        "--peer", choices=("none", *references()), default="none",
        help="also judge this estimator on the tissues (200 draws per SNR)",
    )  # fmt: skip
    parser.add_argument(
        "--update-card", action="store_true", help="write the numbers into the model card"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all)")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print a table, write JSON and figures."""
    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))
    stored = load_model(options.model)
    config = options.config
    if config is None:
        experiment = experiment_of(stored.card)
    else:  # with the preset of the training, which may have been given beside the file
        experiment = read_experiment(config, str(stored.card.recipe.get("preset", "")))
    if options.update_card:
        _check_prior(stored, experiment)
    _check(card_path(options.model), stored, experiment)
    folder = options.out or Path(f"{stored.card.name}.evaluation")
    make_folder(folder)
    held_out = judged_fingerprints(stored.card, experiment, card_path(options.model).parent)
    few = min(options.fingerprints, Effort.in_band)
    effort = Effort(options.fingerprints, few, options.draws)
    result = assess(
        stored, experiment.compressed, held_out, effort=effort, peers=_peers(options, experiment)
    )
    evaluation = {"model": stored.card.name, "loss": stored.card.loss, **result}
    write_text(folder / "evaluation.json", json.dumps(evaluation, indent=1) + "\n")
    draw_figures(evaluation, folder)
    if options.update_card:
        card = stored.card.with_evaluation(result)
        write_text(card_path(options.model), card.to_json())
    sys.stdout.write(table(evaluation))
    sys.stdout.write(f"{folder / 'evaluation.json'}\n")
    return EXIT_OK


def _check(path: Path, stored: StoredModel, experiment: Experiment) -> None:
    if not same_train(path, stored.card, experiment.sequence):
        raise DataError(
            f'the model "{stored.card.name}" was trained for another pulse train than that of the '
            "configuration; name the configuration that it was trained with"
        )
    check_options(path, stored.card, experiment.sequence, experiment.model)
    rotation_from(experiment.subspace, stored.sketch, f'the model "{stored.card.name}"')


def _check_prior(stored: StoredModel, experiment: Experiment) -> None:
    """What a card says is of the tissue that the network learnt: the quality rule reads it."""
    own, judged = stored.card.prior, json.loads(json.dumps(prior_table(experiment.prior)))
    first, second = (
        [(tissue["weight"], tissue["parameters"]) for tissue in prior["classes"]]
        for prior in (own, judged)
    )
    if first != second:
        raise DataError(
            f'the model "{stored.card.name}" learnt the tissue of the prior "{own["name"]}", the '
            f'configuration has other ranges ("{judged["name"]}"): leave out --update-card, or '
            "name the configuration that it was trained with"
        )


def _peers(options: argparse.Namespace, experiment: Experiment) -> dict[str, Estimator]:
    if options.peer == "none":
        return {}
    rng = torch.Generator().manual_seed(experiment.seed + 1)
    atoms = experiment.prior.sample(10_000, rng=rng)
    entry = estimator_entry(options.peer)
    points: dict[str, Any] = {entry.points: atoms} if entry.points else {}
    model = experiment.compressed
    if not entry.serves(model.parameters):
        raise DataError(
            f"--peer {entry.name} is for models of at most {entry.most_parameters} unknown "
            "parameters; use --peer nlls"
        )
    build = entry.build if amplitude_of(model) == "complex" else entry.build_real
    return {entry.name: build(model, **points)}


def table(evaluation: Mapping[str, Any]) -> str:
    """Lines of text: held-out fingerprints, then white matter at SNR 20 and above."""
    lines = [f"{evaluation['model']} ({evaluation['loss']})", ""]
    lines.append(f"{'held out':12}{'bias^2/CRB':>12}{'var/CRB':>10}{'share > 1.1':>13}")
    for name, row in evaluation["held_out"].items():
        lines.append(
            f"{name:12}{row['squared_bias_over_crb']:12.4f}{row['variance_over_crb']:10.3f}"
            f"{row['variance_above_1.1']:13.3f}"
        )
    for level, summary in evaluation.get("in_band", {}).items():
        row = summary["all"]
        lines.append(
            f"in band {level:4}{row['squared_bias_over_crb']:12.4f}"
            f"{row['variance_over_crb']:10.3f}{row['variance_above_1.1']:13.3f}"
        )
    for tissue, estimators in evaluation["tissues"].items():
        for estimator, curves in estimators.items():
            lines += ["", f"{tissue}, {estimator}: bias % (std / bound) at SNR"]
            lines.append(" " * 8 + "".join(f"{level:>16g}" for level in curves["snr"]))
            for name, curve in curves.items():
                if not isinstance(curve, Mapping):
                    continue
                cells = zip(curve["bias_percent"], curve["std_over_bound"], strict=True)
                lines.append(f"{name:8}" + "".join(f"{b:9.2f} ({s:4.2f})" for b, s in cells))
        lines += _unbiased_lines(tissue, next(iter(estimators.values())))
    lines += set_lines(evaluation["tissue_sets"])
    rates = evaluation["voxels_per_core_second"]
    lines += ["", f"voxels per core and second: {rates}"]
    lines.append(f"bf16 error: {evaluation['bf16_error_over_crb_std']} CRB std at SNR 50")
    return "\n".join(lines) + "\n"


def _unbiased_lines(tissue: str, curves: Mapping[str, Any]) -> list[str]:
    """The smallest standard deviation without bias, over the Cramer-Rao bound."""
    rows = {
        name: curve
        for name, curve in curves.items()
        if isinstance(curve, Mapping) and "unbiased_percent" in curve
    }
    if not rows:
        return []
    lines = ["", f"{tissue}, least std without bias / bound at SNR"]
    lines.append(" " * 8 + "".join(f"{level:>16g}" for level in curves["snr"]))
    for name, curve in rows.items():
        pairs = zip(curve["unbiased_percent"], curve["bound_percent"], strict=True)
        ratios = (least / bound if bound else 0.0 for least, bound in pairs)
        lines.append(f"{name:8}" + "".join(f"{ratio:16.2f}" for ratio in ratios))
    return lines
