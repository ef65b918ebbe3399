"""``brnn crb``: what a pulse train can measure, before anybody is scanned."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.cli.toolbox.basis import add_basis_arguments, design_basis, write_basis
from bids_brnn.cli.toolbox.inputs import (
    add_model_arguments,
    read_parameter_sets,
    read_sequence,
    read_subspace,
)
from bids_brnn.errors import EXIT_OK, DataError, UsageError
from bids_brnn.files import replacing, write_text
from bids_brnn.information.bounds import bound_by_rank, covariance
from bids_brnn.priors import TISSUES, tissue_values
from bids_brnn.sequences.designs import hybrid_state_train, jiang_like_train
from bids_brnn.sequences.pulse_sequence import PulseSequence
from bids_brnn.signals import build_model
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace

FULL = "full"


@dataclass(frozen=True)
class Row:
    """One bound: a parameter of a tissue, for a rank, with some parameters known."""

    tissue: str
    parameter: str
    unit: str
    value: float
    rank: str
    known: str
    std: float
    """Standard deviation at |M0| / sigma = 1."""

    def percent(self, snr: float) -> float:
        """Standard deviation relative to the value at ``snr``, in percent."""
        return 100 * self.std / snr / abs(self.value) if self.value else math.inf


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn crb``."""
    parser.epilog = (
        "The bound is the smallest standard deviation an unbiased estimator can reach; M0 is\n"
        "complex and unknown, off-resonance and B1 are unknown unless the table says known.\n"
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
        raise UsageError("--model is missing; use gbloch, fisp or bssfp")
    if not options.snr > 0:
        raise UsageError(f"--snr = {options.snr:g} must be above 0")
    sequence = _sequence(options)
    model = build_model(options.model, sequence)
    tissues, theta = _parameter_sets(options.parameters, model)
    subspace = _subspace(options, model)
    ranks = _ranks(options, subspace)
    basis = None if subspace is None else subspace.basis
    rows, correlation = crb_rows(model, tissues, theta, basis, ranks)
    sys.stdout.write(report(rows, options.snr, sequence.duration) + "\n")
    if options.out is not None:
        _write(options.out, rows, correlation, tissues, model, options.snr)
        if options.design_basis is not None and subspace is not None:
            write_basis(options.out / "basis.tsv", subspace)
        if not options.no_plots:
            _plot(options.out / "crb.png", rows, options.snr)
        sys.stdout.write(f"tables{'' if options.no_plots else ' and plots'} in {options.out}\n")
    return EXIT_OK


def _sequence(options: argparse.Namespace) -> PulseSequence:
    if options.pulses is not None:
        return read_sequence(
            options.pulses, options.model, options.boundary_condition, options.repetition_time
        )
    if options.model == "gbloch":
        return hybrid_state_train()
    if options.model == "fisp":
        return jiang_like_train()
    raise UsageError("--pulses is missing; there is no built-in train for bssfp")


def _parameter_sets(path: Path | None, model: SignalModel) -> tuple[list[str], Tensor]:
    if path is not None:
        theta = read_parameter_sets(path, model.parameters)
        return [f"row {row + 1}" for row in range(len(theta))], theta
    names = list(TISSUES)
    like = torch.zeros(1, dtype=torch.float64)
    return names, torch.stack([tissue_values(model.parameters, name, like) for name in names])


def _subspace(options: argparse.Namespace, model: SignalModel) -> Subspace | None:
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
        return read_subspace(options.basis, model.n_samples, options.rank)
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


def crb_rows(
    model: SignalModel,
    tissues: Sequence[str],
    theta: Tensor,
    basis: Tensor | None,
    ranks: Sequence[int],
) -> tuple[list[Row], Tensor]:
    """All bounds, and the correlation ``(tissues, P, P)`` of efficient estimates.

    Per parameter set: uncompressed with nuisances unknown and known, then per rank.
    """
    parameters = model.parameters
    names = parameters.names
    signal, jacobian = model.linearize(theta)
    rows: list[Row] = []

    def add(free: Sequence[int], variances: Tensor, rank: str) -> None:
        known = "+".join(name for column, name in enumerate(names) if column not in free)
        for tissue, values, line in zip(tissues, theta.tolist(), variances.tolist(), strict=True):
            for column, variance in zip(free, line, strict=True):
                unit = parameters.items[column].item.unit
                std = math.sqrt(variance) if variance >= 0 else math.inf
                rows.append(
                    Row(tissue, names[column], unit, values[column], rank, known, std)
                )  # fmt: skip

    matrix = covariance(signal, jacobian)
    for free in _known_sets(names):
        part = covariance(signal, jacobian[..., free])
        add(free, part.diagonal(dim1=-2, dim2=-1), FULL)
    if basis is not None:
        free = parameters.columns("estimated", "nuisance")
        bounds = bound_by_rank(signal, jacobian[..., free], basis.to(theta.dtype), ranks)
        for rank, bound in zip(ranks, bounds, strict=True):
            add(free, bound, str(rank))
    spread = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    return rows, matrix / (spread[..., :, None] * spread[..., None, :])


def _known_sets(names: Sequence[str]) -> list[list[int]]:
    """Free columns when nothing, a B1 map, and a B1 and a B0 map are at hand."""
    sets = [list(range(len(names)))]
    for known in ({"B1"}, {"B1", "w0"}):
        if known <= set(names):
            sets.append([column for column, name in enumerate(names) if name not in known])
    return sets


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
        if first.parameter in ("w0", "B1"):
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


def _plot(path: Path, rows: Sequence[Row], snr: float) -> None:
    """Bars per tissue and known map; below, inflation against rank where there are ranks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.parameter not in ("w0", "B1")]
    tissues = list(dict.fromkeys(row.tissue for row in shown))
    ranked = [row for row in shown if row.rank != FULL]
    n_rows = 2 if ranked else 1
    figure, axes = plt.subplots(
        n_rows, len(tissues), figsize=(3.6 * len(tissues), 3.2 * n_rows), squeeze=False
    )
    for column, tissue in enumerate(tissues):
        here = [row for row in shown if row.tissue == tissue]
        _bars(axes[0, column], [row for row in here if row.rank == FULL], snr, tissue)
        if ranked:
            _inflation(axes[1, column], here)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)


def _bars(axis: Any, rows: Sequence[Row], snr: float, title: str) -> None:
    variants = list(dict.fromkeys(row.known for row in rows))
    names = list(dict.fromkeys(row.parameter for row in rows))
    for position, known in enumerate(variants):
        heights = [row.percent(snr) for row in rows if row.known == known]
        offset = (position - (len(variants) - 1) / 2) * 0.8 / len(variants)
        axis.bar(
            [index + offset for index in range(len(names))],
            heights,
            0.8 / len(variants),
            label=f"{known} known" if known else "no map",
        )
    axis.set_xticks(range(len(names)), names)
    axis.set_yscale("log")
    axis.set_ylabel(f"std / value (%) at SNR {snr:g}")
    axis.set_title(title)
    if axis.get_subplotspec().is_first_col():
        axis.legend(fontsize=7)


def _inflation(axis: Any, rows: Sequence[Row]) -> None:
    full = {row.parameter: row.std for row in rows if row.rank == FULL and not row.known}
    for name, best in full.items():
        pairs = [
            (int(r.rank), r.std / best) for r in rows if r.rank != FULL and r.parameter == name
        ]
        axis.plot(*zip(*pairs, strict=True), marker="o", markersize=3, label=name)
    axis.set_xlabel("rank")
    axis.set_ylabel("std / std of all samples")
    axis.set_yscale("log")
    if axis.get_subplotspec().is_first_col():
        axis.legend(fontsize=7)
