"""The network of a protocol in a process of its own: ``python -m bids_brnn.app.any_job``.

It is made of one for any protocol, judged on fingerprints of this one, and written with what was
found. It ends with the process that started it; what it has to say are lines of JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bids_brnn.app.train_job import attempt
from bids_brnn.system.processes import die_with_parent

_DRAWS = 100
"""Of each fingerprint: enough for figures that decide (slopes carry their standard error)."""


def main(words: list[str]) -> int:
    """Make, judge and write a network.

    Parameters
    ----------
    words
        The configuration of the protocol, the card of the network for any protocol, the name of
        the new network, the folder of networks, a folder for files on the way, and the number of
        threads.
    """
    die_with_parent()
    configuration, general, name, folder, work, threads = words
    paths = (Path(word) for word in (configuration, general, folder, work))
    return attempt(lambda: make(*paths, name=name, threads=int(threads)))


def make(
    configuration: Path, general: Path, folder: Path, work: Path, *, name: str, threads: int
) -> Path:
    """The card of the network, judged; nothing is seen of it before that."""
    import torch

    from bids_brnn.app.train_job import publish
    from bids_brnn.evaluation.assess import assess_quickly
    from bids_brnn.experiments.reading import read_experiment
    from bids_brnn.experiments.specialise import specialise
    from bids_brnn.zoo.any_store import load_any
    from bids_brnn.zoo.store import load_model

    torch.set_num_threads(max(1, threads))
    experiment = read_experiment(configuration)
    path, held_out = specialise(load_any(general), experiment, name, work)
    stored = load_model(path)
    found = assess_quickly(stored, experiment.compressed, held_out, draws=_DRAWS)
    return publish(stored.card.with_evaluation(found), path, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
