"""A subspace basis for a pulse train, made from a prior of tissues."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from bids_brnn.cli.options import count
from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.files import write_text
from bids_brnn.priors import Prior, qmt_prior, relaxation_prior
from bids_brnn.signals.base import SignalModel
from bids_brnn.signals.subspace import Subspace
from bids_brnn.system.reading import read_text

_FINGERPRINTS = 400


def add_basis_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that design a basis instead of reading one."""
    parser.add_argument(
        "--design-basis",
        type=int,
        metavar="R",
        help="make a CRB-optimised basis with R columns instead of reading one",
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="prior.toml",
        help="tissues to design for (default: built in)",
    )
    parser.add_argument(
        "--weight",
        type=float,
        default=0.5,
        metavar="W",
        help="0: most energy (SVD), 1: lowest bounds only (default: 0.5)",
    )
    parser.add_argument("--seed", type=count, default=1, help="of the draws from the prior")


def read_prior(path: Path | None, model: SignalModel) -> Prior:
    """The prior of a TOML file, or the built-in one of this kind of model."""
    if path is not None:
        try:
            return Prior.from_toml(read_text(path), model.parameters)
        except (OSError, ValueError) as error:
            raise ReadError(f"{path} cannot be read: {error}") from None
        except BidsBrnnError as error:
            raise type(error)(f"{path.name}: {error}") from None
    if "m0s" in model.parameters.names:
        return qmt_prior(model.parameters)
    if {"R1", "R2"} <= set(model.parameters.names):
        return relaxation_prior(model.parameters)
    names = ", ".join(model.parameters.names)
    raise DataError(f"there is no built-in prior for {names}; write one and give --prior")


def design_basis(
    model: SignalModel, rank: int, *, prior: Path | None, weight: float, seed: int
) -> Subspace:
    """A CRB-optimised basis of ``rank`` columns for the tissues of ``prior``."""
    rng = torch.Generator().manual_seed(seed)
    theta = read_prior(prior, model).sample(_FINGERPRINTS, rng=rng)
    return Subspace.from_model(model, theta, rank, weight)


def write_basis(path: Path, subspace: Subspace) -> None:
    """Write ``basis.tsv``; nine digits keep single precision exactly."""
    lines = ["\t".join(f"c{column + 1:02d}" for column in range(subspace.rank))]
    lines += ["\t".join(f"{value:.9g}" for value in row) for row in subspace.basis.tolist()]
    write_text(path, "\n".join(lines) + "\n")
