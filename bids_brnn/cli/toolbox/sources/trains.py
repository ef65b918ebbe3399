"""Coefficients and frames of pulse trains, from the options of ``brnn import``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_brnn.cli.toolbox.sources.arguments import given_options, options_of
from bids_brnn.cli.toolbox.sources.options import about, geometry, maps_of
from bids_brnn.errors import DataError, UsageError
from bids_brnn.importing import subspace, trains
from bids_brnn.importing.matlab import listed, open_mat
from bids_brnn.importing.pictures import Picture, place_of, read_series
from bids_brnn.importing.series import Series, as_real
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals.registry import ModelEntry, model_entry

_COEFFICIENTS = ("x", "coefficients", "coeffs")


def _entry(options: argparse.Namespace, usual: str | None = None) -> ModelEntry:
    name = options.model or usual
    if name is None:
        raise UsageError("nothing says what the series is: give --model, its signal model")
    entry = model_entry(name)
    if entry.protocol != "pulses":
        raise UsageError(f"--model {name} describes Z-spectra, which have no pulse train")
    return entry


def _train(options: argparse.Namespace, entry: ModelEntry, notes: list[str]) -> PulseSequence:
    path = options.train
    if path is None and options.flip_angles is None and options.kind == "mat":
        path = options.source  # all in one file
    if options.trains is not None and (path is None or path.suffix != ".mat"):
        raise UsageError(
            "--trains divides the column alpha of a .mat file; other trains do not need it, leave "
            "it out"
        )
    if path is None:
        return _listed_train(options, entry, notes)
    if set(given_options(options)) & options_of(["lists"]) - {"--angle-unit"}:
        raise UsageError("--train tells the whole train; leave --flip-angles and its lists out")
    if path.suffix == ".mat":
        if entry.name != "gbloch":
            raise UsageError(
                f"{path.name}: alpha and TRF are those of a hybrid-state train, not of a "
                f"{entry.name} train"
            )
        flip, duration = trains.controls_of(path)
        if options.repetition_time is None:
            raise UsageError(
                f"{path.name} does not say the repetition time: give --repetition-time"
            )
        return trains.of_controls(
            flip, duration, name=path.name, repetition_time=options.repetition_time,
            trains=options.trains, unit=options.angle_unit or "rad",
            start=trains.start_of(options.boundary_condition, entry, notes),
        )  # fmt: skip
    if options.angle_unit is not None:
        raise UsageError(
            f"{path.name} has angles in degrees, as every such table; leave --angle-unit out"
        )
    said = {
        "BoundaryCondition": options.boundary_condition,
        "RepetitionTimeExcitation": options.repetition_time,
    }
    return trains.read_train(path, entry, said, notes)


def _listed_train(
    options: argparse.Namespace, entry: ModelEntry, notes: list[str]
) -> PulseSequence:
    if options.flip_angles is None:
        raise UsageError(
            "nothing tells the pulse train: give --train rfpulses.tsv, or --flip-angles and the "
            "times of a FISP train"
        )
    if entry.name != "fisp":
        raise UsageError(
            f"--flip-angles makes a FISP train, not one of {entry.name}; give --train"
        )
    needed = {
        "--angle-unit": options.angle_unit, "--time-unit": options.time_unit,
        "--echo-time": options.echo_time, "--inversion-time": options.inversion_time,
    }  # fmt: skip
    if options.repetition_time is None and options.repetition_times is None:
        needed["--repetition-times"] = None
    if missing := [name for name, value in needed.items() if value is None]:
        raise UsageError(
            f"{options.flip_angles.name} holds angles only: give {', '.join(missing)} too"
        )
    if options.repetition_time is not None and options.repetition_times is not None:
        raise UsageError("--repetition-time and --repetition-times say the same; give one of them")
    if options.repetition_times is None:
        if options.time_unit == "ms":
            raise UsageError("--repetition-time is in s; with --time-unit ms give a list of times")
        repetition = np.array([options.repetition_time])
    else:
        repetition = trains.numbers_of(options.repetition_times)
    phases = None if options.rf_phases is None else trains.numbers_of(options.rf_phases)
    return trains.fisp_of_lists(
        trains.numbers_of(options.flip_angles), repetition, name=options.flip_angles.name,
        angle_unit=options.angle_unit, time_unit=options.time_unit, echo_time=options.echo_time,
        inversion_time=options.inversion_time or None, phase=phases,
        start=trains.start_of(options.boundary_condition, entry, notes),
    )  # fmt: skip


def _of_train(
    options: argparse.Namespace,
    entry: ModelEntry,
    images: Picture,
    is_coefficients: bool | None,
    origin: str,
    found: Mapping[str, Path] | None = None,
) -> Series:
    """A series of a pulse train: coefficients or frames, as volumes and basis tell."""
    notes: list[str] = []
    sequence = _train(options, entry, notes)
    path = options.basis
    if (
        path is None
        and options.kind == "mat"
        and "u" in map(str.lower, open_mat(options.source).names)
    ):
        path = options.source
    _check_complex(images, entry, path is not None)
    volumes = images.values.shape[3]
    basis = None
    if path is not None:
        basis = subspace.read_basis(path, sequence.n_samples, options.rank, notes)
        if is_coefficients is None:
            is_coefficients = volumes != sequence.n_samples
            if basis.shape[1] == volumes == sequence.n_samples:
                raise UsageError(
                    f"{path.name} has as many columns as samples, so that nothing tells whether "
                    f"{images.name} holds coefficients or time frames; leave --basis out for time "
                    "frames, or give fewer columns (--rank)"
                )
        subspace.check_basis(basis, path.name, volumes if is_coefficients else None)
    elif options.rank is not None:
        raise UsageError("--rank belongs to --basis, and there is no basis")
    if is_coefficients and basis is None:
        raise UsageError(f"{images.name} holds coefficients: give the basis with --basis")
    if not is_coefficients and volumes != sequence.n_samples:
        raise UsageError(
            f"{images.name} has {volumes} volumes, the pulse train {sequence.n_samples} samples; "
            "if the volumes are coefficients, give --basis"
        )
    if basis is not None and not is_coefficients:
        images = replace(images, values=subspace.projected(images.values, basis, notes))
    place = place_of(images, geometry(options), notes)
    said: dict[str, object] = {
        "PulseSequenceType": f"pulse train ({entry.name})", "SignalModel": entry.name,
    }  # fmt: skip
    if bool((sequence.gradient == "dephasing").any()):
        said["DephasingPerRepetition"] = 2 * np.pi
    return Series(
        entry.kind.suffix, images, place, sequence, basis, about(options, said),
        maps_of(options, {}, notes, found), notes, origin,
    )  # fmt: skip


def _check_complex(images: Picture, entry: ModelEntry, has_basis: bool) -> None:
    if images.values.dtype.kind != "c":
        if has_basis or not entry.kind.magnitude_allowed:
            raise DataError(
                f"{images.name} holds real numbers; {entry.kind.title} of "
                f"{'coefficients' if has_basis else 'pulse trains'} needs complex images: a "
                "complex file, or --imaginary or --phase with the other part"
            )
    elif not images.values.imag.any():
        raise DataError(
            f"{images.name} is complex, but its imaginary part is 0 everywhere, as of magnitudes; "
            "give complex images, or magnitudes as such (frames --magnitude)"
        )


def read_mat(options: argparse.Namespace) -> Series:
    """Coefficients of the authors' format: ``x`` and ``mask``; ``U``; ``alpha`` and ``TRF``."""
    file = open_mat(options.source)
    names = (options.variable,) if options.variable else _COEFFICIENTS
    if not {name.lower() for name in names} & {name.lower() for name in file.names}:
        raise DataError(
            f"{options.source.name} holds {listed(file.names)}; none is called "
            f"{' or '.join(names)}: name the coefficients with --variable"
        )
    images, _ = read_series(options.source, names)
    if images.values.dtype.kind != "c":
        raise DataError(
            f"{options.source.name}: {names[0]} holds real numbers; coefficients are complex"
        )
    found = {"mask": options.source} if "mask" in map(str.lower, file.names) else {}
    return _of_train(
        options, _entry(options, "gbloch"), images, True, f"coefficients ({options.source.name})",
        found,
    )  # fmt: skip


