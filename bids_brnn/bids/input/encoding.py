"""Pulse train and subspace basis of a series, from its sidecar and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.grammar import kind_rule
from bids_brnn.bids.input.inheritance import nearest_table
from bids_brnn.bids.input.series import Series, looked_in
from bids_brnn.bids.safe import number, resolve_uri
from bids_brnn.bids.tables import read_columns, read_numbers
from bids_brnn.errors import DataError, SequenceError
from bids_brnn.sequences.pulse_sequence import Gradient, PulseSequence, Start

Model = Literal["gbloch", "fisp", "bssfp"]
Representation = Literal["subspace", "time"]


@dataclass(frozen=True, eq=False)
class Shared:
    """Tables that were read already: hundreds of participants have one train and basis."""

    sequences: dict[tuple[object, ...], PulseSequence] = field(default_factory=dict)
    bases: dict[Path, NDArray[np.float64]] = field(default_factory=dict)

    def basis(self, path: Path) -> NDArray[np.float64]:
        """The basis of a file."""
        if path not in self.bases:
            self.bases[path] = read_numbers(path)
            self.bases[path].setflags(write=False)
        return self.bases[path]


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the volumes of a series came about."""

    model: Model
    representation: Representation
    sequence: PulseSequence
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
    representation = _representation(series, metadata)
    pulses = _table(series, metadata, "PulseTrain", "rfpulses", links)
    if pulses is None:
        raise DataError(
            f"No pulse table for {series.name}: write {_expected(series, 'rfpulses')} beside it "
            'or at the data-set root, or name one in "PulseTrain".'
        )
    sequence, model = read_sequence(pulses, series, metadata, shared, notes)
    tables, basis = {"rfpulses": pulses}, None
    if representation == "subspace":
        path = _table(series, metadata, "SubspaceBasis", "basis", links)
        if path is None:
            raise DataError(
                f"No basis for {series.name}: write {_expected(series, 'basis')} beside it or at "
                'the data-set root, or name one in "SubspaceBasis".'
            )
        tables["basis"], basis = path, shared.basis(path)
        _check_basis(series, n_volumes, basis, path, sequence, pulses)
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


def _table(
    series: Series, metadata: Mapping[str, Any], key: str, suffix: str, links: Mapping[str, Path]
) -> Path | None:
    """The table a sidecar names, else the nearest by inheritance, else that of the raw data."""
    pointer = metadata.get(key)
    root = series.dataset.root
    if pointer is not None:
        return resolve_uri(pointer, root=root, links=links)
    image = series.files[0]
    found = nearest_table(image, root, suffix)
    if found is None and not series.dataset.is_raw and "raw" in links:
        # A reconstruction pipeline need not copy what the scanner played.
        raw_image = links["raw"] / image.relative_to(root)
        found = nearest_table(raw_image, links["raw"], suffix)
    return found


def _expected(series: Series, suffix: str) -> str:
    label = series.entities.get("acquisition")
    return f"acq-{label}_{suffix}.tsv" if label else f"{suffix}.tsv"


def _check_basis(
    series: Series,
    n_volumes: int,
    basis: NDArray[np.float64],
    path: Path,
    sequence: PulseSequence,
    pulses: Path,
) -> None:
    rows, columns = basis.shape
    if columns != n_volumes:
        raise DataError(
            f"{series.label} has {n_volumes} volumes, basis {path.name} has {columns} columns."
        )
    if rows != sequence.n_samples:
        raise DataError(
            f"{path.name} has {rows} rows, {pulses.name} has {sequence.n_samples} rows with "
            "readout = 1."
        )


def read_sequence(
    path: Path, series: Series, metadata: Mapping[str, Any], shared: Shared, notes: list[str]
) -> tuple[PulseSequence, Model]:
    """The pulse train of a table, and the signal model that goes with it.

    Raises
    ------
    SequenceError
        Naming table, column and row.
    """
    rule = kind_rule(series.kind)
    start = metadata.get("BoundaryCondition")
    if start is None:
        start = rule.boundary_condition
        notes.append(f'{series.name}: no BoundaryCondition, "{start}" is assumed.')
    repetition = number(metadata, "RepetitionTimeExcitation", series.name)
    gradient, is_explicit = _default_gradient(series, metadata)
    key = (path, str(start), repetition, gradient, is_explicit, rule)
    if key not in shared.sequences:
        table = read_columns(path)
        if not is_explicit and "gradient" not in table:
            raise DataError(
                f'No "DephasingPerRepetition" for {series.name} (looked in: {looked_in(series)}) '
                "and no gradient column in its pulse table. Set it in rad, such as 6.283185307."
            )
        try:
            shared.sequences[key] = PulseSequence.from_table(
                table,
                start=cast("Start", start),
                default_gradient=gradient,
                last_repetition_time=repetition,
                needs_duration=rule.needs_duration,
                name=path.name,
            )
        except SequenceError as error:
            raise SequenceError(f"{path.name}: {str(error).rstrip('.')}.") from error
    sequence = shared.sequences[key]
    _check_repetition(sequence, repetition, path, series)
    return sequence, _model(rule.model, sequence)


def _default_gradient(series: Series, metadata: Mapping[str, Any]) -> tuple[Gradient, bool]:
    """Gradients where the table has no such column, and whether metadata speak of them."""
    default: Gradient = kind_rule(series.kind).gradient
    if series.kind != "mrf":
        return default, True
    if metadata.get("SpoilingState") is False:
        return "balanced", True
    moment = number(metadata, "DephasingPerRepetition", series.name)
    if moment is not None and abs(moment) < 2 * np.pi * 0.999:
        raise DataError(
            f"{series.name}: DephasingPerRepetition is {moment:g} rad; the FISP model needs a "
            "full turn (6.2832) across a voxel or more."
        )
    return default, moment is not None


def _check_repetition(
    sequence: PulseSequence, repetition: float | None, path: Path, series: Series
) -> None:
    if repetition is None or sequence.n_pulses < 2:
        return
    steps = sequence.repetition_time[:, :-1]
    steps = steps[steps > 0]
    slack = 1e-6
    if steps.size and not steps.min() - slack <= repetition <= steps.max() + slack:
        raise DataError(
            f"{series.name}: RepetitionTimeExcitation is {repetition:g} s, the onsets of "
            f"{path.name} are {steps.min():g} ... {steps.max():g} s apart."
        )


def _model(default: str, sequence: PulseSequence) -> Model:
    balanced = bool(np.isin(sequence.gradient, ("balanced", "crusher")).all())
    if default == "fisp" and balanced:
        return "bssfp"
    return cast("Model", default)
