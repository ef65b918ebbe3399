"""Parts become one complex file, unchanged; masks come from the best source there is."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from bids_brnn.errors import DataError
from bids_brnn.interfaces.preparation.coefficients import PrepareCoefficients, read_parts


def prepare(tmp_path, **inputs):
    folder = tmp_path / "node"
    folder.mkdir(exist_ok=True)
    node = PrepareCoefficients(**{name: str(path) for name, path in inputs.items()})
    return node.run(cwd=str(folder)).outputs


def loaded(path):
    return np.asanyarray(nibabel.load(path).dataobj)


def test_every_combination_of_parts_gives_the_same_values(tmp_path, write_nifti, series, affine):
    parts = {
        "real": write_nifti("real.nii.gz", series.real),
        "imag": write_nifti("imag.nii.gz", series.imag),
        "mag": write_nifti("mag.nii", np.abs(series)),
        "phase": write_nifti("phase.nii", np.angle(series)),
        "complex": write_nifti("complex.nii.gz", series),
    }
    for names in (("real", "imag"), ("complex",)):
        outputs = prepare(tmp_path, **{name: parts[name] for name in names})
        np.testing.assert_array_equal(loaded(outputs.coefficients), series)
    outputs = prepare(tmp_path, mag=parts["mag"], phase=parts["phase"])
    # exp(i angle) in single precision
    np.testing.assert_allclose(loaded(outputs.coefficients), series, atol=1e-6)
    assert loaded(outputs.coefficients).dtype == np.complex64
    np.testing.assert_array_equal(nibabel.load(outputs.coefficients).affine, affine)


def test_the_reference_is_the_mean_magnitude(tmp_path, write_nifti, series):
    outputs = prepare(tmp_path, complex=write_nifti("complex.nii", series))
    np.testing.assert_allclose(loaded(outputs.reference), np.abs(series).mean(3), rtol=1e-6)


def test_the_mask_of_the_user_wins(tmp_path, write_nifti, series):
    mine = np.zeros((4, 6, 2), bool)
    mine[1, 2, 0] = True
    files = {
        "complex": write_nifti("c.nii", series),
        "user_mask": write_nifti("mine.nii", mine),
        "mask": write_nifti("other.nii", ~mine),
    }
    outputs = prepare(tmp_path, **files)
    np.testing.assert_array_equal(loaded(outputs.mask) > 0, mine)
    assert outputs.mask_source == "the mask mine.nii given"


def test_a_found_mask_is_brought_to_the_grid(tmp_path, write_nifti, series, affine):
    fine = np.zeros((8, 12, 4), bool)
    fine[2:6, 2:10, :] = True  # the bright part, at half the voxel size
    halved = affine @ np.diag([0.5, 0.5, 0.5, 1])
    halved[:3, 3] = affine[:3, :3] @ np.array([-0.25, -0.25, -0.25]) + affine[:3, 3]
    outputs = prepare(
        tmp_path,
        complex=write_nifti("c.nii", series),
        mask=write_nifti("desc-brain_mask.nii", fine, halved),
    )
    expected = np.zeros((4, 6, 2), bool)
    expected[1:3, 1:5] = True
    np.testing.assert_array_equal(loaded(outputs.mask) > 0, expected)


@pytest.mark.parametrize("key", ["user_mask", "mask"])
@pytest.mark.parametrize("kind", [">f4", "<f8", ">f8"])
def test_of_a_soft_mask_half_counts_whoever_gave_it(tmp_path, write_nifti, series, key, kind):
    values = np.full((4, 6, 2), 0.3, kind)
    values[1:3, 1:5] = 0.7
    files = {"complex": write_nifti("c.nii", series), key: write_nifti("m.nii", values)}
    expected = np.zeros((4, 6, 2), bool)
    expected[1:3, 1:5] = True
    np.testing.assert_array_equal(loaded(prepare(tmp_path, **files).mask) > 0, expected)


def test_a_big_endian_soft_mask_on_another_grid(tmp_path, series, write_nifti, affine):
    values = np.full((8, 12, 4, 1), 0.3, ">f4")
    values[2:6, 2:10] = 0.7
    halved = affine @ np.diag([0.5, 0.5, 0.5, 1])
    halved[:3, 3] = affine[:3, :3] @ np.array([-0.25, -0.25, -0.25]) + affine[:3, 3]
    header = nibabel.Nifti1Header(endianness=">")
    path = tmp_path / "m.nii"
    nibabel.Nifti1Image(values, halved, header).to_filename(path)
    assert nibabel.load(path).header.endianness == ">"
    found = prepare(tmp_path, complex=write_nifti("c.nii", series), mask=path)
    expected = np.zeros((4, 6, 2), bool)
    expected[1:3, 1:5] = True
    np.testing.assert_array_equal(loaded(found.mask) > 0, expected)


def test_labels_are_no_mask(tmp_path, write_nifti, series):
    labels = np.arange(48).reshape(4, 6, 2).astype(np.int16)
    with pytest.raises(DataError, match=r"m\.nii is no mask, it holds 0, 1, 2, 3, 4"):
        prepare(tmp_path, complex=write_nifti("c.nii", series), mask=write_nifti("m.nii", labels))


def test_without_a_mask_bright_voxels_are_taken_and_said_so(tmp_path, write_nifti, series, caplog):
    outputs = prepare(tmp_path, complex=write_nifti("c.nii", series))
    expected = np.zeros((4, 6, 2), bool)
    expected[1:3, 1:5] = True
    np.testing.assert_array_equal(loaded(outputs.mask) > 0, expected)
    assert "no brain mask was found" in caplog.text
    assert outputs.mask_source == "an intensity threshold"


def test_a_mask_of_the_user_on_another_grid_is_refused(tmp_path, write_nifti, series):
    with pytest.raises(DataError, match="does not lie on the grid"):
        prepare(
            tmp_path,
            complex=write_nifti("c.nii", series),
            user_mask=write_nifti("m.nii", np.ones((4, 6, 3), bool)),
        )


def test_a_mask_elsewhere_is_refused(tmp_path, write_nifti, series, affine):
    away = affine.copy()
    away[:3, 3] += 500
    with pytest.raises(DataError, match="does not overlap"):
        prepare(
            tmp_path,
            complex=write_nifti("c.nii", series),
            mask=write_nifti("m.nii", np.ones((4, 6, 2), bool), away),
        )


def test_the_node_leaves_its_sentence_for_the_program(tmp_path, write_nifti, series):
    from bids_brnn.interfaces.base import user_errors

    with pytest.raises(DataError):
        prepare(tmp_path, real=write_nifti("r.nii", series.real))
    errors = user_errors(tmp_path)
    assert [error.exit_code for error in errors] == [65]
    assert "real and imag" in str(errors[0])


def test_an_empty_series_is_refused(tmp_path, write_nifti):
    empty = np.zeros((4, 6, 2, 3), np.complex64)
    with pytest.raises(DataError, match="brighter than the background"):
        prepare(tmp_path, complex=write_nifti("c.nii", empty))


@pytest.mark.parametrize("names", [("real",), ("imag", "mag"), ("real", "imag", "mag"), ()])
def test_parts_that_make_no_series_are_refused(write_nifti, series, names):
    parts = {name: write_nifti(f"{name}.nii", series.real) for name in names}
    with pytest.raises(DataError, match="A series needs"):
        read_parts(parts)


def test_parts_of_different_shape_are_refused_by_name(write_nifti, series):
    parts = {
        "real": write_nifti("real.nii", series.real),
        "imag": write_nifti("imag.nii", series.imag[..., :2]),
    }
    with pytest.raises(
        DataError, match=r"real\.nii is \(4, 6, 2, 3\), imag\.nii is \(4, 6, 2, 2\)"
    ):
        read_parts(parts)
