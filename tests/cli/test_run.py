"""The group level needs no place to write but the output folder, and says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_brnn.app import folders, group
from bids_brnn.cli.run import main
from bids_brnn.errors import OutputError


@pytest.fixture
def study(tmp_path):
    for name in ("ds", "out"):
        (tmp_path / name).mkdir()
    return [str(tmp_path / "ds"), str(tmp_path / "out"), "group", "-w", str(tmp_path / "w")]


def test_libraries_find_a_place_for_temporary_files_in_the_output_folder(study, monkeypatch):
    seen = []
    monkeypatch.setattr(group, "gather", lambda _: seen.append(Path.cwd()) or 0)
    before = Path.cwd()
    assert main(study) == 0
    assert seen == [Path(study[1])]
    assert Path.cwd() == before


def test_an_output_folder_that_cannot_be_written_is_one_sentence(study, monkeypatch, capsys):
    def refuse(folder):
        raise OutputError(f"Cannot write {folder}: Read-only file system.")

    monkeypatch.setattr(folders, "check_output", refuse)
    assert main(study) == 73
    assert capsys.readouterr().err.startswith("bids_brnn: Cannot write ")


def test_an_absent_output_folder_is_not_made(study, tmp_path):
    (tmp_path / "out").rmdir()
    assert main(study) == 18
    assert not (tmp_path / "out").exists()
