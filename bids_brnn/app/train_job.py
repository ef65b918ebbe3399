"""A training in a process of its own: ``python -m bids_brnn.app.train_job``.

It ends with the process that started it, and goes on from its last checkpoint when it is started
again. What it has to say are lines of JSON on its standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_brnn.errors import EXIT_OK, BidsBrnnError, curable
from bids_brnn.system.processes import die_with_parent

if TYPE_CHECKING:
    from bids_brnn.zoo.card import ModelCard


def main(words: list[str]) -> int:
    """Train what a configuration says, judge it, and put card and weights into a folder.

    Parameters
    ----------
    words
        The configuration, the folder for the state of the training, the folder for card and
        weights, the number of threads, and the device.
    """
    die_with_parent()
    configuration, work, folder = (Path(word) for word in words[:3])
    return attempt(
        lambda: train(configuration, work, folder, threads=int(words[3]), device=words[4])
    )


def attempt(task: Callable[[], object]) -> int:
    """Do a task; what the user can cure is said as a line of JSON. The exit code."""
    try:
        task()
    except (BidsBrnnError, OSError, MemoryError, RuntimeError) as error:
        found = curable(error)
        if found is None:
            raise
        _say({"error": str(found), "code": found.exit_code})
        return found.exit_code
    return EXIT_OK


def train(configuration: Path, work: Path, folder: Path, *, threads: int, device: str) -> Path:
    """The card of the network, trained and judged; nothing is seen of it before that."""
    import torch

    from bids_brnn.evaluation.assess import assess_quickly
    from bids_brnn.experiments.fingerprints import held_out_data
    from bids_brnn.experiments.make import make_models
    from bids_brnn.experiments.progress import Meter, State
    from bids_brnn.experiments.rank import subspace_note
    from bids_brnn.experiments.reading import read_experiment
    from bids_brnn.zoo.store import load_model

    torch.set_num_threads(max(1, threads))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _say({"words": "preparation of the signal model"})
    experiment = read_experiment(configuration)
    if note := subspace_note(experiment.model, experiment.subspace):
        _say({"note": note})

    def report(state: State) -> None:
        _say({"words": state.words, "fraction": round(state.fraction, 4)})

    meter = Meter(experiment, report)
    path = make_models(experiment, work, device=device, progress=meter.progress())[0]
    _say({"words": "evaluation"})
    stored = load_model(path)
    held_out = held_out_data(experiment, work)
    found = assess_quickly(stored, experiment.compressed, held_out)
    return publish(stored.card.with_evaluation(found), path, folder)


def publish(card: ModelCard, path: Path, folder: Path) -> Path:
    """Copy the weights beside ``path`` into ``folder``, and write their card; where it is."""
    from bids_brnn.files import write_bytes, write_text

    found = folder / path.name
    weights = path.with_suffix(".safetensors").read_bytes()
    write_bytes(found.with_suffix(".safetensors"), weights)  # a card never lacks its weights
    write_text(found, card.to_json())
    return found


def heard(line: str) -> dict[str, Any]:
    """What a line of such a process says; empty where it is not of it, or was cut short.

    A package that extends this one, or a library, may print lines of its own.
    """
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _say(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
