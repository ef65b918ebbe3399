"""Tensors on disk come back whole, or not at all."""

import os
from pathlib import Path

import pytest
import torch

from bids_brnn.errors import OutputError, ReadError
from bids_brnn.tensor_files import read_metadata, read_tensors, write_tensors


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    values = torch.arange(6.0).reshape(2, 3)
    write_tensors(path, {"turned": values.T}, {"key": "k"})
    assert read_metadata(path) == {"key": "k"}
    torch.testing.assert_close(read_tensors(path)["turned"], values.T, rtol=0, atol=0)
    assert [item.name for item in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("read", [read_metadata, read_tensors])
def test_what_is_absent_or_broken_is_told_apart(tmp_path, read):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError):
        read(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(ReadError, match=r"a\.safetensors is broken .* delete it"):
        read(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, {})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(path, {"a": torch.zeros(2)}, {})
    assert bool((read_tensors(path)["a"] == 1).all())
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.bool])
def test_one_flipped_bit_in_a_file_of_tensors_is_noticed(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(5).to(dtype), "b": torch.ones(()).to(dtype)}, {"k": "v"})
    assert read_tensors(path)["a"].dtype == dtype
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReadError, match="is broken"):
        read_tensors(path)


@pytest.mark.parametrize(
    "plant", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_file_is_not_opened_as_tensors(tmp_path, plant):
    plant(tmp_path / "x.safetensors")
    with pytest.raises(ReadError, match="it is a"):
        read_tensors(tmp_path / "x.safetensors")
