"""Z-spectra from files to maps with one command, in the three layouts."""

from __future__ import annotations

import base64
import json
import zlib

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
    page = (out / "sub-01.html").read_text()
    volumes = json.loads(page.partition('id="volumes">')[2].partition("</script>")[0])
    (series,) = volumes["series"]
    measured, fitted = (
        unpacked(item).reshape(2, -1)
        for item in (series["spectra"]["measured"], series["spectra"]["fitted"]["nlls"])
    )
    # The page shows the fit itself: its residual is the map of residuals, to rounding (0.05 %).
    residual = np.linalg.norm(measured - fitted, axis=1) / np.linalg.norm(measured, axis=1)
    stored = nibabel.load(next(out.rglob("*_param-relres_desc-nlls_QMTmap.nii.gz"))).get_fdata()
    expected = [stored[tuple(voxel)] for voxel in series["spectra"]["voxels"]]
    np.testing.assert_allclose(residual, expected, atol=1e-3)


def unpacked(text):
    """Numbers of a page: the three upper bytes of single precision, in planes."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(3, -1)
    high, middle, low = planes.astype(np.uint32)
    return (high << 24 | middle << 16 | low << 8).view(np.float32).astype(float)
