"""``brnn simulate-dataset``: a BIDS phantom for protocols of one's own."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.cli.options import count
from bids_brnn.cli.toolbox.demo import (
    MADE,
    application_commands,
    check_phantom,
    run_application,
    table,
)
from bids_brnn.cli.toolbox.inputs import add_model_arguments, sequence_of
from bids_brnn.errors import EXIT_OK, DataError, UsageError
from bids_brnn.experiments.inputs import read_subspace
from bids_brnn.experiments.sidecars import read_sidecar
from bids_brnn.files import expanded
from bids_brnn.information.told import check_told
from bids_brnn.phantom import compare_with_truth, make_dataset
from bids_brnn.phantom.own import design, pulses_series, spectrum_series
from bids_brnn.phantom.series import Series
from bids_brnn.signals import model_called, model_entry
from bids_brnn.signals.registry import ModelEntry
from bids_brnn.signals.subspace import Subspace

_FIELDS: Mapping[str, str] = {"B1": "B1", "B0": "w0", "R1": "R1"}
"""Parameter by the word of ``--field-maps``."""
_FIRST_STREAM = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn simulate-dataset``."""
    parser.epilog = (
        "Give protocols by --sidecar, by --pulses and --model, or by --protocol; several make\n"
        "one data set with a series each. DIR also holds an fMRIPrep-like derivative and the\n"
        "truth (derivatives/truth) and the smallest standard deviation that an estimate can have."
    )
    parser.add_argument("folder", type=expanded, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--sidecar", nargs="+", type=expanded, default=(), metavar="acq-X_QMT.json",
        help="sidecars of series, whose pulse tables and bases lie beside them",
    )  # fmt: skip
    add_model_arguments(parser, needs_pulses=False)
    parser.add_argument(
        "--design-basis", type=int, metavar="R",
        help="series of pulse trains without a basis become coefficients of a basis with R "
        "columns that is made for them (default: time frames)",
    )  # fmt: skip
    parser.add_argument(
        "--field-maps", nargs="*", choices=(*_FIELDS, "none"), metavar="MAP",
        help="maps to write, of B1, B0, R1; none (default: those that the model is usually given: "
        "B1 for MR fingerprinting, all for Z-spectra, none for qMT trains)",
    )  # fmt: skip
    parser.add_argument(
        "--label", metavar="LABEL",
        help="acq- of the series of --pulses or --protocol (default: that of the table, else own)",
    )  # fmt: skip
    parser.add_argument("--participants", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--sessions", nargs="+", default=(), metavar="LABEL", help="default: no session level"
    )
    parser.add_argument(
        "--matrix", nargs=3, type=int, default=(24, 30, 2), metavar=("X", "Y", "Z"),
        help="voxels of the series (default: 24 30 2)",
    )  # fmt: skip
    parser.add_argument(
        "--snr", type=float, default=60.0,
        help="|M0|/sigma of water, per channel (default: 60); of images divided by that without "
        "MT pulse, 1/sigma",
    )  # fmt: skip
    parser.add_argument("--seed", type=count, default=2024)
    parser.add_argument(
        "--run", action="store_true", help="run bids_brnn on it and compare with the truth"
    )


def run(options: argparse.Namespace) -> int:
    """Make the data set, read it as the application would, say or do what comes next."""
    folder: Path = options.folder
    _check(options)
    series = own_series(options)
    began = time.perf_counter()
    make_dataset(
        folder,
        n_participants=options.participants,
        sessions=tuple(options.sessions),
        shape=tuple(options.matrix),
        snr=options.snr,
        seed=options.seed,
        series=series,
    )
    _read_again(folder, len(series) * options.participants * max(1, len(options.sessions)))
    names = ", ".join(f"acq-{one.acquisition}_{one.suffix} ({one.extent})" for one in series)
    sys.stdout.write(
        f"Made {folder}: {options.participants} participants, {names}, SNR {options.snr:g} "
        f"({time.perf_counter() - began:.0f} s)\n"
    )
    outputs = folder / "derivatives" / "bids_brnn"
    if not options.run:
        command = application_commands(folder, outputs, Path("work"))["participant"]
        sys.stdout.write(f"next:\n  {shlex.join(['bids_brnn', *command])}\n")
        return EXIT_OK
    with tempfile.TemporaryDirectory(prefix="brnn_own_") as work:
        code = run_application(folder, outputs, Path(work))
    if code == EXIT_OK:
        sys.stdout.write(table(compare_with_truth(folder, outputs)) + "\n")
    return code


