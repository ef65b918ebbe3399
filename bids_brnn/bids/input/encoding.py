"""How the volumes of a series came about: pulse train, basis and signal model, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.input.declared import check_declared
from bids_brnn.bids.input.inheritance import nearest_table
from bids_brnn.bids.input.protocol import (
    POINTERS,
    Said,
    Shared,
    choose_model,
    find_table,
    read_basis,
    read_train,
    usual_model,
)
from bids_brnn.bids.input.series import Series, looked_in
from bids_brnn.bids.safe import check_inside
from bids_brnn.errors import DataError
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum

Representation = Literal["subspace", "time"]
"""Of a series of pulse trains."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the volumes of a series came about."""

    model: str
    representation: Literal["subspace", "time", "zspectrum"]
    sequence: PulseSequence | ZSpectrum
    basis: NDArray[np.float64] | None
    tables: Mapping[str, Path]


def read_encoding(
    series: Series,
    metadata: Mapping[str, Any],
    n_volumes: int,
    links: Mapping[str, Path],
    shared: Shared,
    notes: list[str],
) -> Encoding:
    """Pulse train, basis and model of a series, checked against its volumes.

    Raises
    ------
    DataError
        If a table or key is missing, or sizes do not fit together.
    SequenceError
        If the pulse train is incomplete or impossible.
    """
    check_declared(metadata, series.name)
    representation = _representation(series, metadata)
    inside = (*links.values(), *series.dataset.allowed)
    said = Said(metadata, series.name, looked_in(series), inside=inside)
    pulses = _table(series, said, "rfpulses", links)
    sequence = read_train(pulses, usual_model(series.kind, said), said, shared, notes)
    model = choose_model(series.kind, said, sequence).name
    tables, basis = {"rfpulses": pulses}, None
    if representation == "subspace":
        tables["basis"] = path = _table(series, said, "basis", links)
        basis = read_basis(path, sequence, pulses.name, shared)
        if basis.shape[1] != n_volumes:
            raise DataError(
                f"{series.label} has {n_volumes} volumes, basis {path.name} has "
                f"{basis.shape[1]} columns."
            )
    elif sequence.n_samples != n_volumes:
        raise DataError(
            f"{series.label} has {n_volumes} volumes, {pulses.name} has {sequence.n_samples} "
            "rows with readout = 1."
        )
    return Encoding(model, representation, sequence, basis, tables)


def _representation(series: Series, metadata: Mapping[str, Any]) -> Representation:
    value = metadata.get("SignalRepresentation")
    if value not in get_args(Representation):
        said = "No" if value is None else f'"{value}" is not a valid'
        raise DataError(
            f'{said} "SignalRepresentation" for {series.name} (looked in: {looked_in(series)}). '
            'Set it to "subspace" or "time".'
        )
    return cast("Representation", value)


def _table(series: Series, said: Said, suffix: str, links: Mapping[str, Path]) -> Path:
    """A table of the series, else that of the raw data."""
    image, root = series.files[0], series.dataset.root
    found = find_table(image, root, said, suffix, links)
    if found is None and not series.dataset.is_raw and "raw" in links:
        # A reconstruction pipeline need not copy what the scanner played.
        found = nearest_table(
            links["raw"] / image.relative_to(root), links["raw"], suffix, said.inside
        )
    if found is None:
        what = {"rfpulses": "pulse table", "basis": "basis"}[suffix]
        label = series.entities.get("acquisition")
        expected = f"acq-{label}_{suffix}.tsv" if label else f"{suffix}.tsv"
        raise DataError(
            f"No {what} for {series.name}: write {expected} beside it or at the data-set root, "
            f'or name one in "{POINTERS[suffix]}".'
        )
    check_inside(found, root, said.inside)
    return found
