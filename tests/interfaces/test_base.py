"""Earlier outputs are trusted only when they are what was written."""

from __future__ import annotations

import pytest

from bids_brnn.interfaces.manifest import (
    MANIFEST_FILE,
    discard_broken,
    finished_steps,
    is_intact,
    output_files,
    write_manifest,
)


@pytest.fixture
def step(tmp_path):
    folder = tmp_path / "wf" / "step"
    folder.mkdir(parents=True)
    (folder / "map.nii").write_bytes(b"0123456789")
    (folder / "result_step.pklz").write_bytes(b"x")
    write_manifest(folder, [folder / "map.nii"])
    return folder


def test_an_untouched_step_stays(step, tmp_path):
    assert is_intact(step)
    assert discard_broken(tmp_path) == []
    assert step.is_dir()
    assert list(finished_steps(tmp_path)) == [step / MANIFEST_FILE]


@pytest.mark.parametrize("damage", ["cut", "change", "lose", "manifest"])
def test_a_damaged_step_is_done_again(step, tmp_path, damage):
    if damage == "cut":
        (step / "map.nii").write_bytes(b"")
    elif damage == "change":  # same size
        (step / "map.nii").write_bytes(b"0123456780")
    elif damage == "lose":
        (step / "map.nii").unlink()
    else:
        (step / MANIFEST_FILE).write_text("{")
    assert discard_broken(tmp_path) == [step]
    assert not step.exists()


def test_an_unfinished_step_is_cleared_without_a_word(step, tmp_path):
    (step / MANIFEST_FILE).unlink()
    assert discard_broken(tmp_path) == []
    assert not step.exists()


def test_a_killed_step_keeps_its_checkpoint(step, tmp_path):
    (step / "result_step.pklz").unlink()  # Nipype writes it at the end
    (step / "checkpoint.safetensors").write_bytes(b"x")
    assert discard_broken(tmp_path) == []
    assert (step / "checkpoint.safetensors").exists()


def test_outputs_that_are_sentences_are_no_files(step):
    path = step / "map.nii"
    outputs = {"maps": [str(path), "absent.nii"], "words": "long " * 100, "level": 0.5}
    assert list(output_files(outputs)) == [path]
