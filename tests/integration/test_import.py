"""An imported series gives the maps of the BIDS series that it was made from."""

from __future__ import annotations

import shlex
from pathlib import Path

import nibabel
import numpy as np
import scipy.io

from bids_brnn.bids.tables import read_columns
from bids_brnn.cli.toolbox.main import main


def test_maps_of_an_imported_series_are_those_of_the_original(spectra, app, tmp_path, capsys):
    """The same data set twice, once by way of qMRLab, in one run of the application."""
    head = spectra.one_image()
    images = nibabel.load(spectra.root / f"{head}_QMT.nii.gz")
    table = read_columns(spectra.root / "acq-z_zspectrum.tsv")
    rows = np.array([[float(c) for c in table[k]] for k in ("mt_flip_angle", "offset")]).T
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    protocol = {
        "Angles": rows[:, :1], "Offsets": rows[:, 1:], "Tm": 0.0102, "Ts": 0.003, "Tp": 0.0018,
        "Tr": 0.01, "TR": 0.025, "Alpha": 5.0,
        "MTpulse": {"shape": "gausshann", "opt": {"bw": 200}},
    }  # fmt: skip
    scipy.io.savemat(foreign / "protocol.mat", protocol)
    scipy.io.savemat(foreign / "MTdata.mat", {"MTdata": images.get_fdata()})
    scipy.io.savemat(foreign / "R1map.mat", {"R1map": np.full(spectra.shape, 0.9)})
    like = str(spectra.root / f"{head}_QMT.nii.gz")
    words = ["import", "qmrlab", str(foreign), str(spectra.root), "--subject", "02"]
    assert main([*words, "--like", like, "--skip-bids-validation"]) == 0
    (next_line,) = capsys.readouterr().out.partition("next:\n")[2].splitlines()
    mask = np.zeros(spectra.shape, np.uint8)
    mask[2, 2:4, 1] = 1
    options = [
        "--mask",
        spectra.image("../mask.nii.gz", mask),
        "-w",
        tmp_path / "work",
        "--nprocs",
        1,
    ]
    options += ["--zspectrum-model", "ramani", "--weights", "none", "--level", "minimal"]
    program, *printed = shlex.split(next_line)
    assert program == "bids_brnn"
    printed.insert(printed.index("02"), "01")  # the original as well
    assert app(*printed, *options, "--skip-bids-validation") == 0
    out = Path(printed[1])
    for parameter in ("m0s", "R2f", "Rx", "T2s"):
        names = (
            f"sub-{label}_model-ramani_param-{parameter}_desc-nlls_QMTmap.nii.gz"
            for label in ("01_acq-z", "02_acq-qmrlab")
        )
        first, second = (
            nibabel.load(next(out.rglob(name))).get_fdata()[mask > 0] for name in names
        )
        # Images and protocol are equal; 1/T1 of the original and R1 differ by single precision.
        np.testing.assert_allclose(second, first, rtol=1e-5)
        assert (first > 0).all()
