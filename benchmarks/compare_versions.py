"""Flags and mixtures by two versions of the program, each with its own networks, on the same data.

``python benchmarks/compare_versions.py make TOML DATA`` simulates voxels of tissue, of what the
model does not describe or training did not hold, and of tissue with fluid. ``estimate CARD DATA
OUT`` lets the program that is imported estimate them; with ``PYTHONPATH`` it is another version:
what that step imports has stood where it is since the first one. Now the flags need
``--experiment TOML`` (exact signals). ``table DATA BEFORE NOW`` prints; ``residual TOML DATA``
tells in how many mixtures chi-squared of exact least squares is above the limit. The noise level
is told.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bids_brnn.zoo.store import load_model

with suppress(ImportError):  # versions that only estimate lack some of them
    from bids_brnn.estimators.csf import CsfEstimator, fluid_mixture
    from bids_brnn.estimators.nlls.estimator import NllsEstimator
    from bids_brnn.estimators.series_noise import chi_squared_limit
    from bids_brnn.experiments.reading import read_experiment
    from bids_brnn.information.noise import add_noise, degrees_of_freedom
    from bids_brnn.priors import qmt_prior, tissue_set, tissue_values

LEVELS = (20.0, 40.0, 80.0)
"""``|M0| / sigma``."""
USUAL = ("white matter", "grey matter", "lesion", "fluid")
MOVED = "head moved, last sixth"
MIXED = {"WM 80/20": 0.2, "WM 60/40": 0.4, "GM 80/20": 0.2, "GM 60/40": 0.4}
_NEAR_BOUND = 1e-6


def cases(experiment: Any, n: int, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Samples ``(n, N)`` of each case, and parameters ``(n, P)`` of tissue in mixtures.

    Each voxel has its own tissue, off-resonance and B1; fluids have the fields of the tissue.
    """
    parameters, model = experiment.parameters, experiment.model
    rng = torch.Generator().manual_seed(seed)
    white, grey, lesion = (
        tissue_set(parameters, name, n, rng=rng) for name in ("WM", "GM", "lesion")
    )
    fields = list(parameters.index(("w0", "B1")))
    grey[:, fields] = white[:, fields]
    csf = tissue_values(parameters, "CSF", white).repeat(n, 1)
    csf[:, fields] = white[:, fields]
    fluid = qmt_prior(parameters).sample(200 * n, rng=rng)
    fluid = fluid[fluid[:, parameters.names.index("R2f")] < 1.5][:n]

    def white_but(**values: float) -> Tensor:
        theta = white.clone()
        for name, value in values.items():
            theta[:, parameters.names.index(name)] = value
        return theta

    weaker = replace(
        model, sequence=replace(model.sequence, flip_angle=0.8 * model.sequence.flip_angle)
    )

    def signal(theta: Tensor, of: Any = model) -> Tensor:
        return torch.cat([of(some) for some in theta.split(64)])

    wm, gm, water = signal(white), signal(grey), signal(csf)
    moved, jump = wm.clone(), wm.clone()
    moved[:, wm.shape[1] * 5 // 6 :] = gm[:, wm.shape[1] * 5 // 6 :]
    jump[:, wm.shape[1] // 2 :] *= torch.exp(torch.tensor(0.5j))
    samples = {
        "white matter": wm,
        "grey matter": gm,
        "lesion": signal(lesion),
        "fluid": signal(fluid),
        **{
            name: (1 - share) * (wm if name.startswith("WM") else gm) + share * water
            for name, share in MIXED.items()
        },
        MOVED: moved,
        "phase jump of 0.5 rad": jump,
        "B1 of 0.4": signal(white_but(B1=0.5), weaker),
        "B1 of 0.5": signal(white_but(B1=0.5)),
        "m0s of 0.5": signal(white_but(m0s=0.5)),
        "T1 of 6 s": signal(white_but(R1f=1 / 6)),
        "fat": signal(white_but(m0s=0.001, R1f=2.5, R2f=10.0)),
    }
    return samples, {name: white if name.startswith("WM") else grey for name in MIXED}


def make(options: argparse.Namespace) -> None:
    """Simulate and keep."""
    experiment = read_experiment(options.experiment)
    samples, truth = cases(experiment, options.draws, options.seed)
    basis = experiment.subspace.basis
    rng = torch.Generator().manual_seed(options.seed + 1)
    noisy = {
        (snr, name): add_noise(
            (clean @ basis.to(clean.dtype).conj()).to(torch.complex64), snr, rng=rng
        )
        for snr in LEVELS
        for name, clean in samples.items()
    }
    torch.save({"noisy": noisy, "truth": truth}, options.data)


def estimate(options: argparse.Namespace) -> None:
    """Flags, and m0s of mixtures, by the version that is imported."""
    estimator = load_model(options.card).estimator_in_training_basis()
    parameters = estimator.parameters
    column = parameters.names.index("m0s")
    free = list(parameters.columns("estimated", "nuisance"))
    mixed: Any = None
    if options.experiment:
        exact = read_experiment(options.experiment).compressed
        estimator = replace(estimator, exact=exact)
        mixed = CsfEstimator(replace(estimator, spread="learnt"), fluid_mixture(exact, "QMTmap"))
    found = {}
    for (snr, name), data in torch.load(options.data)["noisy"].items():
        one = estimator.estimate(data, sigma=1 / snr)
        unit = parameters.to_unit(one.theta)[:, free]
        told = {
            "8": one.quality["distance"] > 1,
            "128": one.quality.get("edge", torch.zeros(len(data))) > 0,
            "2": ((unit <= _NEAR_BOUND) | (unit >= 1 - _NEAR_BOUND)).any(-1),
            "m0s": one.theta[:, column],
        }
        if mixed is not None and name in MIXED:
            two = mixed.estimate(data, sigma=1 / snr)
            told["taken"] = two.quality["csf"] > 0
            told["m0s beside fluid"] = two.theta[:, column]
        found[snr, name] = told
    torch.save(found, options.out)


def table(options: argparse.Namespace) -> None:
    """Print: by SNR, separated by strokes."""
    kept, before, now = map(torch.load, (options.data, options.before, options.now))
    names = list(dict.fromkeys(name for _, name in kept["noisy"]))

    def shares(found: Any, name: str, *flags: str) -> str:
        raised = [torch.stack([found[snr, name][flag] for flag in flags]).any(0) for snr in LEVELS]
        return " / ".join(f"{float(one.double().mean()):.3f}" for one in raised)

    heads = ("flag 8 before", "now", "8 or 128 now", "2, 8 or 128 before", "now")
    print(f"| | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for name in names:
        cells = [shares(before, name, "8"), shares(now, name, "8"), shares(now, name, "8", "128")]
        cells += [shares(each, name, "2", "8", "128") for each in (before, now)]
        print(f"| {name} | {' | '.join(cells)} |")
    heads = (
        "m0s over truth before",
        "one compartment now",
        "taken",
        "m0s in these",
        "before in these",
        "m0s of all",
    )
    print(f"\n| mixture, SNR | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for snr, name in kept["noisy"]:
        if name not in MIXED:
            continue
        truth = kept["truth"][name][:, 0]
        told, taken = now[snr, name], now[snr, name]["taken"]
        over = [part[snr, name]["m0s"] / truth for part in (before, now)]
        beside = told["m0s beside fluid"] / truth
        cells = [f"{float(one.mean()):.3f}" for one in over]
        cells.append(f"{float(taken.double().mean()):.2f}")
        cells += [f"{float(one.mean()):.3f}" for one in (beside[taken], over[0][taken], beside)]
        print(f"| {name}, {snr:g} | {' | '.join(cells)} |")


def residual(options: argparse.Namespace) -> None:
    """What a test of the residual alone can tell from noise."""
    model = read_experiment(options.experiment).compressed
    free = len(model.parameters.columns("estimated", "nuisance"))
    limit = float(chi_squared_limit(degrees_of_freedom("complex", model.n_samples, free)))
    for (snr, name), data in torch.load(options.data)["noisy"].items():
        if name in MIXED or name == MOVED:
            some = data[: options.voxels]
            left = NllsEstimator(model).estimate(some, sigma=1 / snr).residual
            chi = (left * some.abs().square().sum(-1).sqrt() * snr).square()
            print(f"{name}, {snr:g}: {float((chi > limit).double().mean()):.3f}", flush=True)


def main() -> None:
    """One of four steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    first = steps.add_parser("make")
    first.add_argument("experiment", type=Path)
    first.add_argument("data", type=Path)
    first.add_argument("--draws", type=int, default=400)
    first.add_argument("--seed", type=int, default=777003)
    second = steps.add_parser("estimate")
    second.add_argument("card")
    second.add_argument("data", type=Path)
    second.add_argument("out", type=Path)
    second.add_argument("--experiment", type=Path)
    third = steps.add_parser("table")
    for name in ("data", "before", "now"):
        third.add_argument(name, type=Path)
    fourth = steps.add_parser("residual")
    fourth.add_argument("experiment", type=Path)
    fourth.add_argument("data", type=Path)
    fourth.add_argument("--voxels", type=int, default=400)
    for step, work in ((first, make), (second, estimate), (third, table), (fourth, residual)):
        step.set_defaults(work=work)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work(options)


if __name__ == "__main__":
    main()
