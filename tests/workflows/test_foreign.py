"""Interfaces and workflows of this package inside somebody else's workflow."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_brnn.bids import find_acquisitions
from bids_brnn.interfaces import EstimateMaps, PrepareCoefficients
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.signals import build_model
from bids_brnn.workflows import init_series_wf
from bids_brnn.workflows.execution import execution_settings
from bids_brnn.zoo.recipe import EstimatorRecipe

T1, T2 = 0.9, 0.07


def median_of(maps_file, name):
    import json
    from pathlib import Path

    import nibabel
    import numpy as np

    rows = json.loads(Path(maps_file).read_text())
    (row,) = (r for r in rows if r["name"] == name and r["kind"] == "estimate")
    return float(np.nanmedian(nibabel.load(Path(maps_file).parent / row["file"]).get_fdata()))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """One tissue with another phase and brightness in every voxel, on 8 of 12 voxels."""
    folder = tmp_path_factory.mktemp("series")
    train = jiang_like_train(60)
    theta = torch.tensor([1 / T1, 1 / T2, 1.0], dtype=torch.float64)
    signal = build_model("fisp", train)(theta).numpy()
    rng = np.random.default_rng(2)
    scale = np.zeros((3, 4, 1), complex)
    scale[:2] = 100 * rng.uniform(1, 2, (2, 4, 1)) * np.exp(2j * np.pi * rng.random((2, 4, 1)))
    data = (scale[..., None] * signal).astype(np.complex64)
    for part in ("real", "imag"):
        values = np.ascontiguousarray(getattr(data, part))
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(folder / f"{part}.nii.gz")
    return folder, train


def test_estimation_inside_a_workflow_of_others(series, tmp_path):
    folder, train = series
    recipe = EstimatorRecipe(estimator="dict", model="fisp", sequence=train)
    path = recipe.to_file(tmp_path / "dictionary.json")
    prepare = Node(
        PrepareCoefficients(real=str(folder / "real.nii.gz"), imag=str(folder / "imag.nii.gz")),
        name="prepare",
    )
    estimate = Node(EstimateMaps(recipe=str(path), suffix="MRFmap"), name="estimate")
    theirs = Node(Function(["maps_file", "name"], ["median"], function=median_of), name="theirs")
    theirs.inputs.name = "T2"
    workflow = Workflow(name="foreign", base_dir=str(tmp_path / "work"))
    workflow.config = execution_settings(stop_on_first_crash=True)
    workflow.connect(prepare, "coefficients", estimate, "coefficients")
    workflow.connect(prepare, "mask", estimate, "mask")
    workflow.connect(estimate, "maps_file", theirs, "maps_file")
    nodes = {node.name: node for node in workflow.run().nodes()}
    # One Gauss-Newton step between atoms that are 4 % apart, without noise.
    assert nodes["theirs"].result.outputs.median == pytest.approx(T2, rel=0.01)
    rows = json.loads(Path(nodes["estimate"].result.outputs.maps_file).read_text())
    assert {(row["name"], row["kind"]) for row in rows} == {
        (name, kind) for name in ("R1", "R2", "T1", "T2") for kind in ("estimate", "std")
    } | {(name, "estimate") for name in ("M0", "match", "snr")} | {("flags", "flag")}
    (t1,) = (r for r in rows if r["name"] == "T1" and r["kind"] == "estimate")
    image = nibabel.load(Path(nodes["estimate"].result.outputs.maps_file).parent / t1["file"])
    values = image.get_fdata()
    assert np.isnan(values[2]).all()
    np.testing.assert_allclose(values[:2], T1, rtol=0.01)


def halved(coefficients, steps):
    """A step of somebody else: takes and gives what ours do."""
    from pathlib import Path

    import nibabel
    import numpy as np

    image = nibabel.load(coefficients)
    path = Path("halved.nii").absolute()
    nibabel.Nifti1Image(np.asanyarray(image.dataobj) / 2, image.affine).to_filename(path)
    return str(path), [*(steps or []), "halved"]


def test_optional_steps_and_those_of_others_in_one_chain(series, tmp_path):
    from bids_brnn.workflows import init_preparation_wf
    from bids_brnn.workflows.steps import step_nodes

    folder, train = series
    recipe = EstimatorRecipe(estimator="dict", model="fisp", sequence=train)
    path = recipe.to_file(tmp_path / "dictionary.json")
    theirs = Node(
        Function(["coefficients", "steps"], ["coefficients", "steps"], function=halved),
        name="halve",
    )
    ours = step_nodes(denoise="mppca", motion_recipe=path, motion_window=30)
    preparation = init_preparation_wf(
        parts={part: folder / f"{part}.nii.gz" for part in ("real", "imag")},
        masks={},
        supplied={},
        frames=True,
        steps=[*ours, theirs],
    )
    preparation.base_dir = str(tmp_path / "work")
    preparation.config = execution_settings(stop_on_first_crash=True)
    done = {node.name: node.result.outputs for node in preparation.run().nodes() if node.result}
    assert [step.split()[0] for step in done["halve"].steps] == ["denoised", "motion", "halved"]
    whole = np.asanyarray(nibabel.load(done["motion"].coefficients).dataobj)
    half = np.asanyarray(nibabel.load(done["halve"].coefficients).dataobj)
    np.testing.assert_allclose(half, whole / 2, rtol=1e-6)
    assert len(Path(done["motion"].motion).read_text().splitlines()) == 1 + 60


def test_a_whole_series_inside_a_workflow_of_others(dataset, make_config, tmp_path):
    """With a mask and labels as fMRIPrep names and places them."""
    fmriprep = dataset / "derivatives" / "fmriprep"
    found = find_acquisitions(dataset, kinds=["mrf"], derivatives={"fmriprep": fmriprep})
    (acquisition,) = found.acquisitions
    config = make_config()
    inner = init_series_wf(config, acquisition, base_dir=tmp_path / "work")
    theirs = Node(Function(["maps_file", "name"], ["median"], function=median_of), name="theirs")
    theirs.inputs.name = "T1"
    workflow = Workflow(name="foreign", base_dir=str(tmp_path / "work"))
    workflow.config = execution_settings(stop_on_first_crash=True)
    workflow.connect(inner, "estimation_dict_wf.outputnode.maps_file", theirs, "maps_file")
    nodes = {node.name: node for node in workflow.run().nodes()}
    assert np.isfinite(nodes["theirs"].result.outputs.median)
    anat = config.output_dir / "sub-01" / "anat"
    sidecar = json.loads((anat / "sub-01_acq-mrf_desc-brain_mask.json").read_text())
    assert sidecar["MaskSource"] == ("bids:fmriprep:sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    # The T1w image of a thin slab is not registered, and that is written down.
    xfm = json.loads((anat / "sub-01_acq-mrf_from-MRF_to-T1w_mode-image_xfm.json").read_text())
    assert "too thin" in xfm["Registration"]["Description"]
    assert xfm["Sources"][-1] == "bids:fmriprep:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert sidecar["Registration"]["Method"] == "header"
    table = (anat / "sub-01_acq-mrf_seg-aseg_desc-dict_scalarstats.tsv").read_text()
    assert "\tone\tT1\t" in table
    assert "\ttwo\tT1\t" in table