def read_bart(options: argparse.Namespace) -> Series:
    """Coefficients or frames of BART."""
    path = options.source
    if path.suffix not in (".cfl", ".hdr"):
        path = path.with_name(f"{path.name}.cfl")
    images, is_coefficients = read_series(path)
    return _of_train(options, _entry(options), images, is_coefficients, f"BART ({path.name})")


def read_frames(options: argparse.Namespace) -> Series:
    """Time frames, or coefficients, of one or two files."""
    second = options.imaginary or options.phase
    if len([part for part in (options.imaginary, options.phase, options.magnitude) if part]) > 1:
        raise UsageError("--imaginary, --phase and --magnitude: give one of them")
    if options.phase is not None and options.phase_unit is None:
        raise UsageError("--phase needs --phase-unit: rad or deg")
    if options.phase is None and options.phase_unit is not None:
        raise UsageError("--phase-unit is that of --phase, which is not given")
    names = (options.variable,) if options.variable else ()
    first, is_coefficients = read_series(options.source, names)
    other = None if second is None else read_series(second, names)[0]
    kind = "imaginary" if options.imaginary else "phase"
    values = subspace.complex_of(first, other, kind, options.phase_unit or "rad")
    if options.magnitude:
        values = values if values.imag.any() else values.real  # BART knows complex numbers only
        values = as_real(values, first.name)
    elif values.dtype.kind != "c":
        raise UsageError(
            f"{first.name} holds real numbers, and nothing says which: give --imaginary or "
            "--phase with the other part, or --magnitude if there is none"
        )
    return _of_train(
        options, _entry(options), replace(first, values=values), is_coefficients,
        f"images ({first.name})",
    )  # fmt: skip
