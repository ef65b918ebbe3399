"""A T1w image of another session is registered, or refused: its header is not believed."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.interfaces.preparation.align import AlignSeries

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture
def node(tmp_path):
    """An image and noise, or the same image twice."""

    def made(*, same, **inputs):
        rng = np.random.default_rng(5)
        blobs = np.kron(rng.random((6, 6, 6)), np.ones((4, 4, 4)))
        other = blobs if same else rng.random(blobs.shape)
        for name, values in (("series", blobs), ("t1w", other)):
            image = nibabel.Nifti1Image(values.astype(np.float32), AFFINE)
            image.to_filename(tmp_path / f"{name}.nii")
        files = {"reference": tmp_path / "series.nii", "t1w": tmp_path / "t1w.nii"}
        return AlignSeries(
            **{name: str(path) for name, path in files.items()}, label="series", **inputs
        )

    return made


@pytest.mark.parametrize("registration", ["rigid", "header"])
def test_of_another_session_the_header_is_not_believed(node, tmp_path, registration):
    failing = node(same=False, registration=registration, session="01")
    with pytest.raises(DataError, match=r"another session \(ses-01\).*--ignore t1w"):
        failing.run(cwd=str(tmp_path))


@pytest.mark.parametrize("registration", ["rigid", "header"])
def test_of_the_same_session_it_is(node, tmp_path, registration):
    done = node(same=False, registration=registration).run(cwd=str(tmp_path))
    assert done.outputs.to_series.endswith("to_series.txt")


def test_of_another_session_what_fits_is_used(node, tmp_path):
    done = node(same=True, session="01").run(cwd=str(tmp_path))
    assert nibabel.load(done.outputs.t1w_moved).shape == (24, 24, 24)
