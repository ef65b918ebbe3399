"""Fields of a header that are no numbers, and whether it tells where its image lies."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids.headers import has_position, position_codes
from bids_brnn.bids.images import read_array, read_grid
from bids_brnn.errors import DataError

PIXDIM, OFFSET, SLOPE, INTER = 76, 108, 112, 116  # bytes of a NIfTI-1 header


def patched(path, offset, value, order="<"):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rb") as stream:
        content = bytearray(stream.read())
    struct.pack_into(f"{order}f", content, offset, value)
    with opened(path, "wb") as stream:
        stream.write(content)
    return path


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("offset", "field"), [(SLOPE, "scl_slope"), (INTER, "scl_inter")])
def test_a_scaling_that_is_no_number_is_refused(image, name, value, offset, field):
    path = patched(image(np.ones((3, 4, 2), np.float32), name), offset, value)
    with pytest.raises(DataError, match=f"{name}: {field} is {value:g} in the header") as caught:
        read_grid(path)
    assert caught.value.exit_code == 65


def test_a_header_that_is_mute_about_its_own_length_is_checked_too(image):
    path = patched(image(np.ones((3, 4, 2), np.float32), "x.nii"), 0, 0.0)  # sizeof_hdr
    assert read_grid(path).shape == (3, 4, 2)
    with pytest.raises(DataError, match="scl_slope is nan"):
        read_grid(patched(path, SLOPE, np.nan))


def test_a_slope_of_zero_means_no_scaling(image):
    path = patched(image(np.full((3, 4, 2), 7, np.int16), "x.nii"), SLOPE, 0.0)
    assert (read_array(read_grid(path)) == 7).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -2.0])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_voxel_sizes_are_above_zero(image, value, axis):
    path = patched(image(np.ones((3, 4, 2), np.float32), "x.nii"), PIXDIM + 4 * axis, value)
    with pytest.raises(DataError, match=rf"pixdim\[{axis}\] is {value:g} in the header"):
        read_grid(path)


@pytest.mark.parametrize(("value", "fine"), [(np.nan, False), (np.inf, False), (0.0, True)])
def test_a_repetition_time_is_a_number_and_may_be_absent(image, value, fine):
    path = patched(image(np.ones((3, 4, 2, 5), np.float32), "x.nii"), PIXDIM + 16, value)
    if fine:
        assert read_grid(path).shape == (3, 4, 2, 5)
        return
    with pytest.raises(DataError, match=r"pixdim\[4\] is .* a repetition time"):
        read_grid(path)


def test_headers_of_the_other_byte_order_and_of_nifti_2_are_checked_too(tmp_path):
    big = nib.Nifti1Image(np.ones((3, 4, 2), ">f4"), np.eye(4), nib.Nifti1Header(endianness=">"))
    big.to_filename(tmp_path / "big.nii")
    with pytest.raises(DataError, match="scl_slope is nan"):
        read_grid(patched(tmp_path / "big.nii", SLOPE, np.nan, ">"))
    nib.Nifti2Image(np.ones((3, 4, 2)), np.eye(4)).to_filename(tmp_path / "two.nii")
    assert read_grid(tmp_path / "two.nii").shape == (3, 4, 2)
    content = bytearray((tmp_path / "two.nii").read_bytes())
    struct.pack_into("<d", content, 176, np.inf)  # scl_slope of NIfTI-2
    (tmp_path / "two.nii").write_bytes(content)
    with pytest.raises(DataError, match="scl_slope is inf"):
        read_grid(tmp_path / "two.nii")


@pytest.mark.parametrize(
    ("codes", "kept"), [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 2), (2, 2)), ((1, 0), (1, 1))]
)
def test_a_position_is_known_where_one_code_is(codes, kept):
    header = nib.Nifti1Header()
    header["qform_code"], header["sform_code"] = codes
    assert has_position(header) == any(codes)
    assert position_codes(header) == kept


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("value", [0.0, 348.0, 352.5, np.nan])
def test_voxels_that_begin_within_the_header_are_refused(image, name, value):
    """nibabel takes 0 for the first byte of the file: every voxel would be another one."""
    path = patched(image(np.ones((3, 4, 2), np.float32), name), OFFSET, value)
    with pytest.raises(DataError, match=f"{name}: vox_offset is {value:g} in the header"):
        read_grid(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("size", [None, -32, 0, 8, 48, 2**31 - 16])
def test_extensions_must_end_before_the_voxels(tmp_path, kind, endianness, size):
    values = np.ones((3, 4, 2), np.float32)
    header = kind.header_class(endianness=endianness)
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"as it should be"))
    content = bytearray(kind(values, np.eye(4), header).to_bytes())
    path = tmp_path / "x.nii"
    if size is not None:
        struct.pack_into(f"{endianness}i", content, kind.header_class.sizeof_hdr + 4, size)
    path.write_bytes(content)
    if size is None:
        assert np.array_equal(read_array(read_grid(path)), values)
    else:
        with pytest.raises(DataError, match="extensions of the header do not end before"):
            read_grid(path)
