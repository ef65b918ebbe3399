"""Tiny BIDS data sets, written anew for every test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

N_FRAMES = 12
RANK = 3
SHAPE = (4, 5, 3)
AFFINE = np.array([[2.0, 0, 0, -4], [0, 2, 0, -5], [0, 0, 3, -3], [0, 0, 0, 1]])


class Builder:
    """Writes files of a data set; everything has a default and can be overwritten."""

    def __init__(self, root: Path, *, derivative: bool = False) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        description = {"Name": "test", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
        if derivative:
            description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": root.name}]}
        self.json("dataset_description.json", description)

    def json(self, name: str, content: object) -> Path:
        return self.text(name, json.dumps(content))

    def text(self, name: str, content: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def image(self, name: str, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(values, affine).to_filename(path)
        return path

    def random(self, name: str, volumes: int = RANK, seed: int = 0) -> Path:
        values = np.random.default_rng(seed).normal(size=(*SHAPE, volumes))
        return self.image(name, values.astype(np.float32))

    def pulses(self, name: str, *, n: int = N_FRAMES, tr: float = 0.0035, **extra: object) -> Path:
        columns: dict[str, list[object]] = {
            "onset": [round(k * tr, 9) for k in range(n)],
            "flip_angle": [10 + k for k in range(n)],
            "duration": [0.0005] * n,
            "phase": [180 * (k % 2) for k in range(n)],
            "pulse_type": ["excitation"] * n,
            "readout": [1] * n,
            "echo_time": [0.00175] * n,
        }
        columns.update({k: v for k, v in extra.items() if v is not None})  # type: ignore[misc]
        for key in [k for k, v in extra.items() if v is None]:
            columns.pop(key)
        rows = zip(*columns.values(), strict=True)
        lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
        return self.text(name, "\n".join(lines) + "\n")

    def basis(self, name: str, rows: int = N_FRAMES, columns: int = RANK) -> Path:
        values = np.random.default_rng(1).normal(size=(rows, columns))
        basis, _ = np.linalg.qr(values)
        header = "\t".join(f"c{k + 1:02d}" for k in range(columns))
        lines = ["\t".join(f"{cell:.9g}" for cell in row) for row in basis]
        return self.text(name, "\n".join([header, *lines]) + "\n")

    def qmt(self, subject: str = "01", session: str = "", **metadata: object) -> str:
        """A complete qMT series; its stem without part."""
        ses = f"_ses-{session}" if session else ""
        folder = f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"
        stem = f"{folder}/anat/sub-{subject}{ses}_acq-a"
        self.random(f"{stem}_part-real_QMT.nii.gz", seed=1)
        self.random(f"{stem}_part-imag_QMT.nii.gz", seed=2)
        self.shared_qmt(**metadata)
        return stem

    def shared_qmt(self, **metadata: object) -> None:
        content: dict[str, object] = {
            "MagneticFieldStrength": 3,
            "RepetitionTimeExcitation": 0.0035,
            "SignalRepresentation": "subspace",
            "BoundaryCondition": "antiperiodic",
            **metadata,
        }
        kept = {key: value for key, value in content.items() if value is not None}
        self.json("acq-a_QMT.json", kept)
        self.pulses("acq-a_rfpulses.tsv")
        self.basis("acq-a_basis.tsv")

    def mrf(self, subject: str = "01", **metadata: object) -> str:
        """A complete MRF series of time frames, magnitude and phase."""
        stem = f"sub-{subject}/anat/sub-{subject}_acq-f"
        rng = np.random.default_rng(3)
        shape = (*SHAPE, N_FRAMES)
        self.image(f"{stem}_part-mag_MRF.nii.gz", rng.random(shape).astype(np.float32))
        phase = rng.uniform(-np.pi, np.pi, shape).astype(np.float32)
        self.image(f"{stem}_part-phase_MRF.nii.gz", phase)
        self.json(f"{stem}_part-phase_MRF.json", {"Units": "rad"})
        content: dict[str, object] = {
            "MagneticFieldStrength": 3,
            "SignalRepresentation": "time",
            "DephasingPerRepetition": 6.283185307,
            **metadata,
        }
        kept = {key: value for key, value in content.items() if value is not None}
        self.json("acq-f_MRF.json", kept)
        self.pulses("acq-f_rfpulses.tsv", tr=0.012, duration=None, phase=None)
        return stem

    def files(self) -> Mapping[str, bytes]:
        """Relative names and content of everything in the data set."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def raw(tmp_path: Path) -> Builder:
    """An empty raw data set."""
    return Builder(tmp_path / "raw")


@pytest.fixture
def raw_trains():
    """A function that adds a qMT series of pulse trains to a data set."""
    return lambda root: Builder(root).qmt()


@pytest.fixture
def recon(tmp_path: Path) -> Builder:
    """An empty derivative called recon."""
    return Builder(tmp_path / "recon", derivative=True)


@pytest.fixture
def image(tmp_path):
    """A function that writes an image and gives its path."""

    def write(values, name="x.nii.gz", affine=None, kind=None):
        path = tmp_path / name
        values = np.asarray(values)
        where = np.diag([2.0, 2, 3, 1]) if affine is None else affine
        made = kind(values, where) if kind else nib.Nifti1Image(values, where, dtype=values.dtype)
        made.to_filename(path)
        return path

    return write
