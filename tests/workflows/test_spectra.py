"""How Z-spectra are planned, and what their preparation gives."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions
from bids_brnn.config.run_config import RunConfig
from bids_brnn.errors import DataError, UsageError
from bids_brnn.workflows.choice import plan_estimation
from bids_brnn.workflows.participant import spectrum_of, supplied_fields, supplied_spreads
from bids_brnn.workflows.preparation import init_preparation_wf


@pytest.fixture
def planned(spectra, tmp_path):
    """Plan the estimation of a Z-spectrum under some options."""
    spectra.one_image()
    (series,) = find_acquisitions(spectra.root).acquisitions

    def plan(**options):
        places = {
            "bids_dir": spectra.root,
            "output_dir": tmp_path / "o",
            "work_dir": tmp_path / "w",
        }
        return plan_estimation(RunConfig(**places, **options), series, ("R1",))

    return plan


@pytest.mark.parametrize("options", [{}, {"weights": "none"}, {"reference": "nlls"}])
def test_the_usual_options_mean_least_squares_without_a_word(planned, options):
    plan = planned(**options)
    assert list(plan.recipes) == ["nlls"]
    assert plan.recipes["nlls"].supplied == ("R1",)
    assert plan.notes == ()
    assert plan.warning == ""


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"weights": "qmt-demo"}, DataError, "is for gbloch signals"),
        ({"reference": "none"}, UsageError, "leaves nothing to estimate"),
        ({"reference": "dict"}, UsageError, "--reference dict cannot serve"),
        ({"motion_correction": True}, DataError, "--motion-correction cannot serve"),
    ],
)
def test_what_cannot_serve_is_said(planned, options, kind, words):
    with pytest.raises(kind, match=words):
        planned(**options)


def test_models_are_those_of_the_registry(tmp_path):
    places = {name: tmp_path / name for name in ("bids_dir", "output_dir", "work_dir")}
    assert RunConfig(**places, zspectrum_model="yarnykh").zspectrum_model == "yarnykh"
    with pytest.raises(UsageError, match=r"use one of auto, .*ramani"):
        RunConfig(**places, zspectrum_model="fisp")


def prepared(series, folder):
    """Outputs of the preparation of a series."""
    workflow = init_preparation_wf(
        parts=series.parts,
        masks={} if series.mask is None else {"mask": series.mask},
        supplied=supplied_fields(series),
        spreads=supplied_spreads(series),
        spectrum=spectrum_of(series),
        label=series.name,
    )
    workflow.base_dir = str(folder)
    done = {node.name: node.result.outputs for node in workflow.run().nodes()}
    return {name: done[name] for name in ("stack", "prepare", "noise", "fields", "mask")}


@pytest.mark.parametrize("layout", ["wand", "one_image", "qmrust"])
def test_volumes_become_one_image_in_the_order_of_the_protocol(spectra, tmp_path, layout):
    getattr(spectra, layout)()
    options = {}
    if layout == "qmrust":
        constants = {"MTPulseShape": "HARD", "FlipAngle": 7, "Normalised": True}
        options["zspectrum"] = spectra.json("../said.json", constants)
        options["derivatives"] = {"preprocessed": spectra.root / "derivatives" / "preprocessed"}
    if layout == "wand":
        folder = spectra.root / "sub-01" / "ses-02" / "anat"
        std = "sub-01/ses-02/anat/sub-01_ses-02_desc-std_R1map"
        spectra.image(f"{std}.nii.gz", np.full(spectra.shape, 0.02, np.float32))
        assert (folder / "sub-01_ses-02_R1map.json").exists()  # whose Units hold for both
    (series,) = find_acquisitions(spectra.root, **options).acquisitions
    outputs = prepared(series, tmp_path / "work")
    image = nibabel.load(outputs["prepare"].coefficients)
    expected = spectra.signal(normalised=layout == "qmrust")
    expected = expected[..., 1:] if layout == "qmrust" else expected
    assert np.allclose(image.affine, spectra.affine)
    assert np.array_equal(np.asanyarray(image.dataobj), expected.astype(np.complex64))
    fields = outputs["fields"].supplied
    rate = np.asanyarray(nibabel.load(fields if isinstance(fields, str) else fields[0]).dataobj)
    assert np.allclose(rate, 0.9)
    if layout == "wand":
        spread = nibabel.load(outputs["fields"].spread)
        assert np.allclose(np.asanyarray(spread.dataobj), 0.02)
