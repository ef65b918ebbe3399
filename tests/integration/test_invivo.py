"""The real slice that may lie beside a checkout: a region of it, by the command itself."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

N_VOXELS = 300

PARAMETERS = ("m0s", "R1f", "R2f", "Rx", "R1s", "T2s")

WHITE_MATTER = {
    "m0s": (0.185, 0.03), "R1f": (0.51, 0.05), "R2f": (13.9, 1.0),
    "Rx": (15.0, 2.0), "R1s": (3.1, 0.6), "T2s": (15e-6, 2e-6),
}  # fmt: skip
"""Medians published for this slice (arXiv 2312.11468, figure 4), and how far those of a sample of
voxels, told from grey matter by a threshold of m0s only, may lie from them."""


@pytest.fixture(scope="module")
def fitted(shared, app, tmp_path_factory):
    dataset = shared / "data" / "qmt_invivo"
    if not dataset.is_dir():
        pytest.skip("no real slice at shared/data/qmt_invivo beside the checkout")
    base = tmp_path_factory.mktemp("invivo")
    recon = dataset / "derivatives" / "recon"
    (brain,) = recon.rglob("*_desc-brain_mask.nii.gz")
    image = nibabel.load(brain)
    voxels = np.argwhere(np.asanyarray(image.dataobj) > 0)
    chosen = np.random.default_rng(7).choice(len(voxels), N_VOXELS, replace=False)
    mask = np.zeros(image.shape, np.uint8)
    mask[tuple(voxels[chosen].T)] = 1
    nibabel.Nifti1Image(mask, image.affine).to_filename(base / "region.nii.gz")
    arguments = [dataset, base / "out", "participant", "-w", base / "work", "--nprocs", 2]
    arguments += ["--mask", base / "region.nii.gz", "--weights", "none", "-d", f"recon={recon}"]
    assert app(*arguments) == 0
    return base / "out", mask > 0


def values(out, parameter, mask):
    name = f"sub-01_acq-hsfp_model-genbloch_param-{parameter}_QMTmap.nii.gz"
    path = out / "sub-01" / "anat" / name.replace("_QMTmap", "_desc-nlls_QMTmap")
    return np.asanyarray(nibabel.load(path).dataobj)[mask]


@pytest.mark.slow
def test_the_files_are_exactly_those_promised(fitted, files_of):
    out, _ = fitted
    head = "sub-01/anat/sub-01_acq-hsfp_"
    images = {f"{head}desc-brain_mask", f"{head}desc-mean_QMTref", f"{head}desc-nlls_M0map"}
    images |= {
        f"{head}model-genbloch_param-{q}_desc-nlls_QMTmap" for q in ("relres", "snr", "flags")
    }
    for name in PARAMETERS:
        for desc in ("nlls", "nllsStd"):
            images.add(f"{head}model-genbloch_param-{name}_desc-{desc}_QMTmap")
    # No labels are given: classes are made from the maps.
    images.add(f"{head}seg-maptissue_dseg")
    tables = {
        f"{head}seg-{label}_desc-nlls_scalarstats{end}"
        for label in ("brain", "maptissue")
        for end in (".tsv", ".json")
    }
    tables.add(f"{head}seg-maptissue_dseg.tsv")
    tables |= {f"{head}desc-protocol_bounds{end}" for end in (".tsv", ".json")}
    expected = {f"{name}{end}" for name in images for end in (".nii.gz", ".json")} | tables
    assert {name for name in files_of(out) if name.startswith("sub-01/anat")} == expected


@pytest.mark.slow
def test_the_derivative_is_valid(fitted, validate):
    assert validate(fitted[0]) == []


@pytest.mark.slow
def test_the_fit_is_as_good_as_the_published_one(fitted):
    out, mask = fitted
    # 2.4 % over the whole brain; a sample of 300 voxels of this spread gives it to about 0.3 %.
    assert np.median(values(out, "relres", mask)) == pytest.approx(0.024, abs=0.004)


@pytest.mark.slow
def test_white_matter_is_where_it_was_published(fitted):
    out, mask = fitted
    white = values(out, "m0s", mask) > 0.15
    assert white.sum() > 60
    for name, (median, slack) in WHITE_MATTER.items():
        found = np.median(values(out, name, mask)[white])
        assert abs(found - median) < slack, (name, found)


@pytest.mark.slow
def test_standard_deviations_are_plausible(fitted):
    out, mask = fitted
    for name in PARAMETERS:
        folder = out / "sub-01" / "anat"
        path = folder / f"sub-01_acq-hsfp_model-genbloch_param-{name}_desc-nllsStd_QMTmap.nii.gz"
        std = np.asanyarray(nibabel.load(path).dataobj)[mask]
        relative = np.median(std) / np.median(values(out, name, mask))
        # Between 0.1 % and the width of the bounds: nothing is known exactly, or not at all.
        assert 1e-3 < relative < 1, (name, relative)
