"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from functools import cache

# Small tests: more threads only make them slower and noisier.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from bids_brnn.learning.training_set import TrainingSet, simulate_fingerprints
from bids_brnn.parameters import MapItem, Parameter, ParameterSet
from bids_brnn.priors import Prior, TissueClass, normal
from bids_brnn.signals.base import forward_derivatives

PROJECT = Path(__file__).parents[1]

# The same examples in every run, and no time that a busy machine could miss.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


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


CONSTANTS = {
    "MTPulseShape": "GAUSSHANN",
    "MTPulseDuration": 0.0102,
    "MTPulseBandwidth": 200,
    "MTDelay": 0.003,
    "ExcitationDuration": 0.0018,
    "FlipAngle": 5,
    "RepetitionTimeExcitation": 0.025,
}
"""Of the data sets of :class:`Spectra`, as a user would say them."""
ANGLES, OFFSETS = (332.0, 628.0), (1000.0, 2732.0, 6862.0, 17235.0)


class Spectra:
    """Data sets of Z-spectra, made from the formula of Ramani in the names of three habits."""

    shape = (6, 6, 2)

    def __init__(self, root: Path) -> None:
        self.root = root
        self.affine = np.array([[2.0, 0, 0, -6], [0, 2, 0, -6], [0, 0, 3, -3], [0, 0, 0, 1]])
        about = {"Name": "spectra", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
        self.json("dataset_description.json", about)

    def json(self, name: str, content: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def image(self, name: str, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(values, self.affine if affine is None else affine).to_filename(path)
        return path

    def change(self, name: str, **changes: object) -> None:
        """Change keys of a sidecar; None removes one."""
        path = self.root / name
        content = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
        self.json(name, {key: value for key, value in content.items() if value is not None})

    @property
    def m0s(self) -> np.ndarray:
        """The truth ``(X, Y, Z)``."""
        return np.linspace(0.08, 0.2, int(np.prod(self.shape))).reshape(self.shape)

    @cache  # noqa: B019 -- a data set of one test
    def signal(self, *, normalised: bool = False) -> np.ndarray:
        """``(X, Y, Z, 1 + 2 x 4)``: without MT pulse first, then by angle and offset."""
        from bids_brnn.sequences.z_spectrum import ZSpectrum
        from bids_brnn.signals.registry import model_entry

        pairs = [("0", "0"), *((str(a), str(o)) for a in ANGLES for o in OFFSETS)]
        table = {
            "mt_flip_angle": [pair[0] for pair in pairs],
            "offset": [pair[1] for pair in pairs],
            "mt_state": ["off", *["on"] * 8],
        }
        model = model_entry("ramani").build(ZSpectrum.from_table(table, CONSTANTS))
        m0s = torch.from_numpy(self.m0s.ravel())
        rate, kr, kf = 1.0, 15.0 * (1 - m0s), 15.0 * m0s
        observed = 0.9
        R1f = observed - kf * (rate - observed) / (rate - observed + kr)
        values = {"m0s": m0s, "R1f": R1f, "R1s": 1.0, "B1": 1.0, "w0": 0.0}
        signal = model(model.parameters.theta(values, m0s)).real.numpy()
        signal = signal / signal[:, :1] if normalised else 1000 * signal
        return signal.reshape(*self.shape, -1).astype(np.float32)

    def maps(self, folder: str = "sub-01/anat", stem: str = "sub-01", suffix: str = "R1") -> None:
        """A map of the observed R1, or of T1 in s."""
        value = 0.9 if suffix == "R1" else 1 / 0.9
        self.image(f"{folder}/{stem}_{suffix}map.nii.gz", np.full(self.shape, value, np.float32))
        self.json(f"{folder}/{stem}_{suffix}map.json", {"Units": "1/s" if suffix == "R1" else "s"})

    def wand(self, subject: str = "01", *, repeats: int = 1, constants: bool = True) -> str:
        """One file per measurement, ``FlipAngle`` of the MT pulse; the stem of the series."""
        stem = f"sub-{subject}_ses-02"
        head, values = f"sub-{subject}/ses-02/anat/{stem}", self.signal()
        rest = {key: CONSTANTS[key] for key in CONSTANTS if key != "FlipAngle"}
        if constants:
            self.json("QMT.json", {**rest, "MagneticFieldStrength": 3})
        names = [("mt-off", {"FlipAngle": 5})]
        for flip, angle in enumerate(ANGLES, 1):
            for mt, offset in enumerate(OFFSETS, 1):
                about = {"FlipAngle": angle, "MTOffsetFrequency": offset}
                names.append((f"flip-{flip}_mt-{mt}", about))
        for k, (name, about) in enumerate(names):
            runs = [f"_run-{n}" for n in range(1, repeats + 1)] if repeats > 1 else [""]
            for n, run in enumerate(runs):
                lift = (n - (len(runs) - 1) / 2) * 4  # what only an average takes away
                file = f"{head}_{name}_part-mag{run}_QMT"
                self.image(f"{file}.nii.gz", values[..., k] + np.float32(lift))
                self.json(f"{file}.json", about)
        self.maps(f"sub-{subject}/ses-02/anat", stem)
        return head

    def qmrust(self) -> str:
        """Divided images with ``Angle`` and ``Offset``; maps in a derivative inside."""
        values, head = self.signal(normalised=True), "sub-01/anat/sub-01"
        for flip, angle in enumerate(ANGLES, 1):
            for mt, offset in enumerate(OFFSETS, 1):
                file = f"{head}_flip-{flip}_mt-{mt}_QMTSPGR"
                self.image(f"{file}.nii.gz", values[..., 1 + 4 * (flip - 1) + mt - 1])
                about = {"Angle": angle, "Offset": offset, "RepetitionTime": 0.025}
                self.json(f"{file}.json", {**about, "MTPulseDuration": 0.0102})
        inside = "derivatives/preprocessed"
        about = {"Name": "maps", "BIDSVersion": "1.11.1", "DatasetType": "derivative"}
        self.json(f"{inside}/dataset_description.json", {**about, "GeneratedBy": [{"Name": "x"}]})
        self.maps(f"{inside}/sub-01/anat")
        mask = np.ones(self.shape, np.uint8)
        mask[0] = 0
        self.image(f"{inside}/sub-01/anat/sub-01_desc-brain_mask.nii.gz", mask)
        for suffix, value, unit in (("TB1map", 1.0, "1"), ("B0map", 20.0, "Hz")):
            file = f"{inside}/sub-01/fmap/sub-01_{suffix}"
            signs = np.where(np.arange(self.shape[0]) % 2, 1, -1)[:, None, None]
            values = np.full(self.shape, value) * (signs if suffix == "B0map" else 1)
            self.image(f"{file}.nii.gz", values.astype(np.float32))
            self.json(f"{file}.json", {"Units": unit})
        return head

    def table(self, name: str = "acq-z_zspectrum.tsv", **columns: list[object]) -> Path:
        """The table of :meth:`one_image`, columns added, changed or (None) removed."""
        pairs = [(0.0, 0.0), *((a, o) for a in ANGLES for o in OFFSETS)]
        content: dict[str, list[object]] = {
            "mt_flip_angle": [pair[0] for pair in pairs],
            "offset": [pair[1] for pair in pairs],
            "mt_state": ["off", *["on"] * 8],
            **columns,
        }
        content = {key: cells for key, cells in content.items() if cells is not None}
        rows = zip(*content.values(), strict=True)
        lines = ["\t".join(content), *("\t".join(map(str, row)) for row in rows)]
        path = self.root / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def one_image(self) -> str:
        """All measurements in one image, with a table."""
        head = "sub-01/anat/sub-01_acq-z"
        self.image(f"{head}_QMT.nii.gz", self.signal())
        self.table()
        self.json("acq-z_zspectrum.json", CONSTANTS)
        self.maps(suffix="T1")
        return head


@pytest.fixture
def spectra(tmp_path: Path) -> Spectra:
    """An empty data set for Z-spectra."""
    return Spectra(tmp_path / "spectra")
