"""``brnn crb``: what a pulse train can measure, before anybody is scanned."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.bids.input.z_protocol import read_z_protocol
from bids_brnn.cli.toolbox.basis import add_basis_arguments, design_basis, write_basis
from bids_brnn.cli.toolbox.inputs import add_model_arguments, entry_of, sequence_of
from bids_brnn.errors import EXIT_OK, DataError, UsageError
from bids_brnn.experiments.inputs import read_parameter_sets, read_subspace
from bids_brnn.files import write_text
from bids_brnn.information.design import FULL, Row, crb_rows
from bids_brnn.parameters import FIELD_MAPS, FIELDS
from bids_brnn.priors import TISSUES, tissue_values
from bids_brnn.reports.information import draw_information
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.sequences.z_spectrum import ZSpectrum
from bids_brnn.signals import build_model, models
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace
from bids_brnn.signals.two_pools.z_spectrum.observed import ObservedR1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn crb``."""
    parser.epilog = (
        "The bound is the smallest standard deviation an unbiased estimator can reach; M0 is\n"
        "complex and unknown, off-resonance and B1 are unknown unless the table says known.\n"
        "Of Z-spectra (--protocol) M0 is real, and the observed R1 stands in the place of R1f.\n"
        "Without --pulses our own train of that model is taken. --out writes crb.tsv (standard\n"
        "deviation at |M0|/sigma = 1), correlation.tsv, a designed basis.tsv and crb.png."
    )
    add_model_arguments(parser, needs_pulses=False)
    parser.add_argument(
        "--parameters",
        type=Path,
        metavar="params.tsv",
        help="parameter sets in SI units (default: typical WM, GM and CSF)",
    )
    parser.add_argument(
        "--snr", type=float, default=20.0, help="|M0|/sigma of the printed table (default: 20)"
    )
    parser.add_argument(
        "--ranks", type=int, nargs="+", metavar="R", help="ranks of the basis to compare"
    )
    add_basis_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for tables and plots")
    parser.add_argument("--no-plots", action="store_true", help="tables only")


def run(options: argparse.Namespace) -> int:
    """Compute the bounds, print the main table, write tables and plots."""
    if options.model is None:
        raise UsageError(f"--model is missing; use one of {', '.join(models())}")
    if not (options.snr > 0 and math.isfinite(options.snr)):
        raise UsageError(f"--snr {options.snr:g}: a finite number above 0 is needed")
    if options.protocol is not None and (options.pulses or options.basis or options.design_basis):
        raise UsageError(
            f"{options.model} describes Z-spectra: give --protocol zspectrum.tsv without a pulse "
            "train or a basis"
        )
    sequence = _sequence(options)
    model: SignalModel = build_model(entry_of(options).name, sequence)
    if isinstance(sequence, ZSpectrum):
        model = ObservedR1(model)
    tissues, theta = _parameter_sets(options.parameters, model)
    subspace = _subspace(options, model, sequence)
    ranks = _ranks(options, subspace)
    basis = None if subspace is None else subspace.basis
    rows, correlation = crb_rows(model, tissues, theta, basis, ranks)
    sys.stdout.write(report(rows, options.snr, sequence.duration) + "\n")
    if options.out is not None:
        _write(options.out, rows, correlation, tissues, model, options.snr)
        if options.design_basis is not None and subspace is not None:
            write_basis(options.out / "basis.tsv", subspace)
        if not options.no_plots:
            draw_information(options.out / "crb.png", rows, options.snr)
        sys.stdout.write(f"tables{'' if options.no_plots else ' and plots'} in {options.out}\n")
    return EXIT_OK


def _sequence(options: argparse.Namespace) -> Any:
    entry = entry_of(options)
    if entry.protocol == "zspectrum" and options.protocol is not None:
        return read_z_protocol(options.protocol)
    if options.pulses is not None:
        return sequence_of(options)
    own = entry.own_train()
    if own is None:
        raise UsageError(f"--pulses is missing; there is no built-in train for {options.model}")
    return own


