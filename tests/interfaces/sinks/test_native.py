"""Maps of an estimator in the data set: the same files from any number of threads."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from bids_brnn.errors import OutputError
from bids_brnn.interfaces.preparation.coefficients import PrepareCoefficients
from bids_brnn.interfaces.preparation.volumes import StackVolumes
from bids_brnn.interfaces.series import SeriesRecord
from bids_brnn.interfaces.sinks import native
from bids_brnn.interfaces.sinks.native import WriteMaps
from bids_brnn.sequences.designs import jiang_like_train
from bids_brnn.zoo.recipe import EstimatorRecipe

NAMES = ("T1", "T2", "R1", "R2", "M0")
SHAPE = (4, 3, 2)


@pytest.fixture
def write(tmp_path, write_nifti):
    """Write maps of five parameters into a folder; what is in it, by name."""
    rng = np.random.default_rng(2)
    mask = rng.random(SHAPE) > 0.3
    rows = [
        {"name": name, "unit": "s", "suffix": f"{name}map", "description": name,
         "kind": "estimate", "file": write_nifti(f"{name}.nii", rng.random(SHAPE)).name}
        for name in NAMES
    ]  # fmt: skip
    (tmp_path / "maps.json").write_text(json.dumps(rows))
    recipe = EstimatorRecipe("nlls", "fisp", jiang_like_train(20), magnitude=True)
    series = SeriesRecord("s", "MRF", "fisp", {"subject": "01"}, {}, [], {})
    inputs = {
        "series": str(series.to_file(tmp_path / "series.json")),
        "recipe": str(recipe.to_file(tmp_path / "recipe.json")),
        "maps_file": str(tmp_path / "maps.json"),
        "maps": [str(tmp_path / row["file"]) for row in rows],
        "mask": str(write_nifti("mask.nii", mask.astype(np.uint8))),
        "mask_source": "a test",
        "desc": "nlls",
    }

    def run(threads):
        out, work = (tmp_path / f"{name}{threads}" for name in ("out", "work"))
        work.mkdir()
        node = WriteMaps(**inputs, output_dir=str(out), num_threads=threads)
        listed = node.run(cwd=str(work)).outputs.out_files
        found = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")}
        assert len(found) == 2 * len(NAMES)
        return [path.removeprefix(str(out)) for path in listed], found

    run.folder = tmp_path
    return run


def test_any_number_of_threads_writes_the_same_files_in_one_order(write):
    assert write(1) == write(3) == write(9)


def test_a_map_that_cannot_be_written_ends_the_step_and_leaves_whole_files(write, monkeypatch):
    inner, others = native.write_map, threading.Barrier(2, timeout=20)

    def fail(*args, **kwargs):
        name = args[2].name
        if name == "T2":
            others.wait()  # another map is being written
            raise OutputError("disk full")
        if name == "R1":
            others.wait()
        return inner(*args, **kwargs)

    monkeypatch.setattr(native, "write_map", fail)
    with pytest.raises(OutputError, match="disk full"):
        write(3)
    files = [path.name for path in (write.folder / "out3").rglob("*.*")]
    assert not [name for name in files if ".tmp" in name or "T2map" in name]
    images = {name.partition(".")[0] for name in files if name.endswith(".nii.gz")}
    assert images == {name.partition(".")[0] for name in files if name.endswith(".json")}


@pytest.mark.parametrize("step", [WriteMaps, StackVolumes, PrepareCoefficients])
def test_threads_of_files_do_not_make_another_result(step):
    one, many = (
        step(num_threads=count).inputs.get_hashval(hash_method="content")[1] for count in (1, 4)
    )
    assert one == many
