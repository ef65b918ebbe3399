"""Trains that several test files of signal models share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_brnn.sequences.pulse_sequence import PulseSequence


def _train(
    flips: list[float],
    *,
    duration: float | list[float] = 3e-4,
    phase: list[float] | None = None,
    repetition_time: float | list[float] = 3.5e-3,
    echoes: tuple[float, ...] | None = None,
    first: str = "balanced",
    start: str = "thermal",
) -> PulseSequence:
    n = len(flips)
    row = lambda values: np.broadcast_to(np.asarray(values, float), (n,))[None].copy()  # noqa: E731
    tr = row(repetition_time)
    times = (0.5,) if echoes is None else echoes
    gradient = np.full((1, n), "balanced", dtype="<U9")
    gradient[0, 0] = first
    return PulseSequence(
        flip_angle=row(flips),
        rf_duration=row(duration),
        rf_phase=row(np.pi * (np.arange(n) % 2) if phase is None else phase),
        repetition_time=tr,
        echo_time=tr[..., None] * np.array(times),
        gradient=gradient,
        inversion=np.zeros((1, n), dtype=bool),
        start=start,
    )


@pytest.fixture(scope="session")
def train() -> Callable[..., PulseSequence]:
    """Builds one train: flip angles in rad, echoes in units of the repetition time."""
    return _train


@dataclass(frozen=True)
class Spot:
    """Reference values for three parameter sets on published trains."""

    sequence: PulseSequence
    basis: Tensor
    theta: Tensor
    values: dict[str, Tensor]


@pytest.fixture(scope="session")
def spot(shared: Path) -> Spot:
    """Values of an independent implementation, ``reference/qmt_spot.npz``."""
    folder = shared / "data" / "qmt_invivo"
    with (folder / "acq-hsfp_rfpulses.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    table = {key: [row[key] for row in rows] for key in rows[0]}
    sequence = PulseSequence.from_table(table, start="antiperiodic", last_repetition_time=3.5e-3)
    basis = np.loadtxt(folder / "acq-hsfp_basis.tsv", skiprows=1, delimiter="\t")[:, :15]
    with np.load(shared / "reference" / "qmt_spot.npz", allow_pickle=False) as file:
        numbers = {key: file[key] for key in file if file[key].dtype.kind in "fc"}
    values = {key: torch.tensor(value) for key, value in numbers.items()}
    return Spot(sequence, torch.tensor(basis), values["params"], values)
