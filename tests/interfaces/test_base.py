"""Earlier outputs are trusted only when they are what was written."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import (
    File,
    OutputMultiPath,
    TraitedSpec,
    isdefined,
    specs,
    traits,
)
from nipype.pipeline.engine import Node, Workflow, nodes

from bids_brnn.errors import BidsBrnnError, DataError
from bids_brnn.interfaces import base, manifest
from bids_brnn.interfaces.estimate import EstimateMaps
from bids_brnn.interfaces.manifest import (
    MANIFEST_FILE,
    discard_broken,
    finished_steps,
    is_intact,
    known_digest,
    output_files,
    result_of,
    results_from_manifests,
    write_manifest,
)
from bids_brnn.workflows.execution import execution_settings


@pytest.fixture
def step(tmp_path):
    folder = tmp_path / "wf" / "step"
    folder.mkdir(parents=True)
    (folder / "map.nii").write_bytes(b"0123456789")
    (folder / "result_step.pklz").write_bytes(b"x")
    write_manifest(folder, {"map": str(folder / "map.nii"), "level": 0.5, "words": None})
    return folder


def test_a_file_that_stays_as_it_is_is_read_once_and_one_that_changes_again(tmp_path, monkeypatch):
    path = tmp_path / "coefficients.nii"
    path.write_bytes(b"0123456789")
    reads = []
    monkeypatch.setattr(manifest, "file_digest", lambda path: reads.append(path) or path.name)
    # Two changes within a tick of the clock have one time: that of a moment ago is not trusted.
    assert [known_digest(path), known_digest(path)] == [path.name] * 2
    assert len(reads) == 2
    moment = path.stat().st_ctime_ns + 10**9
    monkeypatch.setattr(manifest.time, "time_ns", lambda: moment)
    for _ in range(3):
        known_digest(path)
    assert len(reads) == 3
    path.write_bytes(b"9876543210")
    known_digest(path)
    assert len(reads) == 4


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


class Planted:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


class AddSpec(TraitedSpec):
    value = traits.Float()
    maps = OutputMultiPath(File())
    absent = traits.Str()


class Add(base.Node):
    input_spec = AddSpec
    output_spec = AddSpec

    def work(self, folder):
        (folder / "map.nii").write_bytes(b"1")
        # As steps do it: numbers of NumPy, lists of one.
        return {"value": np.float32(self.inputs.value + 1), "maps": [str(folder / "map.nii")]}


def chained(folder):
    workflow = Workflow(name="wf", base_dir=str(folder))
    first, second = Node(Add(value=1.0), name="first"), Node(Add(), name="second")
    workflow.connect([(first, second, [("value", "value"), ("maps", "maps")])])
    settings = execution_settings(stop_on_first_crash=False)
    settings["execution"]["crashdump_dir"] = str(folder)
    workflow.config = first.config = second.config = settings
    with results_from_manifests():
        workflow.run()
    return result_of(folder / "wf" / "second" / "result_second.pklz").outputs


def test_results_go_from_step_to_step_without_pickles(tmp_path):
    outputs = chained(tmp_path)
    assert outputs.value == 3.0
    assert outputs.maps == [str(tmp_path / "wf" / "second" / "map.nii")]
    assert not isdefined(outputs.absent)


@pytest.mark.parametrize("name", ["result_first.pklz", "_inputs.pklz", "_node.pklz"])
def test_a_planted_pickle_is_never_opened(tmp_path, name):
    chained(tmp_path)
    with gzip.open(tmp_path / "wf" / "first" / name, "wb") as file:
        pickle.dump(Planted(tmp_path / "mark"), file)
    manifests = finished_steps(tmp_path / "wf")
    assert chained(tmp_path).value == 3.0
    assert finished_steps(tmp_path / "wf") == manifests  # reused, not made again
    assert not (tmp_path / "mark").exists()


def test_programs_around_a_run_keep_their_way_of_reading_results():
    before = nodes._load_resultfile
    with results_from_manifests():
        assert nodes._load_resultfile is not before
        with pytest.raises(RuntimeError, match="is a pickle"):
            nodes.loadpkl("_inputs.pklz")
    assert nodes._load_resultfile is before


@pytest.mark.parametrize("digests", [True, False])
def test_steps_of_jobs_that_hash_as_nipype_does_are_hashed_so_here_too(digests):
    before = specs.hash_infile
    with results_from_manifests(digests=digests):
        assert (specs.hash_infile is before) != digests
    assert specs.hash_infile is before


def test_a_failed_step_has_no_outputs(tmp_path):
    assert result_of(tmp_path / "result_first.pklz").outputs is None


@pytest.mark.parametrize(
    ("problem", "code", "word"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "map.nii"), 73, "Cannot write map.nii"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 73, "Disk quota exceeded"),
        (MemoryError(), 75, "memory does not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 75, "--low-mem"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(tmp_path, problem, code, word):
    class Failing(base.Node):
        def work(self, folder):
            raise problem

    with pytest.raises(BidsBrnnError, match=word):
        Failing().run(cwd=str(tmp_path))
    (error,) = base.user_errors(tmp_path)
    assert word in str(error)
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the pulses overlap", "sub-01_acq-a_MRF: the pulses overlap"),
        ("sub-01_R1map.nii.gz is empty", "sub-01_R1map.nii.gz is empty"),
    ],
)
def test_a_series_without_maps_is_named(tmp_path, text, said):
    class Failing(EstimateMaps):
        def work(self, folder):
            raise DataError(text)

    for name in ("z.nii", "m.nii", "r.json"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError):
        Failing(
            coefficients=tmp_path / "z.nii", mask=tmp_path / "m.nii", recipe=tmp_path / "r.json",
            suffix="MRFmap", label="sub-01_acq-a_MRF dict",
        ).run(cwd=str(tmp_path))  # fmt: skip
    (error,) = base.user_errors(tmp_path)
    assert (str(error), error.exit_code) == (said, 65)


def test_a_half_written_word_is_no_obstacle(tmp_path):
    (tmp_path / base.ERROR_FILE).write_text('{"message": "The ma')
    assert base.user_errors(tmp_path) == []
