"""Z-spectra from files to maps with one command, in the three layouts."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest


@pytest.fixture
def estimated(spectra, app, tmp_path):
    """Run the command on two voxels of a data set; maps by parameter, and the folder."""

    def run(*options):
        mask = np.zeros(spectra.shape, np.uint8)
        mask[2, 2:4, 1] = 1
        image = spectra.image("../mask.nii.gz", mask)
        out = tmp_path / "out"
        arguments = [spectra.root, out, "participant", "-w", tmp_path / "work", "--mask", image]
        arguments += ["--nprocs", 1, "--skip-bids-validation", "--zspectrum-model", "ramani"]
        assert app(*arguments, *options) == 0
        maps = {
            path.name.split("_param-")[1].split("_")[0]: nibabel.load(path).get_fdata()[mask > 0]
            for path in out.rglob("*_param-*_desc-nlls_QMTmap.nii.gz")
        }
        return maps, spectra.m0s[mask > 0], out

    return run


@pytest.mark.parametrize("layout", ["wand", "qmrust", "one_image"])
def test_each_layout_gives_the_truth(spectra, estimated, layout):
    head = getattr(spectra, layout)()
    options = ["--level", "minimal"]
    if layout == "qmrust":
        said = {"MTPulseShape": "GAUSSHANN", "MTPulseBandwidth": 200, "FlipAngle": 5}
        options += ["--zspectrum", spectra.json("../said.json", {**said, "Normalised": True})]
        # The formula has no B0, and a map that is there is used.
        options += ["-d", f"preprocessed={spectra.root}/derivatives/preprocessed"]
        options += ["--ignore", "b0map"]
    maps, truth, out = estimated(*options)
    # Data of the model itself, stored with 24 bits: what is left is the tolerance of the solver.
    assert np.allclose(maps["m0s"], truth, atol=1e-3)
    assert np.allclose(maps["Rx"], 15, rtol=1e-2)
    stem = head.rsplit("/", 1)[1]
    name = f"{stem}_model-ramani_param-m0s_desc-nlls_QMTmap.json"
    sidecar = json.loads(next(out.rglob(name)).read_text())
    assert any("_R1map" in text or "_T1map" in text for text in sidecar["FieldMaps"])
    assert any(uri.endswith("QMT.nii.gz") or "QMTSPGR" in uri for uri in sidecar["Sources"])
    assert next(out.rglob(f"{stem}_desc-resampled_R1map.nii.gz")).parent.name == "anat"


def test_tissues_are_told_by_the_map_of_R1(spectra, estimated):
    spectra.one_image()
    _, _, out = estimated("--sloppy")
    assert next(out.rglob("*_seg-maptissue_desc-nlls_scalarstats.tsv"))
    assert (out / "sub-01.html").is_file()
