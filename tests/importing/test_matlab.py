"""``.mat`` files: what they hold, and that nobody can make them cost memory or run code."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import struct
import sys
import zlib

import numpy as np
import pytest
import scipy.io

from bids_brnn.errors import BidsBrnnError, DataError, ReadError, UsageError
from bids_brnn.importing import matlab
from bids_brnn.importing.mat5 import Unread
from bids_brnn.importing.matlab import open_mat

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def cell(inner: bytes, name: bytes = b"") -> bytes:
    """A cell of one entry."""
    head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1))
    return element(14, head + element(1, name) + inner)


@pytest.mark.parametrize("compressed", [True, False])
def test_numbers_texts_structures_and_cells_come_back(tmp_path, compressed):
    cells = np.empty((1, 2), dtype=object)
    cells[0] = ["a", np.arange(3.0)]
    content = {
        "x": np.arange(12).reshape(2, 3, 2) * (1 + 2j), "text": "gausshann",
        "inner": {"a": {"b": 4.0}, "c": cells}, "flag": np.array([[True, False]]),
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    file = open_mat(tmp_path / "a.mat")
    assert set(file.names) == set(content)
    np.testing.assert_array_equal(file["x"], content["x"])
    assert file["text"] == "gausshann"
    assert file["inner"]["a"]["b"] == 4
    assert file["inner"]["c"][0] == "a"
    np.testing.assert_array_equal(file["flag"], [[1, 0]])


def test_sparse_arrays_are_not_numbers_here(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"s": scipy.sparse.eye(3)})
    assert isinstance(open_mat(tmp_path / "a.mat")["s"], Unread)


def test_strings_and_tables_of_matlab_do_not_hide_the_arrays_beside_them(tmp_path):
    """Objects have a name where others have dimensions, and what they refer to has no name."""
    flags = element(6, struct.pack("<II", 17, 0))
    words = b"".join(element(1, text) for text in (b"note", b"MCOS", b"string"))
    empty = element(6, struct.pack("<II", 9, 0)) + element(5, bytes(8)) + element(1, b"")
    empty = element(14, empty + element(2, b""))
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.eye(2)})
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(content + element(14, flags + words + empty) + empty)
    found = open_mat(tmp_path / "a.mat")
    assert found.names == ("x", "note")
    np.testing.assert_array_equal(found["x"], np.eye(2))
    assert isinstance(found["note"], Unread)


def test_a_file_that_inflates_beyond_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "memory_limit", lambda: (2**20, "ours"))
    bomb = zlib.compress(element(14, bytes(2**22)), 9)
    (tmp_path / "a.mat").write_bytes(HEADER + element(15, bomb))
    with pytest.raises(DataError, match="inflates to more than the memory takes"):
        open_mat(tmp_path / "a.mat")


def test_a_file_that_nests_without_end_is_refused(tmp_path):
    inner = b""
    for _ in range(5_000):  # recursion of a reader would end with the process
        inner = cell(inner)
    (tmp_path / "a.mat").write_bytes(HEADER + cell(inner, b"x"))
    with pytest.raises(ReadError, match="nests too deeply"):
        open_mat(tmp_path / "a.mat")["x"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x" * 300, HEADER, HEADER + element(14, b""), HEADER + element(15, b"no zlib"),
        HEADER + element(9, bytes(16)), HEADER + element(14, element(6, bytes(8)) * 9),
        HEADER[:126] + b"XX" + bytes(64), HEADER + element(15, zlib.compress(b"")),
    ],
)  # fmt: skip
def test_what_is_no_mat_file_is_refused_or_holds_nothing(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    values = []
    with contextlib.suppress(BidsBrnnError):
        file = open_mat(tmp_path / "a.mat")
        values = [file[name] for name in file.names]
    assert all(isinstance(value, Unread | list) or np.size(value) == 0 for value in values)


def test_a_pipe_and_an_absent_file_are_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "p.mat")
    for name in ("p.mat", "none.mat"):
        with pytest.raises(ReadError, match=name):
            open_mat(tmp_path / name)


def test_version_7_3_without_h5py_gets_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(64))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"version 7.3 \(HDF5\), which needs the package h5py"):
        open_mat(tmp_path / "a.mat")


@pytest.fixture
def h5py():
    if importlib.util.find_spec("h5py") is None:
        pytest.skip("h5py is not installed")
    return importlib.import_module("h5py")


def test_version_7_3_has_the_axes_of_matlab(tmp_path, h5py):
    x = np.arange(24.0).reshape(2, 3, 4) + 1j
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        pairs = np.zeros(x.T.shape, [("real", "<f8"), ("imag", "<f8")])
        pairs["real"], pairs["imag"] = x.T.real, x.T.imag
        file["x"] = pairs
        file["t"] = np.frombuffer("gauss".encode("utf-16-le"), np.uint16)[:, None]
        file["t"].attrs["MATLAB_class"] = np.bytes_("char")
        file["s/inner"] = np.array([[5.0]])
        file["#refs#/a"] = np.array([[7.0]])
        file["c"] = np.array([[file["#refs#/a"].ref]], dtype=h5py.ref_dtype)
        file["c"].attrs["MATLAB_class"] = np.bytes_("cell")
    found = open_mat(tmp_path / "a.mat")
    assert set(found.names) == {"x", "t", "s", "c"}
    np.testing.assert_array_equal(found["x"], x)
    assert found["t"] == "gauss"
    assert found["s"]["inner"] == 5
    assert found["c"][0] == 7


def test_version_7_3_cannot_reach_other_files(tmp_path, h5py):
    (tmp_path / "secret").write_bytes(bytes(800))
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["y"] = np.ones(3)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["linked"] = h5py.ExternalLink("other.mat", "/y")
        file.create_dataset("raw", (100,), "f8", external=[(str(tmp_path / "secret"), 0, 800)])
    found = open_mat(tmp_path / "a.mat")
    with pytest.raises(DataError, match="is a link to elsewhere"):
        found["linked"]
    with pytest.raises(DataError, match="in other files"):
        found["raw"]
