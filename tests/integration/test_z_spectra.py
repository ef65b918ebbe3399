"""Z-spectra from files to maps with one command, in the three layouts."""

from __future__ import annotations

import base64
import json
import zlib

import nibabel
import numpy as np
import pytest

from bids_brnn.cli.toolbox.main import main


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
        arguments += ["--weights", "none"]  # least squares alone
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
    assert next(out.rglob("*_desc-fitted_zspectra.tsv"))
    page = (out / "sub-01.html").read_text()
    assert "Cramér-Rao bounds of the protocol, usual tissue at 3 T" in page
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


SMALL = """
model = "ramani"
zspectrum = "{table}"
fingerprints = 4000
held_out = 100
network = {{ width = 48, blocks = 2 }}
surrogate = {{ width = 32, blocks = 1, steps = 300 }}
errors = {{ width = 16, blocks = 1, steps = 100 }}
[training]
report_every = 1000
[[training.stages]]
loss = {{ name = "efficient", weight = 0.0, mirrored = false }}
steps = 250
batch = 512
warmup = 20
learning_rate = 5e-3
"""


def test_a_network_that_is_trained_for_the_protocol_serves(spectra, app, tmp_path):
    head = spectra.one_image()
    table = next(spectra.root.glob("*_zspectrum.tsv"))
    config = tmp_path / "small.toml"
    config.write_text(SMALL.format(table=table))
    assert main(["train", str(config), str(tmp_path / "small"), "--threads", "1"]) == 0
    mask = np.zeros(spectra.shape, np.uint8)
    mask[2, 2:4, 1] = 1
    image = spectra.image("../mask.nii.gz", mask)
    out = tmp_path / "out"
    words = [spectra.root, out, "participant", "-w", tmp_path / "w", "--mask", image]
    words += [
        "--nprocs",
        1,
        "--skip-bids-validation",
        "--zspectrum-model",
        "ramani",
        "--level",
        "full",
    ]
    assert app(*words, "--weights", tmp_path / "small" / "small.json") == 0
    stem = head.rsplit("/", 1)[1]
    for name in ("m0s", "F", "kf", "R1f"):
        for kind in ("brnn", "brnnStd", "nlls"):
            file = next(out.rglob(f"{stem}_model-ramani_param-{name}_desc-{kind}_QMTmap.nii.gz"))
            assert np.isfinite(nibabel.load(file).get_fdata()[mask > 0]).all()
    found = nibabel.load(
        next(out.rglob(f"{stem}_model-ramani_param-m0s_desc-brnn_QMTmap.nii.gz"))
    ).get_fdata()[mask > 0]
    # Four seconds of training; that of the documentation is within a tenth of the noise.
    assert np.abs(found - spectra.m0s[mask > 0]).max() < 0.05
    sidecar = json.loads(
        next(out.rglob(f"{stem}_model-ramani_param-m0s_desc-brnn_QMTmap.json")).read_text()
    )
    assert "small" in json.dumps(sidecar)
    # Of another model of the same protocol it is not asked.
    assert app(*words[:10], "--zspectrum-model", "yarnykh", "--weights",
               tmp_path / "small" / "small.json") != 0  # fmt: skip
