"""Tables for the page, from maps as the estimators leave them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from bids_brnn.interfaces import WriteForPage
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.reports.stored import read_bounds, read_spectra
from bids_brnn.sequences.z_designs import demo_protocol
from bids_brnn.zoo.recipe import EstimatorRecipe

SHAPE = (4, 3, 2)


@pytest.fixture(params=[{}, {"R1s": "equal"}], ids=["usual", "equal rates"])
def written(request, tmp_path):
    """Maps of one estimator at the truth of noiseless data; what the node writes of them."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, bool)
    mask[1:, :2] = True
    sample = mask.copy()
    sample[1, 0, 1] = False

    def save(name, values):
        path = tmp_path / name
        nibabel.Nifti1Image(np.asarray(values), np.diag([-2.0, 2, 2, 1])).to_filename(path)
        return str(path)

    recipe = EstimatorRecipe(
        "nlls", "ramani", demo_protocol(), model_options=request.param, magnitude=True
    )
    model = recipe.build_model()
    maps = {
        item.name: item.start * rng.uniform(0.95, 1.05, SHAPE).astype(np.float32).astype(float)
        for item in model.parameters
    }
    # Of this there is no map: it is as usual.
    maps["R1s"][:] = next(item.start for item in model.parameters if item.name == "R1s")
    theta = np.stack([maps[item.name][mask] for item in model.parameters], 1)
    data = np.zeros((*SHAPE, model.n_samples), np.complex64)
    with torch.no_grad():
        data[mask] = 700 * model(torch.from_numpy(theta)).real.numpy()
    known = ("R1", "B1", "w0")
    found = {name: values for name, values in maps.items() if name not in (*known, "R1s")}
    found["snr"] = np.where(sample, 80.0, np.nan)
    rows = []
    for name, values in found.items():
        save(f"{name}_estimate.nii", np.where(mask, values, np.nan))
        rows.append({"name": name, "kind": "estimate", "file": f"{name}_estimate.nii"})
        rows[-1]["sample_file"] = "sample.nii"
    save("sample.nii", sample.astype(np.uint8))
    (tmp_path / "maps.json").write_text(json.dumps(rows))
    entities = {"subject": "01", "acquisition": "z"}
    series = SeriesRecord("s", "zspectrum", "ramani", entities, {}, [], {})
    out = tmp_path / "out"
    done = WriteForPage(
        series=str(series.to_file(tmp_path / "series.json")),
        output_dir=str(out),
        mask=save("mask.nii", mask.astype(np.uint8)),
        coefficients=save("data.nii", data),
        descs=["nlls"],
        recipes=[str(recipe.to_file(tmp_path / "recipe.json"))],
        maps=[str(tmp_path / "maps.json"), *(str(tmp_path / row["file"]) for row in rows)],
        supplied=[save(f"{name}.nii", maps[name]) for name in known],
    ).run(cwd=tmp_path)
    return sample, data, done.outputs.out_files, out / "sub-01" / "anat"


def test_tables_are_of_the_maps_and_of_the_voxels_that_were_estimated(written):
    sample, data, files, anat = written
    assert sorted(path.name for path in anat.iterdir()) == sorted(
        f"sub-01_acq-z_desc-{name}.{end}"
        for name in ("protocol_bounds", "fitted_zspectra")
        for end in ("json", "tsv")
    )
    assert {str(path) for path in anat.iterdir()} == set(files)
    bounds = read_bounds(anat / "sub-01_acq-z_desc-protocol_bounds.tsv")
    assert (bounds.snr, bounds.measured) == (80.0, True)
    assert set(bounds.known) == {"R1", "B1", "w0", "R1s (assumed)"}
    spectra = read_spectra(anat / "sub-01_acq-z_desc-fitted_zspectra.tsv")
    np.testing.assert_array_equal(spectra.voxels, np.argwhere(sample))
    # Six digits are stored.
    np.testing.assert_allclose(spectra.measured, data.real[sample], rtol=1e-5)
    np.testing.assert_allclose(spectra.fitted["nlls"], spectra.measured, rtol=1e-3)
