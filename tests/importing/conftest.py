"""Files of other programs, written here from their own definitions; nothing of the reader."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import scipy.io

from bids_brnn.bids.images import read_coefficients
from bids_brnn.bids.input.discovery import find_acquisitions
from bids_brnn.cli.toolbox.main import main

SHAPE = (4, 3, 2)
AFFINE = np.array([[-2.0, 0, 0, 7], [0, 2, 0, -6], [0, 0, 3, -3], [0, 0, 0, 1]])


class Workbench:
    """A folder of foreign files, and ``brnn import`` for them."""

    shape, affine = SHAPE, AFFINE

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self.capsys = folder, capsys
        self.out = folder / "ds"
        self.rng = np.random.default_rng(4)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def nifti(self, name: str, values: np.ndarray, affine: np.ndarray | None = AFFINE) -> Path:
        nib.Nifti1Image(values, affine).to_filename(self.path(name))
        return self.path(name)

    def mat(self, name: str, **values: object) -> Path:
        scipy.io.savemat(self.path(name), values, do_compression=True)
        return self.path(name)

    def json(self, name: str, content: object) -> Path:
        self.path(name).write_text(json.dumps(content))
        return self.path(name)

    def text(self, name: str, content: str) -> Path:
        self.path(name).write_text(content)
        return self.path(name)

    def cfl(self, name: str, values: np.ndarray) -> Path:
        """All axes of ``values`` as BART has them."""
        sizes = [*values.shape, *[1] * (16 - values.ndim)]
        self.text(
            f"{name}.hdr", "# Dimensions\n" + " ".join(map(str, sizes)) + " \n# Command\nx\n"
        )
        pairs = np.stack([values.real, values.imag], axis=0).astype("<f4")
        self.path(f"{name}.cfl").write_bytes(pairs.tobytes(order="F"))
        return self.path(f"{name}.cfl")

    def complex(self, *shape: int) -> np.ndarray:
        parts = self.rng.standard_normal((2, *shape))
        return (parts[0] + 1j * parts[1]).astype(np.complex64)

    def run(self, *words: object, out: Path | None = None) -> SimpleNamespace:
        """Exit code, and what was said."""
        kind, source, *rest = map(str, words)
        rest += [] if "--subject" in rest else ["--subject", "01"]
        line = ["import", kind, source, str(out or self.out), *rest, "--skip-bids-validation"]
        self.capsys.readouterr()
        code = main(line)
        said = self.capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    def read(self, participant: str = "01", session: str | None = None):
        """The one series of a participant, and its volumes."""
        folder = self.out / "derivatives" / "imported"
        found = find_acquisitions(
            self.out,
            participants=[participant],
            sessions=None if session is None else [session],
            derivatives={"imported": folder} if folder.is_dir() else {},
        )
        assert not found.problems
        (series,) = found.acquisitions
        return series, read_coefficients(series)


STATED = ("--voxel-size", 2, 2, 3, "--orientation", "LAS")


@pytest.fixture
def bench(tmp_path, capsys) -> Workbench:
    return Workbench(tmp_path, capsys)


@pytest.fixture
def stated():
    """Geometry of arrays without header."""
    return STATED


ANGLES = np.array([0.0, 142, 426, 142, 426, 142, 426])
OFFSETS = np.array([0.0, 443, 443, 1088, 1088, 17235, 17235])


def saved_model(rows: np.ndarray, **changes: object) -> dict[str, object]:
    """What qMRLab saves of its model qmt_spgr, as far as it tells the sequence."""
    options = {
        "MT_Pulse_Shape": "gausshann", "MT_Pulse_SincTBW": 4.0, "MT_Pulse_Bandwidth": 200.0,
        "MT_Pulse_Fermitransitiona": 0.0102 / 33.81, "MT_Pulse_NofMTpulses": 600.0,
        "Model": "Ramani", "Lineshape": "SuperLorentzian", "Readpulsealpha": 7.0,
    }  # fmt: skip
    timing = {key: changes.pop(key) for key in list(changes) if key in ("Tmt", "Ts", "Tp", "Tr")}
    times = {"Tmt": 0.0102, "Ts": 0.003, "Tp": 0.0018, "Tr": 0.01, **timing}
    whole = changes.pop("TR", math.fsum(times.values()))
    heads = [f"{name} (s)" for name in (*times, "TR")]
    options = {key: value for key, value in {**options, **changes}.items() if value is not None}
    return {
        "ModelName": "qmt_spgr",
        "Prot": {
            "MTdata": {"Format": cells(["Angle", "Offset"]), "Mat": rows},
            "TimingTable": {
                "Format": cells(heads), "Mat": np.array([[*times.values(), whole]]).T,
            },
        },
        "options": options,
        "st": np.array([0.16, 30, 1, 1, 0.03, 1.3e-5]),
    }  # fmt: skip


def cells(texts: list[str]) -> np.ndarray:
    found = np.empty((1, len(texts)), dtype=object)
    found[0] = texts
    return found


@pytest.fixture
def model():
    return saved_model


@pytest.fixture
def qmrlab(bench):
    """A folder of qMRLab: saved model, images, maps; returns the images."""

    def make(*, off: bool = True, ending: str = "mat", folder: str = "q", **changes):
        first = 0 if off else 1
        rows = np.stack([ANGLES, OFFSETS], axis=1)[first:]
        data = bench.rng.uniform(0.2, 0.9, (*SHAPE, len(rows))) * (1000 if off else 1)
        maps = {
            "MTdata": data,
            "R1map": np.full(SHAPE, 0.9),
            "B1map": np.full(SHAPE, 1.05),
            "B0map": np.full(SHAPE, -12.0),
            "Mask": np.pad(np.ones((2, 3, 2)), ((1, 1), (0, 0), (0, 0))),
        }
        for name, values in maps.items():
            if ending == "mat":
                bench.mat(f"{folder}/{name}.mat", **{name: values})
            else:
                bench.nifti(f"{folder}/{name}.nii.gz", values.astype(np.float32))
        bench.mat(f"{folder}/qmt_spgr.qmrlab.mat", **saved_model(rows, **changes))
        return data

    return make
