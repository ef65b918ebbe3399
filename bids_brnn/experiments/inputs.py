"""Pulse tables, parameter tables and bases of the toolbox."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_brnn.bids.input.protocol import Shared, explicit, named, read_basis, read_train
from bids_brnn.bids.tables import read_columns
from bids_brnn.errors import BidsBrnnError, DataError, ParameterError, did_you_mean
from bids_brnn.parameters import ParameterSet
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.base import check_parameters
from bids_brnn.signals.subspace import Subspace
from bids_brnn.system.kinds import abridged, cell_number


def read_sequence(path: Path, model: str, metadata: Mapping[str, Any]) -> PulseSequence:
    """The pulse train of a table for a model that the user names; errors name the file.

    Parameters
    ----------
    path
        The table ``rfpulses.tsv``.
    model
        Name of the signal model.
    metadata
        ``BoundaryCondition`` and ``RepetitionTimeExcitation`` where they are given; None or
        absent stands for the defaults of the model.
    """
    entry, said = explicit(model, metadata, path.name)
    try:
        return read_train(path, entry, said, Shared(), [])
    except BidsBrnnError as error:
        raise named(path, error) from None


def read_subspace(
    path: Path, sequence: PulseSequence, pulses: str, rank: int | None = None
) -> Subspace:
    """The first ``rank`` columns of a basis table with a row for each sample of ``sequence``."""
    columns = torch.as_tensor(np.array(read_basis(path, sequence, pulses, Shared())))
    if rank is not None and not 1 <= rank <= columns.shape[1]:
        raise DataError(f"rank {rank} is outside 1 ... {columns.shape[1]}, the columns of {path}")
    try:
        return Subspace(columns if rank is None else columns[:, :rank].contiguous())
    except BidsBrnnError as error:
        raise named(path, error) from None


def read_parameter_sets(path: Path, parameters: ParameterSet) -> Tensor:
    """Parameter sets ``(sets, P)`` of a table with parameter names as header, SI units.

    Columns of nuisance and supplied parameters may be absent and take their start value.

    Raises
    ------
    ParameterError
        Naming column, row (counted from 1 below the header) and value.
    """
    columns = {name.strip(): cells for name, cells in read_columns(path).items()}
    unknown = [name for name in columns if name not in parameters.names]
    if unknown:
        raise ParameterError(
            f"{path.name}: unknown column {', '.join(unknown)}; "
            f"this model has {', '.join(parameters.names)}"
            f"{did_you_mean(unknown[0], parameters.names)}"
        )
    rows = len(next(iter(columns.values()), []))
    if rows == 0:
        raise ParameterError(f"{path.name} has no row below its header")
    theta = torch.empty(rows, len(parameters), dtype=torch.float64)
    for column, item in enumerate(parameters):
        if item.name in columns:
            cells = columns[item.name]
            theta[:, column] = torch.tensor(
                [_number(path, item.name, row, text) for row, text in enumerate(cells)],
                dtype=torch.float64,
            )
        elif item.role == "estimated":
            raise ParameterError(
                f"{path.name} has no column {item.name} ({item.item.unit}); it has "
                f"{', '.join(columns)}"
            )
        else:
            theta[:, column] = item.start
    try:
        check_parameters(theta, parameters)
    except BidsBrnnError as error:
        raise named(path, error) from None
    return theta


def _number(path: Path, name: str, row: int, text: str) -> float:
    value = cell_number(text)
    if not math.isfinite(value):
        raise ParameterError(
            f"{path.name}: {name} = {abridged(text) or 'empty'} in row {row + 1}: "
            "a finite number is needed"
        )
    return value
