"""Train a network: stages, fresh noise in every step, averaged weights, exact resumption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bids_brnn.learning.beside import one_ahead
from bids_brnn.learning.config import TrainingConfig
from bids_brnn.learning.networks import CoefficientNetwork, Network
from bids_brnn.learning.run import Row, TrainingRun
from bids_brnn.learning.training_set import TrainingSet
from bids_brnn.parameters import ParameterSet

Log = Callable[[Row], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves."""

    network: Network
    """With averaged weights, in evaluation mode."""
    history: tuple[Row, ...]
    """Live curves: one row per report (step, loss, rate, bias and variance per parameter)."""
    seconds: float
    """Time spent, over all interrupted runs."""
    draws: int
    """Noise realisations that the network saw."""


def train(
    network: CoefficientNetwork,
    data: TrainingSet,
    parameters: ParameterSet,
    config: TrainingConfig,
    *,
    held_out: TrainingSet | None = None,
    focus: TrainingSet | None = None,
    checkpoint: Path | None = None,
    data_key: str = "",
    focus_key: str = "",
    log: Log | None = None,
    max_steps: int | None = None,
) -> TrainingResult:
    """Train ``network`` in place, on its device.

    Parameters
    ----------
    network
        From :func:`~bids_brnn.learning.networks.build_network`. A network whose ends are not yet
        standardised is standardised on ``data``.
    data, held_out
        Fingerprints to learn from, and fingerprints for the live curves.
    focus
        Fingerprints of the tissue that matters most, for stages with a ``focus`` above 0.
    parameters
        Of the signal model: the columns of ``data.theta``.
    config
        Stages, SNR range, seed ...
    checkpoint
        File to write the state to, and to go on from if it exists; stages may have been added
        behind those that it was written with.
    data_key, focus_key
        Name the training set and that in focus; a checkpoint that was trained with another one is
        refused.
    log
        Called with every row of the live curves.
    max_steps
        Stop (with a checkpoint) after this many steps of this call.

    Raises
    ------
    DataError
        If the checkpoint belongs to another configuration or training set, or the loss is NaN.
    """
    run = TrainingRun(network, data, parameters, config, held_out, focus, (data_key, focus_key))
    if checkpoint is not None and checkpoint.is_file():
        run.restore(checkpoint)
    else:
        run.standardise()
    stop = run.total if max_steps is None else min(run.total, run.step + max_steps)
    with one_ahead(run.upcoming(), run.device) as run.drawn:
        while run.step < stop:
            row = run.advance()
            if row is not None and log is not None:
                log(row)
            due = run.step % config.checkpoint_every == 0 or run.step == stop
            if checkpoint is not None and due:
                run.save(checkpoint)
    return TrainingResult(run.finish(), tuple(run.history), run.seconds, run.draws)
