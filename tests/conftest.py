"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import sys

# Small tests: more threads only make them slower and noisier.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.priors import Prior, TissueClass, normal
from bids_brnn.signals.base import forward_derivatives

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values and real data that may lie beside a checkout."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference values or real data at {folder.name}/ beside the checkout")
    return folder


@pytest.fixture(scope="session")
def zspectra() -> ModuleType:
    """Writers of data sets of conventional qMT: the module ``tests/zspectra.py``."""
    spec = importlib.util.spec_from_file_location(
        "zspectra", Path(__file__).parent / "zspectra.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zspectra"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


LINE = ParameterSet(
    (Parameter(MapItem("slope", "1", "QMTmap", "Slope"), -1.0, 1.0, 0.0, "estimated"),)
)


@dataclass(frozen=True)
class Line:
    """Coefficients (1, slope): dividing by the first shows the slope plus Gaussian noise."""

    parameters: ParameterSet = LINE
    n_samples: int = 2

    def __call__(self, theta: Tensor, basis: Tensor | None = None) -> Tensor:
        signal = torch.cat([torch.ones_like(theta), theta], dim=-1)
        signal = torch.complex(signal, torch.zeros_like(signal))
        return signal if basis is None else signal @ basis.conj().to(signal.dtype)

    def linearize(self, theta: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return forward_derivatives(lambda values: self(values, basis), theta)


@dataclass(frozen=True)
class LineProblem:
    """At SNR 20 the bound equals the spread of the prior: the posterior mean halves the slope."""

    model: Line
    data: TrainingSet
    snr: float = 20.0
    spread: float = 0.05


@pytest.fixture(scope="session")
def line() -> LineProblem:
    prior = Prior(LINE, (TissueClass("all", 1, {"slope": normal(0, 0.05, -1, 1)}),))
    rng = torch.Generator().manual_seed(3)
    theta = prior.sample(20000, rng=rng, dtype=torch.float32)
    return LineProblem(Line(), simulate_fingerprints(Line(), theta))


def _complex_gram_bound(signal: Tensor, derivatives: Tensor) -> Tensor:
    columns = torch.cat([signal[..., None], derivatives], dim=-1).to(torch.complex128)
    norm = columns.abs().square().sum(-2, keepdim=True).sqrt()
    gram = (columns / norm).mH @ (columns / norm)
    variance = torch.linalg.inv(gram).diagonal(dim1=-2, dim2=-1).real / norm[..., 0, :] ** 2
    return variance[..., 1:].to(signal.real.dtype)


@pytest.fixture(scope="session")
def complex_gram_bound() -> Callable[[Tensor, Tensor], Tensor]:
    """Bound of the scripts of arXiv 2312.11468, whose numbers are among the reference values.

    Looser than ours: they take the real part after the inverse, as if parameters were complex.
    """
    return _complex_gram_bound
