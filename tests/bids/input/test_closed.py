"""Folders that may not be read cost their participant, and are named."""

from __future__ import annotations

import os

import pytest

from bids_brnn.bids.input.dataset import ignored, without
from bids_brnn.bids.input.folders import closed_folders, participant_of
from bids_brnn.errors import ReadError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data set, and a way to close folders of it, for whoever runs the tests."""
    for name in ("sub-01/ses-1/anat", "sub-01/ses-1/dwi", "sub-02/anat", "code/x"):
        (tmp_path / name).mkdir(parents=True)
    closed, listdir = set(), os.listdir

    def refuse(folder="."):
        if folder in closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    return tmp_path, closed


@pytest.mark.parametrize("name", ["sub-01", "sub-01/ses-1", "sub-01/ses-1/anat"])
def test_a_closed_folder_is_named_and_not_indexed(data, name):
    root, closed = data
    closed.add(root / name)
    found = closed_folders(root, ignored(None, None, raw=True))
    assert list(found) == [root / name]
    assert participant_of(root / name) == "01"
    error = found[root / name]
    assert isinstance(error, ReadError)
    assert str(error) == f"{root / name} cannot be read: Permission denied."
    (pattern,) = without(found, root)
    assert pattern.search(f"/{name}/file.nii.gz")
    assert not pattern.search("/sub-02/anat/file.nii.gz")


@pytest.mark.parametrize("name", ["sub-01/ses-1/dwi", "code/x"])
def test_folders_that_are_not_read_may_be_closed(data, name):
    root, closed = data
    closed.add(root / name)
    assert closed_folders(root, ignored(None, None, raw=True)) == {}


def test_participants_that_are_not_asked_for_may_be_closed(data):
    root, closed = data
    closed.add(root / "sub-01")
    assert closed_folders(root, ignored(["02"], None, raw=True)) == {}
