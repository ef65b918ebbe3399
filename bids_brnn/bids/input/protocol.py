"""Pulse trains and subspace bases from tables and metadata: one reader for App and toolbox."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bids_brnn.bids.input.agreement import check_agreement
from bids_brnn.bids.input.declared import check_declared, number
from bids_brnn.bids.input.inheritance import nearest_table
from bids_brnn.bids.safe import check_inside, read_json, resolve_uri
from bids_brnn.bids.tables import read_columns, read_matrix
from bids_brnn.errors import BidsBrnnError, DataError, InvalidBidsError, SequenceError
from bids_brnn.sequences.columns import check_units
from bids_brnn.sequences.pulse_sequence import Gradient, PulseSequence, Start
from bids_brnn.signals.registry import ModelEntry, model_entry, models_of
from bids_brnn.system.kinds import cell_number

_SHOWN = 5
_ORTHONORMAL = 1e-4
"""Largest error of a product of two columns of a basis; float32 tables reach 1e-6."""
POINTERS = {"rfpulses": "PulseTrain", "basis": "SubspaceBasis"}
"""Keys of a sidecar that name a table, by the suffix of the table."""


@dataclass(frozen=True)
class Said:
    """Metadata of a series, and how messages speak of them."""

    metadata: Mapping[str, Any]
    name: str
    """Of the series or of the table."""
    looked_in: str = ""
    """Names of the sidecars; empty for options of a command line."""
    model_chosen: bool = False
    """Whether the user named the model, which tells the gradients where nothing else does."""
    inside: tuple[Path, ...] = ()
    """Folders that links of this data may lead to: all data sets and what the user allows."""


@dataclass(frozen=True, eq=False)
class Shared:
    """Tables that were read already: hundreds of participants have one train and basis."""

    sequences: dict[tuple[object, ...], PulseSequence] = field(default_factory=dict)
    bases: dict[Path, NDArray[np.float64]] = field(default_factory=dict)


def find_table(
    image: Path, root: Path, said: Said, suffix: str, links: Mapping[str, Path]
) -> Path | None:
    """The table that a sidecar names, else the nearest one by inheritance, or None.

    Parameters
    ----------
    image
        Of the series; the file itself need not exist.
    root
        Of its data set.
    said
        What its sidecars hold.
    suffix
        ``rfpulses`` or ``basis``.
    links
        Folders of other data sets by name, for BIDS URIs.

    Raises
    ------
    DataError, ReadError
        If what is named cannot be used.
    """
    pointer = said.metadata.get(POINTERS[suffix])
    if pointer is not None:
        try:
            return resolve_uri(pointer, root=root, links=links, allowed=said.inside)
        except InvalidBidsError as error:
            raise InvalidBidsError(f"{POINTERS[suffix]} of {said.name}: {error}") from error
    return nearest_table(image, root, suffix, said.inside)


def read_train(
    path: Path, usual: ModelEntry, said: Said, shared: Shared, notes: list[str]
) -> PulseSequence:
    """The pulse train of a table.

    Parameters
    ----------
    path
        The table ``rfpulses.tsv``.
    usual
        The model whose defaults hold where table and metadata are silent.
    said
        Metadata: ``BoundaryCondition``, ``RepetitionTimeExcitation``, ``SpoilingState``,
        ``DephasingPerRepetition``.
    shared
        What was read before.
    notes
        Decisions; grows.

    Raises
    ------
    DataError, SequenceError
        Naming table, column and row, or the key.
    """
    check_declared(said.metadata, said.name)
    start = said.metadata.get("BoundaryCondition")
    if start is None:
        start = usual.start
        notes.append(f'{said.name}: no BoundaryCondition, "{start}" is assumed.')
    repetition = number(said.metadata, "RepetitionTimeExcitation", said.name)
    gradient, is_explicit = _default_gradient(usual, said)
    key = (path, str(start), repetition, gradient, is_explicit, usual.name)
    if key not in shared.sequences:
        table = read_columns(path)
        if not is_explicit and "gradient" not in table:
            raise DataError(
                f'No "DephasingPerRepetition" for {said.name} (looked in: {said.looked_in}) '
                "and no gradient column in its pulse table. Set it in rad, such as 6.283185307."
            )
        try:
            check_units(_beside(path, said.inside), path.with_suffix(".json").name)
            shared.sequences[key] = PulseSequence.from_table(
                table,
                start=cast("Start", start),
                default_gradient=gradient,
                last_repetition_time=repetition,
                needs_duration=usual.needs_duration,
                name=path.name,
            )
        except SequenceError as error:
            raise SequenceError(f"{path.name}: {str(error).rstrip('.')}.") from error
        if "phase" not in table and _is_balanced(shared.sequences[key]):
            notes.append(
                f"{path.name} has no column phase: every RF pulse is taken to have the same one; "
                "most balanced trains alternate between 0 and 180 degrees."
            )
    sequence = shared.sequences[key]
    _check_repetition(sequence, repetition, path, said)
    if said.looked_in:
        beside = _beside(path, said.inside)
        check_agreement(sequence, said.metadata, beside, said.name, path.name, notes)
    return sequence


def choose_model(kind: str, said: Said, sequence: PulseSequence) -> ModelEntry:
    """The signal model of a series: the one that its sidecar names, else the first that serves.

    Raises
    ------
    DataError
        If the sidecar names a model that there is not, or one of another kind of series.
    """
    named = said.metadata.get("SignalModel")
    # Images by MT pulse have no train: they are not read from series of volumes.
    candidates = [entry for entry in models_of(kind) if entry.protocol == "pulses"]
    if named is None:
        return next((entry for entry in candidates if entry.serves(sequence)), candidates[0])
    for entry in candidates:
        if named == entry.name:
            return entry
    raise DataError(
        f'SignalModel of {said.name} is "{named}"; use one of '
        f"{', '.join(entry.name for entry in candidates)}."
    )


def usual_model(kind: str, said: Said) -> ModelEntry:
    """The model whose defaults hold for a kind of series, before its pulse train is known."""
    named = said.metadata.get("SignalModel")
    candidates = models_of(kind)
    return next((entry for entry in candidates if entry.name == named), candidates[0])


def read_basis(
    path: Path, sequence: PulseSequence, pulses: str, shared: Shared
) -> NDArray[np.float64]:
    """A basis ``(N, R)`` with a row for each of the ``N`` samples of a train.

    Raises
    ------
    DataError
        If it has another number of rows than the table ``pulses`` has samples, no header,
        columns that are no coefficients, or columns that are not orthonormal.
    """
    if path not in shared.bases:
        names, basis = read_matrix(path)
        _check_columns(path, names)
        basis.setflags(write=False)
        shared.bases[path] = basis
    rows = shared.bases[path].shape[0]
    if rows != sequence.n_samples:
        raise DataError(
            f"{path.name} has {rows} rows, {pulses} has {sequence.n_samples} rows with "
            "readout = 1."
        )
    _check_orthonormal(path, shared.bases[path])
    return shared.bases[path]


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if any(math.isfinite(cell_number(name)) for name in names):
        raise DataError(
            f"{path.name} has no header; write a first line with a name for each column, such as "
            "c01, c02 ..."
        )
    stems = [name.rstrip("0123456789") for name in names]
    (usual, times), *_ = Counter(stems).most_common(1)
    odd = [name for name, stem in zip(names, stems, strict=True) if stem != usual]
    # Names without numbers, such as a, b, c, have nothing in common and say nothing.
    if odd and times > 1:
        raise DataError(
            f"{path.name}: unknown column {', '.join(odd[:_SHOWN])}; every column is a "
            f"coefficient, called as {names[stems.index(usual)]}. Remove what is none."
        )


def _check_orthonormal(path: Path, basis: NDArray[np.float64]) -> None:
    rows, columns = basis.shape
    if columns > rows:
        raise DataError(
            f"{path.name} has {columns} columns and {rows} rows; a basis has fewer columns than "
            "rows, one for each coefficient."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        gram = basis.T @ basis
        wrong = np.nan_to_num(np.abs(gram - np.eye(len(gram))), nan=np.inf)
    if wrong.max() > _ORTHONORMAL:
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise DataError(
            f"{path.name}: the columns are not orthonormal (the product of columns {row + 1} and "
            f"{column + 1} is {gram[row, column]:.4g} instead of {float(row == column):g}), so "
            "that coefficients = basis^T signal does not hold."
        )


def _beside(table: Path, inside: Sequence[Path]) -> Mapping[str, Any]:
    """What the JSON file beside a table says of its columns."""
    path = table.with_suffix(".json")
    if not os.path.lexists(path):  # also where the name is too long
        return {}
    if inside:  # else the user named the table himself
        check_inside(path, path.parent, inside)
    return read_json(path)


def named(path: Path, error: BidsBrnnError) -> BidsBrnnError:
    """The error with the name of the file in its text."""
    text = str(error)
    return error if path.name in text else type(error)(f"{path.name}: {text}")


def explicit(model: str, metadata: Mapping[str, Any], name: str) -> tuple[ModelEntry, Said]:
    """What holds where the user names the model, as the toolbox asks for."""
    return model_entry(model), Said(metadata, name, model_chosen=True)


def _default_gradient(usual: ModelEntry, said: Said) -> tuple[Gradient, bool]:
    """Gradients where the table has no such column, and whether anything speaks of them."""
    if usual.gradient != "dephasing":
        return usual.gradient, True
    moment = number(said.metadata, "DephasingPerRepetition", said.name)
    # A moment is told by a person, the state by scanners too, of trains without RF spoiling.
    if moment is None and said.metadata.get("SpoilingState") is False:
        return "balanced", True
    return usual.gradient, said.model_chosen or moment is not None


def _is_balanced(sequence: PulseSequence) -> bool:
    """Whether transverse magnetization meets the next pulse, whose phase then matters."""
    return bool((sequence.gradient[~sequence.padding] == "balanced").any())


def _check_repetition(
    sequence: PulseSequence, repetition: float | None, path: Path, said: Said
) -> None:
    # Named on a command line, it is the pause after a train, which may be longer.
    if repetition is None or not said.looked_in or sequence.n_pulses < 2:
        return
    steps = sequence.repetition_time[:, :-1]
    steps = steps[steps > 0]
    slack = 1e-6
    if steps.size and not steps.min() - slack <= repetition <= steps.max() + slack:
        raise DataError(
            f"{said.name}: RepetitionTimeExcitation is {repetition:g} s, the onsets of "
            f"{path.name} are {steps.min():g} ... {steps.max():g} s apart. Both are in seconds: "
            "correct the one that is wrong."
        )