def own_series(options: argparse.Namespace) -> list[Series]:
    """The series that the options describe.

    Raises
    ------
    UsageError
        If they describe none, or two of one name.
    DataError
        If a file cannot be read, or data of its protocol could tell no parameters.
    """
    made: list[Series] = []
    for sidecar in options.sidecar:
        made.append(_of_sidecar(sidecar, options, _FIRST_STREAM + len(made)))
    stream = _FIRST_STREAM + len(made)
    if options.protocol is not None:
        made.append(_of_protocol(options.protocol, options, stream))
    if options.pulses is not None:
        made.append(_of_pulses(options, stream + 1))
    supplied = {name for one in made for name in one.fields}
    for word in options.field_maps or ():
        if word != "none" and _FIELDS[word] not in supplied:
            raise UsageError(f"--field-maps: no model of these protocols has a use for {word}")
    # Also of two suffixes: both have field maps, labels and some maps of rates.
    labels = [one.acquisition for one in made]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"two series would be called acq-{label}, and so would their maps; give their "
                "files other acq- labels, or --label"
            )
    for one in made:
        check_told(one.model, one.sequence.name or f"acq-{one.acquisition}")
    return made


def _check(options: argparse.Namespace) -> None:
    if not options.sidecar and options.pulses is None and options.protocol is None:
        raise UsageError(
            "name a protocol: --sidecar acq-X_QMT.json, --pulses rfpulses.tsv with --model, or "
            "--protocol zspectrum.tsv; brnn new-sequence writes templates"
        )
    if options.pulses is not None and options.model is None:
        raise UsageError("--pulses needs --model: the signal model of the train")
    if options.pulses is None and (options.basis is not None or options.rank is not None):
        raise UsageError("--basis and --rank belong to --pulses")
    if options.basis is not None and options.design_basis is not None:
        raise UsageError("--basis reads a basis, --design-basis makes one; give one of them")
    if options.label is not None and not re.fullmatch("[a-zA-Z0-9]+", options.label):
        raise UsageError(f"--label {options.label}: labels of BIDS are letters and digits")
    check_phantom(options)


def _of_sidecar(path: Path, options: argparse.Namespace, stream: int) -> Series:
    if path.name.endswith("zspectrum.json"):
        return _of_protocol(path.with_suffix(".tsv"), options, stream)
    found = read_sidecar(path)
    basis = found.find_basis() if found.representation == "subspace" else None
    subspace = None
    if basis is not None:
        subspace = read_subspace(basis, found.sequence, found.pulses.name)
    elif found.representation == "subspace" and options.design_basis is None:
        raise DataError(
            f'{path.name}: SignalRepresentation is "subspace", but there is no basis table; write '
            "one, or give --design-basis R"
        )
    if subspace is None and options.design_basis is not None:
        subspace = design(found.sequence, found.entry, options.design_basis)
    return pulses_series(
        found.sequence,
        found.entry,
        _label(path, None),
        subspace=subspace,
        metadata=found.metadata,
        fields=_fields(options, found.entry),
        stream=stream,
    )


def _of_pulses(options: argparse.Namespace, stream: int) -> Series:
    sequence = sequence_of(options)
    entry = model_entry(options.model)
    subspace: Subspace | None = None
    if options.basis is not None:
        subspace = read_subspace(options.basis, sequence, options.pulses.name, options.rank)
    elif options.design_basis is not None:
        subspace = design(sequence, entry, options.design_basis)
    metadata: dict[str, Any] = {}
    if options.repetition_time is not None:
        metadata["RepetitionTimeExcitation"] = options.repetition_time
    return pulses_series(
        sequence,
        entry,
        _label(options.pulses, options.label),
        subspace=subspace,
        metadata=metadata,
        fields=_fields(options, entry),
        stream=stream,
    )


def _of_protocol(path: Path, options: argparse.Namespace, stream: int) -> Series:
    named = options.model if options.pulses is None else None
    entry = model_called(named or "gbloch", "zspectrum")
    fields = _fields(options, entry)
    if "R1" not in fields:
        raise UsageError("--field-maps: a Z-spectrum needs R1, without which m0s cannot be told")
    return spectrum_series(
        read_z_protocol(path),
        entry,
        _label(path, options.label),
        fields=[name for name in fields if name != "R1"],
        stream=stream,
    )


def _fields(options: argparse.Namespace, entry: ModelEntry) -> Sequence[str]:
    """Parameters that maps supply: what the user names, of that what the model has."""
    if options.field_maps is None:
        if entry.protocol == "zspectrum":
            return tuple(_FIELDS.values())
        return ("B1",) if entry.kind.magnitude_allowed else ()
    wanted = [_FIELDS[word] for word in options.field_maps if word != "none"]
    if "none" in options.field_maps and wanted:
        raise UsageError("--field-maps: none stands alone")
    return [name for name in wanted if name in entry.field_maps]


def _label(path: Path, given: str | None) -> str:
    found = re.search(r"(?:^|_)acq-([a-zA-Z0-9]+)", path.name)
    return given or (found[1] if found else "own")


def _read_again(folder: Path, expected: int) -> None:
    """Read the data set as the application does; what is wrong is said before anything is run."""
    made = [folder / "derivatives" / name for name in MADE]
    found = find_acquisitions(
        folder, derivatives={path.name: path for path in made if path.is_dir()}
    )
    for problem in found.problems:
        raise problem
    if len(found.acquisitions) != expected:
        raise DataError(
            f"{folder} holds {len(found.acquisitions)} series that can be read, not {expected}"
        )
