"""Pulse tables, parameter tables and bases as the toolbox commands read them."""

from __future__ import annotations

import argparse
from typing import get_args

from bids_brnn.bids.input.protocol import named
from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.errors import BidsBrnnError, DataError, UsageError
from bids_brnn.experiments.inputs import read_sequence, read_subspace
from bids_brnn.files import expanded
from bids_brnn.sequences.pulse_sequence import PulseSequence, Start
from bids_brnn.signals import ModelEntry, build_model, model_called, model_entry, models
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import CompressedSignal


def add_model_arguments(parser: argparse.ArgumentParser, *, needs_pulses: bool = True) -> None:
    """Options that name a model, its pulse train and its subspace."""
    parser.add_argument(
        "--model",
        choices=tuple(dict.fromkeys([*models(), *(item.called for item in models().values())])),
        required=needs_pulses,
        help="signal model; with --protocol one of Z-spectra",
    )
    parser.add_argument(
        "--pulses",
        type=expanded,
        metavar="rfpulses.tsv",
        help="pulse trains: onset (s), flip_angle (deg), duration (s), phase (deg), pulse_type, "
        "readout, echo_time (s), train, gradient",
    )
    parser.add_argument(
        "--protocol",
        type=expanded,
        metavar="zspectrum.tsv",
        help="for Z-spectra, in place of --pulses: mt_flip_angle (deg), offset (Hz), mt_state; "
        "constants (MTPulseShape, MTPulseDuration, FlipAngle ...) in the JSON beside it",
    )
    parser.add_argument(
        "--basis", type=expanded, metavar="basis.tsv", help="subspace: one row per sample"
    )
    parser.add_argument("--rank", type=int, metavar="R", help="use the first R columns of it")
    parser.add_argument(
        "--boundary-condition",
        choices=get_args(Start),
        help="state before the first pulse of a train (default: that of the model)",
    )
    parser.add_argument(
        "--repetition-time",
        type=float,
        metavar="S",
        help="interval after the last pulse of a train, s (default: that before it)",
    )


def entry_of(options: argparse.Namespace) -> ModelEntry:
    """The entry of the model of the options: with ``--protocol`` one of Z-spectra.

    Raises
    ------
    DataError
        If no model of Z-spectra is called so.
    """
    if options.protocol is not None:
        return model_called(options.model, "zspectrum")
    return model_entry(options.model)


def sequence_of(options: argparse.Namespace) -> PulseSequence:
    """The pulse train of the options.

    Raises
    ------
    UsageError
        If it is not given.
    """
    if options.pulses is None:
        raise UsageError(f"--pulses is missing: the pulse train of {options.model}")
    metadata = {
        "BoundaryCondition": options.boundary_condition,
        "RepetitionTimeExcitation": options.repetition_time,
    }
    return read_sequence(options.pulses, options.model, metadata)


def read_model(options: argparse.Namespace) -> SignalModel:
    """The signal model of the options, observed through the basis where one is given."""
    if entry_of(options).protocol == "zspectrum":
        return read_z_model(options)
    sequence = sequence_of(options)
    try:
        model: SignalModel = build_model(options.model, sequence)
    except BidsBrnnError as error:
        raise named(options.pulses, error) from None
    if options.basis is None:
        if options.rank is not None:
            raise DataError("--rank needs --basis: it selects columns of the basis")
        return model
    return CompressedSignal(
        model, read_subspace(options.basis, sequence, options.pulses.name, options.rank)
    )


def read_z_model(options: argparse.Namespace) -> SignalModel:
    """The model of a Z-spectrum of the options.

    Raises
    ------
    UsageError
        If the protocol is missing, or options of pulse trains are given.
    """
    if options.pulses is not None or options.basis is not None or options.protocol is None:
        raise UsageError(f"{options.model} describes Z-spectra: give --protocol zspectrum.tsv")
    return build_model(entry_of(options).name, read_z_protocol(options.protocol))
