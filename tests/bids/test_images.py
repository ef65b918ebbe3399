"""Reading images: damage, lies in headers, grids, masks; and the way to voxels and back."""

from __future__ import annotations

import gzip
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest

from bids_brnn.bids import find_acquisitions, read_coefficients
from bids_brnn.bids.images import read_array, read_grid, same_grid
from bids_brnn.errors import BidsBrnnError, DataError, ReadError
from bids_brnn.system.memory import MEMORY_VARIABLE

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f4", "f8", "c8", "c16"])
def test_voxels_are_those_of_nibabel(image, name, dtype):
    values = (RNG.normal(size=(3, 4, 2, 2)) * 50).astype(dtype)
    path = image(values, name)
    assert np.array_equal(read_array(read_grid(path)), np.asanyarray(nib.load(path).dataobj))


@pytest.mark.parametrize("dtype", [">i2", ">f4", ">f8", ">c8", "<f4", ">i8", ">u8"])
def test_voxels_have_the_byte_order_of_this_machine(image, dtype):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    kind = nib.Nifti1Image if dtype[0] == "<" else big_endian
    path = image(values, kind=kind)
    assert nib.load(path).header.endianness == dtype[0]
    read = read_array(read_grid(path))
    assert read.dtype.isnative
    assert np.array_equal(read, values)


def big_endian(values, affine):
    header = nib.Nifti1Header(endianness=">")
    return nib.Nifti1Image(values, affine, header, dtype=values.dtype)


def test_a_colour_image_is_refused(tmp_path):
    colours = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(colours, np.eye(4)).to_filename(tmp_path / "x.nii")
    with pytest.raises(DataError, match=r"x\.nii is a colour image"):
        read_grid(tmp_path / "x.nii")


def test_scale_factors_are_applied(tmp_path):
    picture = nib.Nifti1Image(RNG.normal(size=(3, 4, 2)), np.eye(4))
    picture.set_data_dtype(np.int16)
    path = tmp_path / "x.nii.gz"
    picture.to_filename(path)
    expected = nib.load(path).get_fdata()
    slope = nib.load(path).dataobj.slope
    assert slope != 1
    # float32 holds 16-bit integers exactly; the product is rounded once
    assert np.allclose(read_array(read_grid(path)), expected, rtol=1e-6, atol=1e-6)


def test_a_flipped_bit_is_found(image):
    path = image(RNG.normal(size=(8, 8, 8)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"x\.nii\.gz is damaged or incomplete"):
        read_array(read_grid(path))


@pytest.mark.parametrize("cut", [4, 8, 200])
def test_a_lost_end_is_found(image, cut):
    path = image(RNG.normal(size=(8, 8, 8)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ReadError, match=r"x\.nii\.gz is damaged or incomplete"):
        read_array(read_grid(path))


def test_no_flipped_bit_of_a_gzip_file_gives_other_values(image):
    """Whatever part of it: its header, the compressed blocks, the checksum."""
    rng = np.random.default_rng(3)
    values = rng.normal(100, 5, size=(6, 5, 4)).astype(np.float32)
    path = image(values, "x.nii.gz")
    sound = path.read_bytes()
    told = 0
    for place in rng.permutation(8 * len(sound))[:300]:
        damaged = bytearray(sound)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            read = read_array(read_grid(path))
        except (ReadError, DataError):
            told += 1
        else:  # the time of writing and the kind of system stand in the header of gzip
            assert np.array_equal(read, values)
    assert told > 280


def test_a_short_plain_file_is_found(image):
    path = image(RNG.normal(size=(8, 8, 8)).astype(np.float32), "x.nii")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match="shorter than its header says"):
        read_grid(path)


def test_an_image_with_a_bomb_behind_it_is_refused(image):
    path = image(np.zeros((4, 4, 4), np.float32))
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(plain + bytes(200 * 2**20)))
    with pytest.raises(ReadError, match="goes on after its last voxel"):
        read_array(read_grid(path))


