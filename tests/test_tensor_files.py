"""Tensors on disk: whole or not at all, and refused when broken."""

from __future__ import annotations

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

    monkeypatch.setattr("bids_brnn.tensor_files.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        write_tensors(path, {"a": torch.zeros(2)}, {})
    assert bool((read_tensors(path)["a"] == 1).all())
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]
