import nibabel as nib
import numpy as np
import pytest

from bids_brnn.imaging.grids import load, save

RNG = np.random.default_rng(3)
AFFINE = np.array([[2.0, 0, 0, -9], [0, 2.5, 0, 4], [0, 0, 3, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f4", "f8", "c8", "u1", "i4", "i2"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
def test_an_intermediate_image_has_the_bytes_that_nibabel_writes(tmp_path, shape, kind, order):
    values = np.asarray(100 * RNG.random(shape), dtype=kind, order=order)
    header = nib.Nifti1Header()
    header["qform_code"], header["sform_code"] = 1, 2
    path = save(tmp_path / "ours.nii", values, AFFINE, header)
    image = nib.Nifti1Image(values, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 2)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "theirs.nii")
    assert path.read_bytes() == (tmp_path / "theirs.nii").read_bytes()
    assert np.array_equal(np.asarray(load(path).dataobj), values)


def test_not_a_number_stays_what_it_is(tmp_path):
    values = np.full((3, 2, 2), np.nan, np.float32, order="F")
    assert np.isnan(np.asarray(load(save(tmp_path / "a.nii", values, AFFINE)).dataobj)).all()