def test_a_header_that_claims_too_much_is_refused_before_reading(image):
    path = image(np.zeros((4, 4, 4), np.float32))
    plain = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<8h", plain, 40, 4, 32767, 32767, 32767, 32767, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(DataError, match="is the header right"):
        read_grid(path)
    struct.pack_into("<8h", plain, 40, 3, 600, 600, 600, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(ReadError, match="shorter than its header says"):
        read_grid(path)


def test_a_whole_gzip_file_with_too_few_voxels_is_found(image):
    path = image(np.zeros((8, 8, 8), np.float32))
    plain = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<8h", plain, 40, 3, 8, 8, 9, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(ReadError, match="ends after 2400 of 2656 bytes"):
        read_array(read_grid(path))


def test_the_limit_of_memory_counts(image):
    path = image(np.zeros((10, 10, 10), np.float32))
    with pytest.raises(DataError, match="10x10x10 needs"):
        read_grid(path, max_bytes=7999)  # read once, and scaled once
    read_grid(path, max_bytes=8000)


def test_zeros_that_would_fill_the_memory_are_refused_before_they_are_unpacked(
    tmp_path, monkeypatch
):
    path = tmp_path / "sub-01_part-mag_MRF.nii.gz"
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((1000, 1000, 50, 16))  # 1.6 GB, of which 1.6 MB are stored
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    blank = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as file:
        file.write(blank.compress(header.binaryblock + bytes(4)))
        piece = bytes(16 * 10**6)
        for _ in range(10):  # a tenth of it: nobody gets so far
            file.write(blank.compress(piece))
        file.write(blank.flush())
        file.truncate(1_600_000)
    monkeypatch.setenv(MEMORY_VARIABLE, "5000")
    with pytest.raises(DataError, match=r"of memory, more than the 5\.2 GB of --mem-mb"):
        read_grid(path)


@pytest.mark.parametrize(
    "dims", [(3, 0, 4, 4, 1, 1, 1, 1), (3, -4, 4, 4, 1, 1, 1, 1), (9, 4, 4, 4, 1, 1, 1, 1)]
)
def test_impossible_dimensions(image, dims):
    path = image(np.zeros((4, 4, 4), np.float32), "x.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<8h", content, 40, *dims)
    path.write_bytes(content)
    with pytest.raises(BidsBrnnError, match=r"x\.nii"):
        read_grid(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_affine_that_is_not_finite(image, value):
    path = image(np.zeros((4, 4, 4), np.float32), "x.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 254, 1)  # sform_code
    struct.pack_into("<f", content, 280, value)  # srow_x[0]
    path.write_bytes(content)
    with pytest.raises(DataError, match="affine"):
        read_grid(path)


def test_a_flat_affine(image):
    path = image(np.zeros((4, 4, 4), np.float32), "x.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 254, 1)  # sform_code
    struct.pack_into("<4f", content, 312, 0, 0, 0, 0)  # srow_z
    path.write_bytes(content)
    with pytest.raises(DataError, match="affine"):
        read_grid(path)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "not downloaded"),
        (b"<!DOCTYPE html><html>login</html>", "is not a NIfTI image"),
        (b"/annex/objects/SHA256E-s1--0.nii.gz\n", "not downloaded"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not downloaded"),
    ],
    ids=["empty", "html", "annex", "lfs"],
)
def test_files_that_are_no_images(tmp_path, content, hint):
    for name in ("x.nii.gz", "x.nii"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ReadError, match=hint) as caught:
            read_grid(path)
        assert caught.value.exit_code == 74


def test_a_broken_link(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.symlink_to(".git/annex/objects/gone")
    with pytest.raises(ReadError, match="not downloaded"):
        read_grid(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        read_grid(tmp_path / "x.nii.gz")


def test_other_formats(tmp_path):
    path = tmp_path / "x.mgz"
    nib.MGHImage(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_filename(path)
    with pytest.raises(ReadError, match="not a NIfTI image: a file of type MGHImage"):
        read_grid(path)


def test_values_that_are_not_finite_are_counted(raw):
    stem = raw.qmt()
    values = np.ones((4, 5, 3, 3), np.float32)
    values[0, 0, 0, 1] = np.nan
    values[1, 2, 0] = np.inf
    raw.image(f"{stem}_part-imag_QMT.nii.gz", values)
    (series,) = find_acquisitions(raw.root).acquisitions
    assert read_coefficients(series).n_invalid == 2


def test_same_grid_allows_rounding_only(image):
    affine = np.array([[0, -2.0, 0, 90], [2, 0, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])
    first = read_grid(image(np.zeros((50, 60, 20)), "a.nii", affine))
    rounded = affine + 1e-6
    rounded[3] = affine[3]
    assert same_grid(first, read_grid(image(np.zeros((50, 60, 20)), "b.nii", rounded)))
    moved = affine.copy()
    moved[0, 3] += 0.1
    assert not same_grid(first, read_grid(image(np.zeros((50, 60, 20)), "c.nii", moved)))
    assert not same_grid(first, read_grid(image(np.zeros((50, 60, 21)), "d.nii", affine)))
