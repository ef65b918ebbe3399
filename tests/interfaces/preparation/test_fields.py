"""Field maps reach the models in their units, or not at all."""

from __future__ import annotations

import math

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.interfaces.preparation.fields import PrepareFields


@pytest.fixture
def prepare(tmp_path, write_nifti):
    """Run the node on maps by name, with their sidecars; volumes and decisions."""

    def run(**maps):
        mask = write_nifti("mask.nii", np.ones((4, 6, 2), bool))
        files = [
            str(write_nifti(f"{name}.nii.gz", values.astype(np.float32)))
            for name, (values, _) in maps.items()
        ]
        (tmp_path / "node").mkdir()
        sidecars = [sidecar for _, sidecar in maps.values()]
        node = PrepareFields(fields=files, names=list(maps), sidecars=sidecars, mask=str(mask))
        outputs = node.run(cwd=str(tmp_path / "node")).outputs
        supplied = outputs.supplied if len(maps) > 1 else [outputs.supplied]
        images = [np.asanyarray(nibabel.load(path).dataobj) for path in supplied]
        return images, outputs.decisions

    return run


def test_maps_come_to_the_grid_scaled(prepare):
    ramp = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 6, 2))
    (first, second), decisions = prepare(
        B1=(np.full((4, 6, 2), 90.0), {"Units": "percent"}), w0=(ramp, {"Units": "Hz"})
    )
    np.testing.assert_allclose(first, 0.9, rtol=1e-6)
    np.testing.assert_allclose(second, 2 * math.pi * ramp, rtol=1e-6)
    assert decisions == ["B1.nii.gz, percent", "w0.nii.gz, Hz"]


def test_degrees_are_divided_by_the_nominal_angle(prepare):
    (b1,), decisions = prepare(
        B1=(np.full((4, 6, 2), 54.0), {"Units": "degree", "NominalFlipAngle": 60})
    )
    np.testing.assert_allclose(b1, 0.9, rtol=1e-6)
    assert decisions == ["B1.nii.gz, degree over NominalFlipAngle 60"]


def test_what_was_not_measured_is_counted(prepare, caplog):
    values = np.full((4, 6, 2), 90.0)
    values[0, :2] = 0
    (b1,), (decision,) = prepare(B1=(values, {"Units": "percent"}))
    np.testing.assert_allclose(b1, 0.9, rtol=1e-3)
    assert decision.endswith("percent; 4 voxels (8.3 %) continued from the nearest values")


def test_no_unit_is_guessed(prepare):
    with pytest.raises(DataError, match=r"B1\.nii\.gz: Units is missing, and units are never"):
        prepare(B1=(np.full((4, 6, 2), 90.0), {}))


def test_a_unit_that_the_values_contradict_is_refused(prepare):
    with pytest.raises(DataError, match='Units is "percent", but the median inside the mask'):
        prepare(B1=(np.full((4, 6, 2), 0.9), {"Units": "percent"}))
