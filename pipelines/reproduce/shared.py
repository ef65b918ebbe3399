"""What all figures share: the networks, their signal model, claims and how they are written."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from bids_brnn.evaluation.functions import network_function
from bids_brnn.evaluation.moments import EstimatingFunction
from bids_brnn.experiments.experiment import Experiment
from bids_brnn.experiments.reading import build_experiment, experiment_of
from bids_brnn.files import make_folder, write_text
from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.parameters import ParameterSet
from bids_brnn.priors import tissue_values
from bids_brnn.zoo.store import StoredModel, load_model

SEED = 2312
"""Of fingerprints and noise; nothing in the package was chosen with it."""
BIASED, REDUCED = "MSE-CRB", "Bias-Reduced"
COLOURS = {BIASED: "tab:orange", REDUCED: "tab:blue", "NLLS": "tab:green", "matching": "tab:green"}
Verdict = bool | None
"""Whether a claim holds; None where the interval includes both."""


@dataclass(frozen=True)
class Claim:
    """A sentence that can be wrong, with the number that decides."""

    text: str
    number: float
    low: float
    high: float
    """95 % interval of ``number``."""
    holds: Verdict
    note: str = ""

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "holds", False: "does not hold", None: "cannot be told"}[self.holds]


def above(low: float, high: float, limit: float) -> Verdict:
    """Whether what the interval tells is above ``limit``."""
    return True if low > limit else False if high < limit else None


def below(low: float, high: float, limit: float) -> Verdict:
    """Whether what the interval tells is below ``limit``."""
    return True if high < limit else False if low > limit else None


@dataclass(frozen=True)
class Result:
    """Of one script."""

    name: str
    title: str
    how: str
    """What was simulated, how often, what was subsampled."""
    claims: Sequence[Claim]
    figure: Figure | None = None
    tables: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """``NAME.json`` and ``NAME.png``."""
        make_folder(folder)
        content = {
            "title": self.title,
            "how": self.how,
            "claims": [{**asdict(claim), "verdict": claim.verdict} for claim in self.claims],
            "tables": self.tables,
        }
        write_text(folder / f"{self.name}.json", json.dumps(content, indent=1) + "\n")
        if self.figure is not None:
            path = folder / f"{self.name}.png"
            self.figure.savefig(path, dpi=90)
            with Image.open(path) as drawn:
                small = drawn.convert("RGB").quantize(128)  # a quarter of the bytes
            small.save(path, optimize=True)
        for claim in self.claims:
            print(f"{self.name}: {claim.verdict}: {claim.text} [{claim.number:.3g}]", flush=True)


@dataclass(frozen=True, eq=False)
class Pair:
    """The network with bias and the one without, of the same problem."""

    experiment: Experiment
    stored: Mapping[str, StoredModel]

    @property
    def parameters(self) -> ParameterSet:
        """Of the signal model."""
        return self.experiment.parameters

    @property
    def names(self) -> tuple[str, ...]:
        """Estimated parameters."""
        return self.parameters.select("estimated").names

    @property
    def columns(self) -> list[int]:
        """Of the estimated parameters."""
        return self.parameters.index(self.names)

    @property
    def functions(self) -> dict[str, EstimatingFunction]:
        """Both networks as estimating functions."""
        return {name: network_function(stored) for name, stored in self.stored.items()}

    def tissue(self, name: str) -> Tensor:
        """``(P,)`` canonical parameters in float64."""
        return tissue_values(self.parameters, name, torch.zeros(1, dtype=torch.float64))

    def fingerprints(self, theta: Tensor) -> TrainingSet:
        """Exact coefficients and bounds of ``theta`` ``(n, P)``."""
        return simulate_fingerprints(self.experiment.compressed, theta.double())


def qmt_pair(data: Path | None) -> Pair:
    """Networks for the published trains, whose tables lie in ``data``; without it the demo's."""
    if data is None:
        return named_pair("qmt-demo")
    stored = load_model("qmt-invivo")
    sidecar = Path(str(stored.card.recipe["sidecar"])).name
    content = {**stored.card.recipe, "sidecar": str(data.absolute() / sidecar)}
    return _pair("qmt-invivo", build_experiment(content, data / "qmt-invivo.toml"))


def named_pair(name: str) -> Pair:
    """Shipped networks that need no files."""
    return _pair(name, experiment_of(load_model(name).card))


def _pair(name: str, experiment: Experiment) -> Pair:
    networks = {BIASED: load_model(f"{name}-msecrb"), REDUCED: load_model(name)}
    return Pair(experiment, networks)


def generator(offset: int = 0) -> torch.Generator:
    """A stream of random numbers of its own for every ``offset``."""
    return torch.Generator().manual_seed(SEED + offset)


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], float], repeats: int = 1000
) -> tuple[float, float, float]:
    """``statistic`` of the rows of ``values`` and its 95 % percentile interval."""
    rng = np.random.default_rng(SEED)
    draws = [
        statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(repeats)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return statistic(values), float(low), float(high)


def share(hits: int, n: int) -> tuple[float, float, float]:
    """A share and its 95 % interval after Wilson (1927, doi:10.1080/01621459.1927.10502953)."""
    z, p = 1.959964, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, max(0.0, centre - half), min(1.0, centre + half)


def arguments(description: str | None) -> argparse.Namespace:
    """Options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, metavar="DIR",
        help="the public in vivo data set of arXiv 2312.11468 as BIDS; without it the pulse "
        "trains are those of the demo",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("reproduced"), metavar="DIR")
    parser.add_argument("--small", action="store_true", help="few draws, to see that it runs")
    return parser.parse_args()