def _parameter_sets(path: Path | None, model: SignalModel) -> tuple[list[str], Tensor]:
    if path is not None:
        theta = read_parameter_sets(path, model.parameters)
        return [f"row {row + 1}" for row in range(len(theta))], theta
    names = list(TISSUES)
    like = torch.zeros(1, dtype=torch.float64)
    theta = torch.stack([tissue_values(model.parameters, name, like) for name in names])
    for column in model.parameters.columns("supplied"):
        item = model.parameters.items[column]
        if item.name not in (*FIELD_MAPS, "R1"):  # what estimators assume
            theta[:, column] = item.start
    return names, theta


def _subspace(
    options: argparse.Namespace, model: SignalModel, sequence: PulseSequence
) -> Subspace | None:
    if options.design_basis is not None:
        if options.basis is not None:
            raise UsageError("--basis reads a basis, --design-basis makes one; give one of them")
        return design_basis(
            model,
            options.design_basis,
            prior=options.prior,
            weight=options.weight,
            seed=options.seed,
        )
    if options.basis is not None:
        return read_subspace(options.basis, sequence, options.pulses.name, options.rank)
    if options.ranks or options.rank or options.prior:
        raise UsageError("--ranks, --rank and --prior need --basis or --design-basis")
    return None


def _ranks(options: argparse.Namespace, subspace: Subspace | None) -> list[int]:
    if subspace is None:
        return []
    width = subspace.rank
    ranks = sorted(set(options.ranks or [r for r in (4, 6, 8, 10, 12, 15, width) if r <= width]))
    if not 1 <= ranks[0] <= ranks[-1] <= width:
        raise DataError(f"--ranks {ranks} are outside 1 ... {width}, the columns of the basis")
    return ranks


def report(rows: Sequence[Row], snr: float, duration: float) -> str:
    """Table in percent of the value at ``snr``: per tissue and parameter, without nuisances."""
    variants = list(dict.fromkeys((row.rank, row.known) for row in rows))
    heads = [
        f"rank {rank}" if rank != FULL else (f"{known} known" if known else "no map")
        for rank, known in variants
    ]
    lines = [
        f"Cramer-Rao bound: standard deviation in % of the value at |M0|/sigma = {snr:g}; "
        f"{duration:.1f} s of pulses",
        "tissue".ljust(9)
        + "parameter".ljust(10)
        + "value".rjust(11)
        + "  "
        + "".join(head.rjust(max(9, len(head) + 2)) for head in heads),
    ]
    table = {(r.tissue, r.parameter, r.rank, r.known): r for r in rows}
    for tissue, parameter in dict.fromkeys((row.tissue, row.parameter) for row in rows):
        first = table[tissue, parameter, FULL, variants[0][1]]
        if first.parameter in FIELDS:
            continue
        cells = []
        for (rank, known), head in zip(variants, heads, strict=True):
            row = table.get((tissue, parameter, rank, known))
            text = "-" if row is None else f"{row.percent(snr):.3g}"
            cells.append(text.rjust(max(9, len(head) + 2)))
        lines.append(
            tissue.ljust(9) + parameter.ljust(10) + f"{first.value:.4g}".rjust(11) + "  "
            + "".join(cells)
        )  # fmt: skip
    for rank, known in variants:
        if rank != FULL:
            lines.append(
                f"Ranks: only the leading coefficients; {known + ' known' if known else 'no map'}."
            )
            break
    return "\n".join(lines)


def _write(
    folder: Path,
    rows: Sequence[Row],
    correlation: Tensor,
    tissues: Sequence[str],
    model: SignalModel,
    snr: float,
) -> None:
    lines = [f"tissue\tparameter\tunit\tvalue\trank\tknown\tstd\tpercent_at_snr_{snr:g}"]
    for row in rows:
        lines.append(
            f"{row.tissue}\t{row.parameter}\t{row.unit}\t{row.value:.9g}\t{row.rank}\t"
            f"{row.known or 'n/a'}\t{row.std:.6g}\t"
            + (f"{row.percent(snr):.6g}" if row.value else "n/a")
        )
    write_text(folder / "crb.tsv", "\n".join(lines) + "\n")
    names = model.parameters.names
    lines = ["tissue\tparameter\t" + "\t".join(names)]
    for tissue, matrix in zip(tissues, correlation.tolist(), strict=True):
        for name, line in zip(names, matrix, strict=True):
            lines.append(f"{tissue}\t{name}\t" + "\t".join(f"{value:.4f}" for value in line))
    write_text(folder / "correlation.tsv", "\n".join(lines) + "\n")
