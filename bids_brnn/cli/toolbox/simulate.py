"""``brnn simulate``: signals, derivatives and bounds of given parameter sets."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from bids_brnn.cli.toolbox.inputs import add_model_arguments, read_model
from bids_brnn.errors import EXIT_OK
from bids_brnn.experiments.inputs import read_parameter_sets
from bids_brnn.files import replacing
from bids_brnn.information.bounds import covariance
from bids_brnn.information.noise import whitened
from bids_brnn.signals.base import SignalModel, amplitude_of
from bids_brnn.signals.subspace import CompressedSignal
from bids_brnn.signals.two_pools.z_spectrum.models import ZModel

_BATCH_NUMBERS = 2**26
"""Complex numbers simulated at once (1 GB in double precision)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``brnn simulate``."""
    parser.epilog = (
        "keys of the output: parameter_names; signal (sets, samples) or, with --basis,\n"
        "coefficients (sets, R); derivatives (sets, samples or R, parameters); crb (sets,\n"
        "parameters): variance at |M0| = 1 and noise of standard deviation 1 per channel, M0\n"
        "being unknown. Parameters that a map supplies (B1 of fisp) count as known, bound 0;\n"
        "--known says otherwise."
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--parameters",
        type=Path,
        required=True,
        metavar="params.tsv",
        help="one row per parameter set, parameter names as header, SI units",
    )
    parser.add_argument("--derivatives", action="store_true", help="also write derivatives")
    parser.add_argument("--crb", action="store_true", help="also write Cramer-Rao bounds")
    parser.add_argument(
        "--known",
        nargs="*",
        metavar="NAME",
        help="parameters that are known in the bound (default: those that a map supplies)",
    )
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--out", type=Path, required=True, metavar="signals.npz")


def run(options: argparse.Namespace) -> int:
    """Simulate, write one npz file, say what it holds."""
    model = read_model(options)
    theta = read_parameter_sets(options.parameters, model.parameters)
    theta = theta.to(torch.float32 if options.precision == "float32" else torch.float64)
    began = time.perf_counter()
    arrays = simulate(
        model, theta, derivatives=options.derivatives, crb=options.crb, known=options.known
    )
    if isinstance(model, ZModel):  # its bounds are those of the images, its signal is divided
        divided = simulate(model.normalised(), theta, derivatives=options.derivatives)
        arrays |= divided
    took = time.perf_counter() - began
    with replacing(options.out) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
    sys.stdout.write(
        f"{options.out}: {shapes} in {took:.2f} s "
        f"({len(theta) / max(took, 1e-9):.3g} parameter sets/s)\n"
    )
    return EXIT_OK


def simulate(
    model: SignalModel,
    theta: torch.Tensor,
    *,
    derivatives: bool = False,
    crb: bool = False,
    known: list[str] | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of ``brnn simulate`` for ``theta`` ``(sets, P)``, in batches that bound memory."""
    names = model.parameters.names
    fixed = (
        model.parameters.columns("supplied") if known is None else model.parameters.index(known)
    )
    free = [column for column in range(len(names)) if column not in fixed]
    width = model.n_samples * (len(names) + 1 if derivatives or crb else 1)
    parts: dict[str, list[np.ndarray]] = {}
    key = "coefficients" if isinstance(model, CompressedSignal) else "signal"
    for batch in theta.split(max(1, _BATCH_NUMBERS // width)):
        if derivatives or crb:
            signal, jacobian = model.linearize(batch)
        else:
            signal, jacobian = model(batch), None
        parts.setdefault(key, []).append(signal.numpy())
        if derivatives and jacobian is not None:
            parts.setdefault("derivatives", []).append(jacobian.numpy())
        if crb and jacobian is not None:
            bound = torch.zeros_like(batch)
            images = whitened(model, signal), whitened(model, jacobian, -2)[..., free]
            matrix = covariance(*images, amplitude_of(model))
            bound[..., free] = matrix.diagonal(dim1=-2, dim2=-1)
            parts.setdefault("crb", []).append(bound.numpy())
    arrays = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    return arrays | {"parameter_names": np.array(names)}
